"""Say on a terminal what a command is doing while it prints nothing, in a line that the next output replaces."""

import contextlib
import os
import sys
import threading
import time

PATIENCE = 3.0  # seconds after which the line tells how many they are


class _Line:
    """The last line of the terminal while nothing else is printed; nothing as long as no terminal is known."""

    def __init__(self) -> None:
        self.terminal: int | None = None  # file descriptor
        self._lock = threading.RLock()
        self._text = ""  # empty: the line is not shown
        self._since = 0.0
        self._ticking = False

    def show(self, text: str) -> None:
        with self._lock:
            if self.terminal is None:
                return
            if os.environ.get("TERM") == "dumb":  # it cannot replace a line
                self._write(f"{text} ...\n")
                return
            self._text, self._since = text, time.monotonic()
            self._draw()
            if not self._ticking:
                self._ticking = True
                threading.Thread(target=self._tick, daemon=True).start()

    def remove(self) -> None:
        with self._lock:
            if self._text:
                self._text = ""
                self._write("\r\x1b[K")

    def _tick(self) -> None:
        while True:
            time.sleep(1)
            with self._lock:
                if not self._text:
                    self._ticking = False
                    return
                self._draw()

    def _draw(self) -> None:
        seconds = time.monotonic() - self._since
        shown = f"{self._text} ..." + (f" {seconds:.0f} s" if seconds >= PATIENCE else "")
        with contextlib.suppress(OSError):  # the terminal is closed
            columns = os.get_terminal_size(self.terminal or 0).columns or 80
            self._write(f"\r{shown[: columns - 1]}\x1b[K")

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            os.write(self.terminal or 0, text.encode("ascii", "replace"))


_line = _Line()


def prepare() -> None:
    """Find the terminal. Call this when standard output and errors call `make_way` before they write."""
    terminals = [stream.fileno() for stream in (sys.stderr, sys.stdout) if stream.isatty()]
    _line.terminal = terminals[0] if terminals else None


def tell(what: str) -> None:
    """Say what takes the next seconds, such as `Loading PyTorch`, until something else is printed or told."""
    _line.show(what)


def make_way() -> None:
    """Remove the line, for something else is printed."""
    _line.remove()
