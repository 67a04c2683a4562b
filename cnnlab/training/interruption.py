"""Turn Ctrl-C, termination signals and the end of the terminal into a request to save and stop."""

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from cnnlab.errors import Interrupted

ECHO_SECONDS = 0.2  # torchrun repeats a Ctrl-C to its processes, which already got it from the terminal


class StopRequest:
    """Remember whether the user asked the run to stop.

    Within `waiting()`, a first signal is only remembered, so that training can end after the current step. A second
    signal, or any signal outside of `waiting()`, stops the work at once.

    Args:
        silent: whether another process prints the message instead.
    """

    def __init__(self, silent: bool = False) -> None:
        self.silent = silent
        self.requested = False
        self._since = 0.0
        self._can_wait = False

    def __call__(self) -> bool:
        """Return True once a signal has arrived."""
        return self.requested

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle SIGINT, SIGTERM, and SIGHUP unless it is ignored (as by nohup) within this context."""
        numbers = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            numbers.append(signal.SIGHUP)
        before = {number: signal.signal(number, self._handle) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Let a first signal wait: within this context, the training asks after every step."""
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
                print("\nStopping after this step to save the run. Interrupt again to stop at once.", file=sys.stderr)
            return
        if self._can_wait and now - self._since < ECHO_SECONDS:
            return
        raise Interrupted(f"Interrupted by {signal.Signals(number).name}.")
