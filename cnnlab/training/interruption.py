"""Turn Ctrl-C, termination signals and the end of the terminal into a request to save and stop."""

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from cnnlab.signals import handled, interrupt

ECHO_SECONDS = 0.2  # torchrun repeats a Ctrl-C to its processes, which already got it from the terminal
# After a signal, a process that computes less than this share of some seconds stands still: it waits for a lost disk
# or for a process that hangs. Then it has some more seconds to end.
IDLE_SHARE, IDLE_SECONDS, SECONDS_TO_END = 0.1, 2.5, 2.0


class StopRequest:
    """Remember whether the user asked the run to stop.

    Within `waiting()`, a first signal is only remembered, so that training can end after the current step. A second
    signal, or any signal outside of `waiting()`, stops the work at once; so does the first if the work stands still.

    Args:
        silent: whether another process prints the message instead.
        give_up: called if the work stands still within an operation that nothing stops; ends the process.
    """

    def __init__(self, silent: bool = False, give_up: Callable[[], None] | None = None) -> None:
        self.silent, self.give_up = silent, give_up
        self.requested = False
        self._noticed = threading.Event()
        self._since = 0.0
        self._can_wait = False

    def __call__(self) -> bool:
        """Return True once a signal has arrived."""
        if self.requested:
            self._noticed.set()
        return self.requested

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle SIGINT, SIGTERM and SIGHUP within this context."""
        with handled(self._handle):
            yield

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Let a first signal wait: within this context, the training asks after every step."""
        self._can_wait = True
        try:
            yield
        finally:
            self._can_wait = False
            self._noticed.set()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._can_wait and not self.requested:
            self.requested, self._since = True, now
            threading.Thread(target=self._stop_if_idle, daemon=True).start()
            if not self.silent:
                print("\nStopping after this step to save the run. Interrupt again to stop at once.", file=sys.stderr)
            return
        if self._can_wait and now - self._since < ECHO_SECONDS:
            return
        interrupt(number)

    def _stop_if_idle(self) -> None:
        """Stop the work at once if it stands still instead of ending its step."""
        used = time.process_time()
        while not self._noticed.wait(IDLE_SECONDS):
            before, used = used, time.process_time()
            if used - before < IDLE_SHARE * IDLE_SECONDS:
                signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)  # pyright: ignore[reportArgumentType]
                if not self._noticed.wait(SECONDS_TO_END) and self.give_up:
                    self.give_up()
                return
