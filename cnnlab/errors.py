"""The two ways in which a command ends early by intent."""


class RequestError(Exception):
    """What was asked for is wrong: a name, a key, a value or a file.

    The message is for the person who typed the command: one or two lines that name the key and what would be right.
    Commands print it and exit with 2.
    """


class Interrupted(BaseException):
    """Ctrl-C or a termination signal, after what can be saved was saved. Commands exit with 130."""
