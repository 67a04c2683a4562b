"""Keep a command alive whatever its input and output are: closed, a pipe that nobody reads, a full disk, ASCII only."""

import atexit
import errno
import io
import logging
import os
import sys
import threading
from pathlib import Path
from typing import Any, NoReturn

from cnnlab import waiting

SECONDS_TO_LEAVE = 3.0  # that an interrupted command has to end: a thread may wait for a file forever
QUIET = (errno.EPIPE, errno.EIO)  # the reader has all that it wants, or the terminal is closed


class _Output(io.FileIO):
    """Write to a file descriptor, and to nowhere once that fails."""

    lost: OSError | None = None

    def write(self, content: Any) -> int | None:
        """Write bytes, and return how many were taken."""
        waiting.make_way()
        try:
            return super().write(content)
        except OSError as error:
            self.lost = error
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            return len(content)


def prepare() -> None:
    """Give this process standard streams that never fail. Call this before anything is printed.

    Characters that the terminal does not know are escaped. Streams that are closed lead to nowhere: the next file to be
    opened would otherwise take their place, and receive what is printed.
    """
    logging.raiseExceptions = False  # a log that cannot be written must not fill the terminal
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # this takes the lowest number, which is free
            stream = open(number, "w" if number else "r", encoding="utf-8", closefd=False)  # noqa: PTH123, SIM115
            setattr(sys, f"__{name}__", stream)
            setattr(sys, name, stream)
        stream = getattr(sys, name)
        if number and stream is getattr(sys, f"__{name}__"):  # neither a test nor this function has replaced it
            safe = io.TextIOWrapper(
                io.BufferedWriter(_Output(number, "w", closefd=False)),
                encoding=stream.encoding,
                errors="backslashreplace",
                line_buffering=stream.line_buffering or stream.write_through,  # as with PYTHONUNBUFFERED
                write_through=stream.write_through,
            )
            setattr(sys, name, safe)
    if _output():
        waiting.prepare()


def use_utf8() -> None:
    """Start this program again in Python's UTF-8 mode if the locale takes names of files for ASCII, or for Latin-1.

    Records, configurations and names of files are UTF-8. What is printed keeps the encoding of the terminal.
    """
    if sys.getfilesystemencoding() != "utf-8":
        os.environ["PYTHONUTF8"] = "1"
        os.environ.setdefault("PYTHONIOENCODING", sys.stdout.encoding)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def lost_output() -> OSError | None:
    """Return why what was printed did not arrive, or None."""
    output = _output()
    return output.lost if output else None


def leave(code: int) -> NoReturn:
    """End this process, with code 1 if what it has printed is lost.

    Python does not take its modules apart, which takes many seconds on a busy machine. If the process was interrupted,
    it does not wait for its threads either: they may wait for a file forever.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    waiting.make_way()
    if (lost := lost_output()) and lost.errno not in QUIET:
        print(f"stdout: {lost.strerror}; what was printed is incomplete", file=sys.stderr)
        code = code or 1
    if _output() is None or (code != 130 and not _is_program()):
        sys.exit(code)
    if code == 130:
        timer = threading.Timer(SECONDS_TO_LEAVE, os._exit, [code])
        timer.daemon = True
        timer.start()
    else:
        threading._shutdown()  # pyright: ignore[reportAttributeAccessIssue]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


def _is_program() -> bool:
    """Return whether this process was started as `cnnlab`, and not by a program that goes on afterwards."""
    started = sys.modules["__main__"]
    name = started.__spec__.name if started.__spec__ else Path(getattr(started, "__file__", "")).name
    return name.partition(".")[0] == "cnnlab"


def _output() -> _Output | None:
    """Return what `prepare` has made of standard output, or None in a test."""
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return raw if isinstance(raw, _Output) else None
