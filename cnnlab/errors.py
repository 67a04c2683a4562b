"""Define the errors with which a command ends on purpose, and make their texts harmless."""

import errno
from collections.abc import Iterator

# Errors of the system that only the user can mend, and the exit code of a command that meets one. Some are a failure
# of the machine; others mean that the request names a place that cannot be used.
SYSTEM_ERRORS = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOMEM, errno.EMFILE, errno.ENFILE), 1),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.ENOTDIR, errno.ELOOP), 2),
}


def printable(text: str, keep: str = "") -> str:
    """Return a text with unprintable characters replaced, except those to keep, such as line breaks.

    Names in files, records and data may hold escape sequences, which are commands for the terminal.
    """
    return "".join(letter if letter.isprintable() or letter in keep else "\N{REPLACEMENT CHARACTER}" for letter in text)


class RequestError(Exception):
    """Report a wrong request: an unknown name or key, a wrong value, a missing file.

    The message has one or two lines. It names the key and what would be right. Commands print it and exit with 2.
    """


class Failed(RuntimeError):
    """Report work that failed, or a part of it, for a reason that the message tells in one line.

    Commands print it and exit with 1.
    """


class Diverged(Exception):
    """Report a training whose loss is not finite. Commands print it and exit with 1."""


class SweepFailed(Exception):
    """Report jobs of a sweep that did not complete, with the reasons and the exit code of the sweep."""

    def __init__(self, message: str, code: int):
        super().__init__(message)
        self.code = code


class Interrupted(BaseException):
    """Report Ctrl-C or a termination signal, after the state is saved. Commands exit with 130."""


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, and then each that led to the one before."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def system_error(error: BaseException) -> tuple[str, int] | None:
    """Return a line about the error of the system that has caused an error, and the exit code; None without one."""
    for cause in causes(error):
        if isinstance(cause, OSError) and cause.errno in SYSTEM_ERRORS:
            where = f"{cause.filename}: " if cause.filename else ""
            return f"{where}{cause.strerror}", SYSTEM_ERRORS[cause.errno]
        if type(cause).__module__ == "sqlite3":  # the database of a study
            return f"storage: {cause}", 1
    return None
