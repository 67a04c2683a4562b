"""The ways in which a command ends by intent, other than well."""


class RequestError(Exception):
    """What was asked for is wrong: a name, a key, a value or a file.

    The message is for the person who typed the command: one or two lines that name the key and what would be right.
    Commands print it and exit with 2.
    """


class Incomplete(Exception):
    """A part of the work could not be done; each thing was named when it happened, and all the others are done.

    The message says how many they are. Commands print it and exit with 1.
    """


class SweepFailed(Exception):
    """Jobs of a sweep were not completed; the message lists them with their reasons.

    Args:
        message: that list.
        code: the exit code of the sweep.
    """

    def __init__(self, message: str, code: int):
        super().__init__(message)
        self.code = code


class Interrupted(BaseException):
    """Ctrl-C or a termination signal, after what can be saved was saved. Commands exit with 130."""
