import signal
import threading
import time

import pytest

from cnnlab.errors import Interrupted
from cnnlab.training import interruption
from cnnlab.training.interruption import ECHO_SECONDS, StopRequest

SIGNALS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])


@SIGNALS
def test_the_first_signal_waits_during_training(number: signal.Signals, capsys: pytest.CaptureFixture[str]) -> None:
    stop = StopRequest()
    with stop.listening(), stop.waiting():
        assert not stop()
        signal.raise_signal(number)
        assert stop()
    assert "Interrupt again to stop at once" in capsys.readouterr().err


@SIGNALS
def test_the_second_signal_stops_at_once(number: signal.Signals) -> None:
    stop = StopRequest()
    with stop.listening(), stop.waiting():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)  # the echo of the first: torchrun passes on what the terminal sends to all
        time.sleep(ECHO_SECONDS)
        with pytest.raises(Interrupted, match=number.name):
            signal.raise_signal(number)


@SIGNALS
def test_a_signal_outside_of_training_stops_at_once(number: signal.Signals) -> None:
    stop = StopRequest()
    with stop.listening():
        with pytest.raises(Interrupted, match=number.name):
            signal.raise_signal(number)
        assert not stop()
        with stop.waiting():
            pass
        with pytest.raises(Interrupted):  # the waiting is over
            signal.raise_signal(number)


def test_signal_handlers_are_restored() -> None:
    def before() -> list[object]:
        return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    handlers = before()
    with pytest.raises(Interrupted), StopRequest().listening():
        assert before() != handlers
        signal.raise_signal(signal.SIGTERM)
    assert before() == handlers


def test_an_interruption_is_not_an_exception() -> None:
    assert not issubclass(Interrupted, Exception)  # so that no `except Exception` on the way swallows it


def test_work_that_stands_still_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interruption, "IDLE_SECONDS", 0.3)
    given_up: list[bool] = []
    stop = StopRequest(give_up=lambda: given_up.append(True))
    with pytest.raises(Interrupted), stop.listening(), stop.waiting():
        signal.raise_signal(signal.SIGINT)
        threading.Event().wait(60)  # as for images of a lost disk
        pytest.fail("it was not interrupted")
    assert not given_up


def test_work_that_computes_may_end_its_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interruption, "IDLE_SECONDS", 0.3)
    stop = StopRequest()
    with stop.listening(), stop.waiting():
        signal.raise_signal(signal.SIGINT)
        started = time.process_time()
        while time.process_time() - started < 1.5:
            pass
        assert stop()


def test_work_that_nothing_stops_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """An operation of several processes waits for a lost one without looking at signals."""
    monkeypatch.setattr(interruption, "IDLE_SECONDS", 0.3)
    monkeypatch.setattr(interruption, "SECONDS_TO_END", 0.3)
    given_up = threading.Event()
    stop = StopRequest(give_up=given_up.set)
    with stop.listening(), stop.waiting():
        signal.raise_signal(signal.SIGINT)
        monkeypatch.setattr(signal, "pthread_kill", lambda *_: None)
        assert given_up.wait(60)
