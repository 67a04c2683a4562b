"""Run the jobs of a sweep, each in a process of its own, so that a crash ends only one of them."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol

from cnnlab.cpu import available_cores
from cnnlab.errors import Interrupted
from cnnlab.runs.before import Before
from cnnlab.runs.directory import RunDirectory
from cnnlab.signals import handled

POLL_EVERY = 0.2  # seconds


@dataclass(eq=False)
class Job:
    """One run of a sweep, and its state."""

    name: str  # among the jobs of the sweep
    overrides: list[str]  # key=value arguments
    command: list[str]  # that trains it
    directory: Path  # of the run
    epochs: float | None  # length of the training, or None if it is not given in epochs
    state: str = "waiting"  # or running, completed, failed, diverged, interrupted
    earlier: bool = False  # an earlier sweep has completed it, or seen it diverge
    resumes: bool = False  # it continues from the checkpoint of an earlier sweep
    reason: str | None = None  # why it failed
    code: int | None = None  # exit code, negative if a signal ended it; None if not known
    started: float | None = None  # by the monotonic clock
    seconds: float = 0.0  # in this sweep
    epochs_before: float = 0.0  # that earlier sweeps have trained it
    unwanted: bool = False  # set from outside to have it save and end early
    record: dict[str, Any] = field(default_factory=dict)  # summary.json as last read

    def read_record(self) -> None:
        """Read the record that the run has written."""
        self.record = RunDirectory(self.directory).read_summary() or {}


class Execution(Protocol):
    """Job that was started on this machine or by a cluster."""

    def poll(self) -> int | None:
        """Return the exit code if the job has ended, else None."""

    def interrupt(self) -> None:
        """Ask the job to save and end."""

    def kill(self) -> None:
        """End the job at once."""

    def explain(self, code: int) -> str:
        """Explain why the job has ended with this code, as far as known."""
        ...


class LocalProcess:
    """Job on this machine, with variables added to the environment of this process.

    It prints to `output.log` and `errors.log` in its run directory.
    """

    def __init__(self, command: Sequence[str], directory: Path, environment: dict[str, str]):
        self._directory, self._before = directory, Before(directory)
        directory.mkdir(parents=True, exist_ok=True)
        self._files = [directory / "output.log", directory / "errors.log"]
        self._stderr = b""  # read when the job has ended, since after a wrong request it is removed from the file
        with self._files[0].open("ab") as output, self._files[1].open("ab") as errors:
            self._earlier_errors = errors.tell()
            self._process = self._start(command, environment, output, errors)

    def _start(
        self, command: Sequence[str], environment: dict[str, str], output: IO[bytes], errors: IO[bytes]
    ) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            env=os.environ | environment,
            start_new_session=True,  # Ctrl-C goes to the sweep, which passes it on
        )

    def _code(self) -> int | None:
        return self._process.poll()

    def poll(self) -> int | None:
        """Return the exit code if the job has ended, else None."""
        code = self._code()
        if code is not None:
            self._tidy(code)
        return code

    def interrupt(self) -> None:
        """Ask the job to save and end."""
        self._process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """End the job and the processes that it has started at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def explain(self, code: int) -> str:
        """Return the exit code or signal, and the last line of stderr (the last two after a wrong request)."""
        lines = [line.strip() for line in self._stderr.decode(errors="replace").splitlines() if line.strip()]
        last = " ".join(lines[-2 if code == 2 else -1 :])
        return ": ".join(part for part in (explain_code(code), last) if part)

    def _tidy(self, code: int) -> None:
        """Remove empty files; after a refused request, all that was added."""
        if self._files[1].is_file():
            self._stderr = self._stderr or self._files[1].read_bytes()[self._earlier_errors :]
        for file in self._files:
            if file.is_file() and file.stat().st_size == 0:
                file.unlink()
        if code == 2:
            self._before.remove_added(self._directory)


def explain_code(code: int) -> str:
    """Explain an exit code in words."""
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
    """Return environment variables for each of the jobs that run at once: an equal share of the cores, and one GPU.

    A single job uses the whole machine. `devices` are the GPUs, as `CUDA_VISIBLE_DEVICES` names them.
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
    """Run jobs until all have ended, as many at once as there are environments.

    Yield a job when it starts and when it ends, and None several times a second. Ctrl-C and SIGTERM are passed on to
    the jobs, which save and end. A second signal ends them without saving, a third kills them.

    Args:
        jobs: one is taken as soon as it can start; None means that there is none at the moment.
        start: starts a job with one of the environments.
        environments: environment variables for each of the jobs that run at once.

    Raises:
        Interrupted: after a signal, when the jobs have ended.
    """
    waiting, more = iter(jobs), True
    free = list(environments)
    running: dict[Job, tuple[Execution, dict[str, str], dict[str, Any]]] = {}
    told: set[Job] = set()  # jobs that were asked to end because they are unwanted
    signals: list[int] = []  # those that came
    passed_on = 0
    with handled(lambda number, _: signals.append(number)):
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
                        _record_end(job, code, execution, before, bool(signals))
                        yield job
                    elif job.unwanted and job not in told:
                        told.add(job)
                        execution.interrupt()
                if signals and not passed_on:
                    print("\nStopping: the jobs save and end. Press Ctrl-C again to stop at once.", file=sys.stderr)
                for count in range(passed_on, len(signals)):
                    for job, (execution, _, _) in running.items():
                        if count or job not in told:
                            execution.interrupt() if count < 2 else execution.kill()
                passed_on = len(signals)
                yield None
                time.sleep(POLL_EVERY)
        finally:
            for execution, _, _ in running.values():
                execution.kill()
    if signals:
        raise Interrupted("The sweep was interrupted; the same command continues it.")


def _record_end(job: Job, code: int, execution: Execution, before: dict[str, Any], stopping: bool) -> None:
    """Set the final state of a job, and correct its record if the process has left it at `running`."""
    assert job.started is not None
    job.seconds = time.monotonic() - job.started
    job.code = code
    job.read_record()
    wrote = job.record != before  # otherwise the record is of an earlier attempt, or missing
    status = job.record.get("status")
    if code == 0 and status == "completed":
        job.state = "completed"
    elif code == 130 or (stopping and (code < 0 or status in (None, "interrupted"))):
        job.state = job.reason = "interrupted"
    elif code == 1 and wrote and status == "diverged":
        job.state, job.reason = "diverged", job.record.get("error")
    else:
        error = job.record.get("error") if wrote and status == "failed" and code >= 0 else None
        job.state, job.reason = "failed", f"{explain_code(code)}: {error}" if error else execution.explain(code)
    if status == "running" and RunDirectory(job.directory).is_free():  # the process could not record its end
        killed = "Killed while the sweep was stopped."
        RunDirectory(job.directory).correct(job.state, killed if job.state == "interrupted" else str(job.reason))
        job.read_record()
