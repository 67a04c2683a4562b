"""End a program by Ctrl-C, SIGTERM, or the end of its terminal (SIGHUP), whatever it is doing."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

from cnnlab.errors import Interrupted

AGAIN = 2.0  # seconds


def interrupt(number: int, frame: FrameType | None = None) -> NoReturn:
    """Raise Interrupted, and again every two seconds until `settle` is called.

    Destructors and modules that are being imported may swallow exceptions. An alarm repeats this one.
    """

    def raise_it(*_: Any) -> NoReturn:
        raise Interrupted(f"Interrupted by {signal.Signals(number).name}.")

    signal.signal(signal.SIGALRM, raise_it)
    signal.setitimer(signal.ITIMER_REAL, AGAIN, AGAIN)
    raise_it()


def settle() -> None:
    """Stop the alarm: Interrupted has arrived where it is handled."""
    signal.setitimer(signal.ITIMER_REAL, 0)


@contextmanager
def handled(handler: Callable[[int, FrameType | None], Any]) -> Iterator[None]:
    """Let a function handle SIGINT, SIGTERM and SIGHUP inside the block."""
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup ignores it
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)
        settle()
