"""Processes that take turns, so that a slow moment of the machine falls on all that is compared alike."""

import contextlib
import multiprocessing
import signal
import time
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any, Protocol

from cnnlab.errors import RequestError
from cnnlab.instantiate import first_line


class Answer(Protocol):
    """Says what the latest turn gave, and waits for the next turn."""

    def __call__(self, result: Any) -> bool:
        """True when there is another turn, false when it was the last."""
        ...


Work = Callable[[Any, Answer], None]


class Contestant:
    """A process of its own that waits until it is its turn.

    It imports everything anew, so that its peak memory is its own, and the time from its start to its first answer is
    what a command needs until its work is under way.

    Args:
        work: a function of a module, called in the new process with the task and `answer`. It prepares itself, and
            then does what is timed between any two answers, the first of which says that it is ready.
        task: plain values.

    Attributes:
        startup_seconds: from its start to its first answer.
        error: why there is nothing more to come from it, or None.
    """

    def __init__(self, work: Work, task: Any):
        self.work, self.task = work, task
        self.startup_seconds = 0.0
        self.error: str | None = None

    def start(self) -> Any:
        """Starts the process and returns its first answer, or None where it failed.

        Raises:
            RequestError: here and in a turn, where the work raised one.
        """
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=_run, args=(self.work, self.task, theirs))
        started = time.perf_counter()
        self._process.start()
        theirs.close()
        first = self._receive()
        self.startup_seconds = time.perf_counter() - started
        return first

    def turn(self) -> Any:
        """Lets it have a turn and returns what that gave, or None where it failed, now or before."""
        if self.error is None:
            with contextlib.suppress(OSError):  # it died between two turns: the next line finds out
                self._ours.send(True)
            return self._receive()
        return None

    def stop(self) -> None:
        """Ends the process."""
        self._ours.close()
        self._process.join(timeout=10)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _receive(self) -> Any:
        try:
            kind, result = self._ours.recv()
        except (EOFError, OSError):
            self._process.join()
            kind, result = "failed", f"the process ended with code {self._process.exitcode}"
        if kind == "wrong request":
            raise RequestError(result)
        if kind == "failed":
            self.error = result
            return None
        return result


def take_turns(contestants: Sequence[Contestant], rounds: int, say: Callable[[str], None]) -> list[list[Any]]:
    """Starts each process after the one before is ready, then gives all of them a turn in every round.

    Every second round goes backwards. A process that fails drops out; its `error` says why.

    Args:
        contestants: each is started here and has ended on return.
        rounds: turns of each.
        say: told how far it is.

    Returns:
        For each contestant what it answered: the first answer, then one for each turn that it finished.
    """
    answers: list[list[Any]] = [[] for _ in contestants]
    started: list[Contestant] = []
    try:
        for number, contestant in enumerate(contestants):
            say(f"starting {number + 1}/{len(contestants)}")
            started.append(contestant)
            answers[number].append(contestant.start())
        for number in range(rounds):
            say(f"round {number + 1}/{rounds}")
            forth = range(len(contestants))
            for position in forth if number % 2 == 0 else reversed(forth):
                answers[position].append(contestants[position].turn())
    finally:
        for contestant in started:
            contestant.stop()
    return [[answer for answer in each if answer is not None] for each in answers]


def _run(work: Work, task: Any, connection: Connection) -> None:
    """What the process does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends this process

    def answer(result: Any) -> bool:
        connection.send(("answer", result))
        try:
            return connection.recv()
        except EOFError:
            return False

    try:
        work(task, answer)
    except RequestError as error:
        connection.send(("wrong request", str(error)))
    except Exception as error:
        traceback.print_exc()
        connection.send(("failed", f"{type(error).__name__}: {first_line(error)}"))
