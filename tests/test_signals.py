"""End a program by a signal, even if a library swallows the exception."""

import contextlib
import os
import signal
import time

import pytest

from cnnlab.errors import Interrupted
from cnnlab.signals import handled, interrupt

SIGNALS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])


@SIGNALS
def test_an_interruption_that_was_swallowed_comes_again(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cnnlab.signals.AGAIN", 0.05)
    with pytest.raises(Interrupted, match=f"Interrupted by {number.name}"), handled(interrupt):
        with contextlib.suppress(BaseException):  # as some libraries do while they are imported
            os.kill(os.getpid(), number)
        time.sleep(5)
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)  # no more


def test_the_end_of_the_terminal_is_ignored_if_it_was_before() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with handled(interrupt):
            signal.raise_signal(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
