"""Define the errors with which a command ends on purpose, and make their texts harmless."""


def printable(text: str, keep: str = "") -> str:
    """Return a text with unprintable characters replaced: names may hold escape sequences, commands for the terminal.

    Args:
        text: text with names from files, records or data.
        keep: unprintable characters that stay, such as line breaks.
    """
    return "".join(letter if letter.isprintable() or letter in keep else "\N{REPLACEMENT CHARACTER}" for letter in text)


class RequestError(Exception):
    """Report a wrong request: an unknown name or key, a wrong value, a missing file.

    The message has one or two lines. It names the key and what would be right. Commands print it and exit with 2.
    """


class Incomplete(Exception):
    """Report that a part of the work failed, while the rest is done.

    Each failure was printed when it happened; the message counts them. Commands print it and exit with 1.
    """


class Diverged(Exception):
    """Report a training whose loss is not finite. Commands print it and exit with 1."""


class SweepFailed(Exception):
    """Report jobs of a sweep that did not complete.

    Args:
        message: lists the jobs and the reasons.
        code: exit code of the sweep.
    """

    def __init__(self, message: str, code: int):
        super().__init__(message)
        self.code = code


class Interrupted(BaseException):
    """Report Ctrl-C or a termination signal, after the state is saved. Commands exit with 130."""
