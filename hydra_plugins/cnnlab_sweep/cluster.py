"""Run the jobs of a sweep on a Slurm cluster, through submitit (an extra: `pip install 'cnnlab[slurm]'`)."""

import contextlib
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnnlab.errors import RequestError
from cnnlab.runs.jobs import Job, LocalProcess

if TYPE_CHECKING:
    import submitit

SECONDS_TO_SAVE = 60.0  # when the time of a run is up; Slurm gives notice 90 seconds before


class AllocatedProcess(LocalProcess):
    """Job on a machine of the cluster."""

    def wait(self) -> int:
        """Wait for the end of the job, and return the exit code."""
        code = self._process.wait()
        self._tidy(code)
        return code

    def save_and_end(self, seconds: float) -> None:
        """Ask the job to save and end, and kill it if it has not ended after some seconds.

        The exit code is left for `wait`. A signal handler that has interrupted `wait` may call this, and `wait` holds a
        lock until the process has ended.
        """
        self.interrupt()
        deadline = time.monotonic() + seconds
        with contextlib.suppress(ChildProcessError, ProcessLookupError):  # the job has ended already
            while os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                if time.monotonic() > deadline:
                    os.killpg(self._process.pid, signal.SIGKILL)
                time.sleep(0.1)


class Allocation:
    """Function that runs a job on a machine of the cluster.

    The cluster gives notice when the time of the job is up, or another job is more urgent. The run then saves, and the
    cluster starts the same command again later, which resumes the run.
    """

    def __init__(self, command: Sequence[str], directory: Path):
        self.command, self.directory = command, directory
        self.process: AllocatedProcess | None = None

    def __call__(self) -> tuple[int, str]:
        """Run the job, and return its exit code and an explanation of it."""
        # The notice reaches all processes of the job, and would end the run before it has saved.
        notice = signal.signal(signal.SIGUSR2, signal.SIG_IGN)
        self.process = AllocatedProcess(self.command, self.directory, {})
        signal.signal(signal.SIGUSR2, notice)
        code = self.process.wait()
        return code, self.process.explain(code)

    def checkpoint(self) -> "submitit.helpers.DelayedSubmission":
        """Save the run and return what to start later; submitit calls this in a signal handler within `__call__`."""
        from submitit.helpers import DelayedSubmission

        if self.process:
            self.process.save_and_end(SECONDS_TO_SAVE)
        return DelayedSubmission(Allocation(self.command, self.directory))


class Submission:
    """Job that was submitted to the cluster."""

    def __init__(self, handle: "submitit.Job[tuple[int, str]]"):
        self.handle = handle
        self._explanation = ""

    def poll(self) -> int | None:
        """Return the exit code if the job has ended, 1 if the cluster has lost it, else None."""
        if not self.handle.done():
            return None
        if self.handle.exception() is None:
            code, self._explanation = self.handle.result()
            return code
        self._explanation = f"the cluster ended job {self.handle.job_id}: {self.handle.state}"
        return 1

    def interrupt(self) -> None:
        """Cancel the job; the cluster gives the run half a minute to save."""
        self.handle.cancel(check=False)

    kill = interrupt

    def explain(self, code: int) -> str:
        """Return the explanation of the job or the cluster."""
        return self._explanation


def make_executor(cluster: str, folder: Path, parameters: dict[str, Any]) -> "submitit.AutoExecutor":
    """Make the executor that submits jobs to a cluster.

    Args:
        cluster: `slurm`, or `local` to try it out with processes on this machine.
        folder: folder for the files of submitit, which all machines of the cluster can read.
        parameters: parameters of submitit, such as `timeout_min`; those of Slurm start with `slurm_`.

    Raises:
        RequestError: if submitit is not installed, the cluster does not exist, or a parameter is wrong.
    """
    try:
        import submitit
    except ModuleNotFoundError:
        raise RequestError("hydra/launcher=slurm needs a package: pip install 'cnnlab[slurm]'") from None
    try:
        executor = submitit.AutoExecutor(folder, cluster)
    except (RuntimeError, ValueError) as error:
        raise RequestError(f"hydra/launcher=slurm: {' '.join(str(error).split())}") from None
    try:
        executor.update_parameters(**parameters)
    except (ValueError, TypeError, AssertionError) as error:
        raise RequestError(f"hydra.launcher: {' '.join(str(error).split())}") from None
    return executor


def submit(executor: "submitit.AutoExecutor", job: Job) -> Submission:
    """Submit a job.

    Raises:
        RequestError: if the cluster rejects it.
    """
    from submitit.core.utils import FailedJobError

    executor.update_parameters(name=job.name)
    try:
        return Submission(executor.submit(Allocation(job.command, job.directory.absolute())))
    except FailedJobError as error:
        raise RequestError(f"hydra/launcher=slurm: {' '.join(str(error).split())}") from None
