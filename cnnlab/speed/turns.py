"""Run processes in turns, so that slow moments of the machine affect everything that is compared alike."""

import contextlib
import multiprocessing
import signal
import time
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from cnnlab.errors import RequestError
from cnnlab.instantiate import first_line

# Sends the result of a turn to the parent process and waits; returns whether there is another turn.
Report = Callable[[Any], bool]
Work = Callable[[Any, Report], None]


class Contestant:
    """A process that works only when it is its turn.

    It imports everything anew. So its peak memory is its own, and the time from its start to its first report is the
    time that a command needs to start.

    Args:
        work: a function of a module, called in the new process with the task and `report`. It prepares itself and
            reports once when it is ready. What it does between two reports is a turn.
        task: plain values.
    """

    def __init__(self, work: Work, task: Any):
        self.work, self.task = work, task
        self.startup_seconds = 0.0  # from the start of the process to its first report
        self.error: str | None = None  # that has ended the process
        self._process: BaseProcess | None = None

    def start(self) -> Any:
        """Start the process and return its first report, or None if it failed; raise a RequestError of the work."""
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        process = context.Process(target=_run, args=(self.work, self.task, theirs))
        started = time.perf_counter()
        process.start()
        self._process = process
        theirs.close()
        first = self._receive()
        self.startup_seconds = time.perf_counter() - started
        return first

    def turn(self) -> Any:
        """Let the process take a turn and return its report, or None if it has failed now or before."""
        if self.error is not None:
            return None
        with contextlib.suppress(OSError):  # the process died between two turns; _receive says so
            self._connection.send(True)
        return self._receive()

    def stop(self, patience: float = 10) -> None:
        """End the process; kill it after some seconds."""
        if self._process is None:  # interrupted while it was started
            return
        self._connection.close()
        self._process.join(timeout=patience)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _receive(self) -> Any:
        try:
            kind, result = self._connection.recv()
        except (EOFError, OSError):
            assert self._process is not None
            self._process.join()
            kind, result = "failed", f"the process ended with code {self._process.exitcode}"
        if kind == "wrong request":
            raise RequestError(result)
        if kind == "failed":
            self.error = result
            return None
        return result


def take_turns(contestants: Sequence[Contestant], rounds: int, show: Callable[[str], None]) -> list[list[Any]]:
    """Start the processes one after the other, then give each a turn in every round.

    Every second round goes backwards. A process that fails drops out; its `error` tells why. All have ended on return.
    `show` is called with lines of progress.

    Returns:
        Reports of each process: the first one, then one for each turn that it has finished.
    """
    reports: list[list[Any]] = [[] for _ in contestants]
    started: list[Contestant] = []
    try:
        for number, contestant in enumerate(contestants):
            show(f"starting {number + 1}/{len(contestants)}")
            started.append(contestant)
            reports[number].append(contestant.start())
        for number in range(rounds):
            show(f"round {number + 1}/{rounds}")
            forwards = range(len(contestants))
            for position in forwards if number % 2 == 0 else reversed(forwards):
                reports[position].append(contestants[position].turn())
    except BaseException:  # such as Ctrl-C: do not wait for the end of a turn
        for contestant in started:
            contestant.stop(patience=0)
        raise
    for contestant in started:
        contestant.stop()
    return [[report for report in each if report is not None] for each in reports]


def _run(work: Work, task: Any, connection: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends this process

    def report(result: Any) -> bool:
        connection.send(("result", result))
        try:
            return connection.recv()
        except EOFError:
            return False

    try:
        work(task, report)
    except RequestError as error:
        connection.send(("wrong request", str(error)))
    except Exception as error:
        traceback.print_exc()
        connection.send(("failed", f"{type(error).__name__}: {first_line(error)}"))
