"""The jobs of a sweep: each is a process of its own, so that whatever ends one costs only that one."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from cnnlab.cpu import available_cores
from cnnlab.errors import Interrupted
from cnnlab.runs.directory import RunDirectory

LOOK_EVERY = 0.2  # seconds


@dataclass(eq=False)
class Job:
    """One run of a sweep, and what has become of it.

    Attributes:
        name: what tells it from the others of the sweep.
        overrides: its key=value arguments.
        command: that trains it.
        directory: the run directory.
        epochs: how long it trains, where that is said in epochs.
        state: waiting, running, completed, failed or interrupted.
        earlier: whether an earlier sweep has completed it already.
        resumes: whether it goes on from an earlier sweep's checkpoint.
        reason: why it failed.
        code: its exit code; negative when a signal ended it, None where it is not known.
        started: when it did, by the monotonic clock.
        seconds: it took, in this sweep.
        epochs_before: that earlier sweeps have trained it.
        unwanted: set from outside while it runs, to have it save and end before its time.
        record: its summary.json, when last looked at.
    """

    name: str
    overrides: list[str]
    command: list[str]
    directory: Path
    epochs: float | None
    state: str = "waiting"
    earlier: bool = False
    resumes: bool = False
    reason: str | None = None
    code: int | None = None
    started: float | None = None
    seconds: float = 0.0
    epochs_before: float = 0.0
    unwanted: bool = False
    record: dict[str, Any] = field(default_factory=dict)

    def read_record(self) -> None:
        """Looks at what the run has written."""
        self.record = RunDirectory(self.directory).read_summary() or {}

    def expected_seconds(self) -> float | None:
        """How long it takes in this sweep, from what it has done so far; None where that is not known yet."""
        if self.state == "completed":
            return None if self.earlier else self.seconds
        done = (self.record.get("epochs") or 0) - self.epochs_before
        if self.state != "running" or self.started is None or self.epochs is None or done <= 0:
            return None
        return (time.monotonic() - self.started) * (self.epochs - self.epochs_before) / done


class Execution(Protocol):
    """A job that was started: on this machine, or by a cluster."""

    def poll(self) -> int | None:
        """The exit code once it has ended, else None."""
        ...

    def interrupt(self) -> None:
        """Asks it to save and end."""
        ...

    def kill(self) -> None:
        """Ends it at once."""
        ...

    def explain(self, code: int) -> str:
        """Why it ended with this code, as far as can be seen from outside."""
        ...


class LocalProcess:
    """A job on this machine. What it prints goes to `output.log` and `errors.log` in its run directory.

    Args:
        command: that is run.
        directory: of the run.
        environment: variables that it has beside this process's own.
    """

    def __init__(self, command: Sequence[str], directory: Path, environment: dict[str, str]):
        directory.mkdir(parents=True, exist_ok=True)
        self._files = [directory / "output.log", directory / "errors.log"]
        self._errors = self._files[1].open("w+b")  # kept open: a wrong request takes its directory with it
        with self._files[0].open("ab") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=self._errors,
                env=os.environ | environment,
                start_new_session=True,  # Ctrl-C is for the sweep, which passes it on
            )

    def poll(self) -> int | None:
        """The exit code once it has ended, else None."""
        code = self._process.poll()
        if code is not None:
            self._remove_empty_files()
        return code

    def interrupt(self) -> None:
        """Asks it to save and end."""
        self._process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """Ends it and what it has started at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def wait(self) -> int:
        """The exit code, when it has ended."""
        code = self._process.wait()
        self._remove_empty_files()
        return code

    def save_and_end(self, seconds: float) -> None:
        """Asks it to save, and returns when it has ended; after as many seconds it is killed.

        The exit code is left for `wait`: a signal handler may call this that has interrupted `wait`, and whoever waits
        for a process holds a lock until it has ended.
        """
        self.interrupt()
        deadline = time.monotonic() + seconds
        with contextlib.suppress(ChildProcessError, ProcessLookupError):  # it has ended already
            while os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                if time.monotonic() > deadline:
                    os.killpg(self._process.pid, signal.SIGKILL)
                time.sleep(0.1)

    def explain(self, code: int) -> str:
        """The exit code or signal, and the last line of stderr (both lines of a wrong request)."""
        self._errors.seek(0)
        lines = [line.strip() for line in self._errors.read().decode(errors="replace").splitlines() if line.strip()]
        last = " ".join(lines[-2 if code == 2 else -1 :])
        return ": ".join(part for part in (explain_code(code), last) if part)

    def _remove_empty_files(self) -> None:
        for file in self._files:
            if file.is_file() and file.stat().st_size == 0:
                file.unlink()


def explain_code(code: int) -> str:
    """What an exit code says, in words."""
    if code == 0:
        return "it ended before the run was complete"
    if code > 0:
        return f"exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"killed by {name}" + (" (by hand, or by the system when memory ran out)" if name == "SIGKILL" else "")


def slots(at_once: int, devices: Sequence[str]) -> list[dict[str, str]]:
    """The environment for each of the jobs that run at once: an equal share of the cores, and one GPU each in turn.

    Args:
        at_once: how many run at once. One alone has the whole machine.
        devices: the GPUs, as `CUDA_VISIBLE_DEVICES` names them.
    """
    if at_once == 1:
        return [{}]
    # Threads of several jobs on the same cores would make each of them many times slower.
    threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, available_cores() // at_once))
    shares = [{"OMP_NUM_THREADS": threads} for _ in range(at_once)]
    if len(devices) > 1:
        for slot, share in enumerate(shares):
            share["CUDA_VISIBLE_DEVICES"] = devices[slot % len(devices)]
    return shares


def run_jobs(
    jobs: Iterable[Job | None],
    start: Callable[[Job, dict[str, str]], Execution],
    environments: Sequence[dict[str, str]],
) -> Generator[Job | None, None, None]:
    """Runs jobs until all have ended, as many at once as there are environments.

    Yields a job when it starts and when it ends, and None several times a second. Ctrl-C and SIGTERM are passed on to
    the jobs, which save and end; a second time they end without saving, a third time they are killed.

    Args:
        jobs: that wait. One is taken when there is room for it; None stands for none at the moment.
        start: starts one with one of the environments.
        environments: variables of the jobs that run at once.

    Raises:
        Interrupted: when a signal came, after the jobs have ended.
    """
    waiting, more = iter(jobs), True
    free = list(environments)
    running: dict[Job, tuple[Execution, dict[str, str], dict[str, Any]]] = {}
    told: set[Job] = set()  # that they are unwanted
    passed_on = 0
    with _counting_signals() as signals:
        try:
            while running or (more and not signals):
                while more and free and not signals:
                    try:
                        job = next(waiting)
                    except StopIteration:
                        more = False
                        break
                    if job is None:
                        break
                    environment = free.pop(0)
                    job.read_record()
                    job.epochs_before = (job.record.get("epochs") or 0) if job.resumes else 0
                    running[job] = (start(job, environment), environment, job.record)
                    job.state, job.started = "running", time.monotonic()
                    yield job
                for job, (execution, environment, before) in list(running.items()):
                    code = execution.poll()
                    if code is not None:
                        del running[job]
                        free.append(environment)
                        _settle(job, code, execution, before, bool(signals))
                        yield job
                    elif job.unwanted and job not in told:
                        told.add(job)
                        execution.interrupt()
                if signals and not passed_on:
                    print("\nStopping: the jobs save and end. Once more to stop at once.", file=sys.stderr)
                for count in range(passed_on, len(signals)):
                    for job, (execution, _, _) in running.items():
                        if count or job not in told:
                            execution.interrupt() if count < 2 else execution.kill()
                passed_on = len(signals)
                yield None
                time.sleep(LOOK_EVERY)
        finally:
            for execution, _, _ in running.values():
                execution.kill()
    if signals:
        raise Interrupted("The sweep was interrupted; the same command goes on with it.")


@contextlib.contextmanager
def _counting_signals() -> Iterator[list[int]]:
    """Inside, signals that ask for the end are only noted."""
    came: list[int] = []
    before = {number: signal.signal(number, lambda n, _: came.append(n)) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _settle(job: Job, code: int, execution: Execution, before: dict[str, Any], stopping: bool) -> None:
    """Notes how a job has ended, and sets its record right where it was left at `running`."""
    assert job.started is not None
    job.seconds = time.monotonic() - job.started
    job.code = code
    job.read_record()
    wrote = job.record != before  # else the record tells of an earlier attempt, or there is none
    status = job.record.get("status")
    if code == 0 and status == "completed":
        job.state = "completed"
    elif code == 130 or (stopping and (code < 0 or status in (None, "interrupted"))):
        job.state, job.reason = "interrupted", "interrupted"
        if status == "running" and RunDirectory(job.directory).is_free():  # it was killed before it could say so
            RunDirectory(job.directory).correct("interrupted", "Killed while the sweep was stopped.")
            job.read_record()
    else:
        told = job.record.get("error") if wrote and status == "failed" and code >= 0 else None
        job.state, job.reason = "failed", f"{explain_code(code)}: {told}" if told else execution.explain(code)
        if status == "running" and RunDirectory(job.directory).is_free():
            RunDirectory(job.directory).correct("failed", job.reason)
            job.read_record()
