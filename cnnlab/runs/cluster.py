"""Jobs of a sweep on a Slurm cluster, through submitit (an extra: `pip install 'cnnlab[slurm]'`)."""

import signal
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnnlab.errors import RequestError
from cnnlab.runs.jobs import Job, LocalProcess

if TYPE_CHECKING:
    import submitit

SAVING = 60.0  # seconds that a run has to save before its time is up; Slurm gives notice 90 seconds before


class Allocation:
    """What runs on the machine that the cluster gives: the job's own process.

    When its time is up, or another job is more urgent, the cluster says so beforehand. The run then saves, and the
    cluster starts the same command again later.

    Args:
        command: that trains; it goes on where it was when it is started again.
        directory: of the run.
    """

    def __init__(self, command: Sequence[str], directory: Path):
        self.command, self.directory = command, directory
        self.process: LocalProcess | None = None

    def __call__(self) -> tuple[int, str]:
        """Returns the exit code, and what there is to say about it."""
        # The notice reaches all processes of the job, and would end this one before it has saved.
        notice = signal.signal(signal.SIGUSR2, signal.SIG_IGN)
        self.process = LocalProcess(self.command, self.directory, {})
        signal.signal(signal.SIGUSR2, notice)
        code = self.process.wait()
        return code, self.process.explain(code)

    def checkpoint(self) -> "submitit.helpers.DelayedSubmission":
        """Called by submitit on notice, within a signal handler that interrupts `__call__`: what is started later."""
        from submitit.helpers import DelayedSubmission

        if self.process:
            self.process.save_and_end(SAVING)
        return DelayedSubmission(Allocation(self.command, self.directory))


class Submission:
    """A job that was handed to the cluster.

    Args:
        handle: submitit's.
    """

    def __init__(self, handle: "submitit.Job[tuple[int, str]]"):
        self.handle = handle
        self._said = ""

    def poll(self) -> int | None:
        """The exit code once it has ended, else None; 1 when the cluster has lost it."""
        if not self.handle.done():
            return None
        if self.handle.exception() is None:
            code, self._said = self.handle.result()
            return code
        self._said = f"the cluster ended job {self.handle.job_id}: {self.handle.state}"
        return 1

    def interrupt(self) -> None:
        """Takes it from the cluster, which gives a run half a minute to save."""
        self.handle.cancel(check=False)

    kill = interrupt

    def explain(self, code: int) -> str:
        """What the job or the cluster said."""
        return self._said


def make_executor(cluster: str, folder: Path, parameters: dict[str, Any]) -> "submitit.AutoExecutor":
    """Hands jobs to a cluster.

    Args:
        cluster: `slurm`, or `local` for processes on this machine, to try it out.
        folder: for submitit's own files; the machines of the cluster must see it.
        parameters: submitit's, such as `timeout_min`; those of Slurm alone start with `slurm_`.

    Raises:
        RequestError: when submitit is not installed, there is no such cluster, or a parameter is wrong.
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
    """Hands over a job.

    Raises:
        RequestError: when the cluster does not take it.
    """
    from submitit.core.utils import FailedJobError

    executor.update_parameters(name=job.name)
    try:
        return Submission(executor.submit(Allocation(job.command, job.directory.absolute())))
    except FailedJobError as error:
        raise RequestError(f"hydra/launcher=slurm: {' '.join(str(error).split())}") from None
