"""Ctrl-C and termination signals, as a request to save and end."""

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from cnnlab.errors import Interrupted

SAME = 0.2  # seconds; torchrun sends its processes once more the Ctrl-C that the terminal has sent them already


class StopRequest:
    """Whether the user has asked the run to stop.

    While `waiting()`, a first signal is only noted, for the training to end after the step that is under way; a second
    one, and any outside of it, ends the work at once.

    Args:
        silent: leaves it to another process to say so.
    """

    def __init__(self, silent: bool = False) -> None:
        self.silent = silent
        self.requested = False
        self._since = 0.0
        self._can_wait = False

    def __call__(self) -> bool:
        """True once a signal came."""
        return self.requested

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handles SIGINT and SIGTERM inside."""
        before = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Inside, somebody asks often enough to stop in good order."""
        self._can_wait = True
        try:
            yield
        finally:
            self._can_wait = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._can_wait and not self.requested:
            self.requested, self._since = True, now
            if not self.silent:
                print("\nStopping after this step, to save. Once more to stop at once.", file=sys.stderr)
            return
        if self._can_wait and now - self._since < SAME:
            return
        raise Interrupted(f"Interrupted by {signal.Signals(number).name}.")
