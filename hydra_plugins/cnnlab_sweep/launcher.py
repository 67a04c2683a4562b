"""Run the jobs of a sweep on this machine, and skip completed ones.

Each has its own process (hydra/launcher=isolated), or all have the same one (hydra/launcher=in_process).
"""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from cnnlab.display import suggest_next
from cnnlab.errors import RequestError, SweepFailed
from cnnlab.files import decide_once
from cnnlab.runs import jobs
from cnnlab.runs.directory import RunDirectory
from cnnlab.runs.jobs import Execution, Job
from cnnlab.runs.sweeps import SWEEP_FILE
from cnnlab.runs.warm import WarmProcess
from hydra_plugins.cnnlab_sweep.planning import compose_jobs, plan_jobs


class IsolatedLauncher(Launcher):
    """Start the jobs of a sweep on this machine.

    Args:
        n_jobs: number of jobs that run at the same time. They share the cores; the GPUs are given out one per job.
    """

    def __init__(self, n_jobs: int):
        self.n_jobs = n_jobs

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what the jobs are composed from. The task is not needed, since a job is started by its command."""
        self.loader, self.config = hydra_context.config_loader, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs that are not completed yet, and print the result of every job.

        Raises:
            RequestError: if `n_jobs` is below 1.
        """
        check_n_jobs(self.n_jobs)
        devices = []
        if self.n_jobs > 1:
            from cnnlab.runs.environment import visible_gpus  # with torch

            devices = visible_gpus()
        composed = compose_jobs(self.config, self.loader, job_overrides, initial_job_idx)
        planned = plan_jobs(self.config, composed, job_overrides)
        self._run(planned, jobs.slots(self.n_jobs, devices))
        return job_returns(planned, composed)

    def _run(self, planned: Sequence[Job], environments: Sequence[dict[str, str]]) -> None:
        run_and_show(self.config, planned, _start, environments)


class InProcessLauncher(IsolatedLauncher):
    """Start the jobs one after the other in a process that was warmed up; see `cnnlab.runs.warm`."""

    def __init__(self) -> None:
        super().__init__(n_jobs=1)

    def _run(self, planned: Sequence[Job], environments: Sequence[dict[str, str]]) -> None:
        with WarmProcess() as process:
            run_and_show(self.config, planned, process.start, environments)


def _start(job: Job, environment: dict[str, str]) -> Execution:
    return jobs.LocalProcess(job.command, job.directory, environment)


def check_n_jobs(n_jobs: int) -> None:
    """Raise a RequestError if the number of parallel jobs is below 1."""
    if n_jobs < 1:
        raise RequestError(f"hydra.launcher.n_jobs must be 1 or more, got {n_jobs}")


def run_and_show(
    config: DictConfig,
    planned: Sequence[Job],
    start: Callable[[Job, dict[str, str]], Execution],
    environments: Sequence[dict[str, str]],
) -> None:
    """Run the waiting jobs, and show their progress and results.

    Args:
        config: configuration of the sweep.
        planned: all jobs of the sweep.
        start: starts a job with one of the environments.
        environments: environment variables, one dictionary for each job that runs at the same time.
    """
    from hydra_plugins.cnnlab_sweep._progress import SweepProgress, print_outcome

    directory = Path(config.hydra.sweep.dir)
    waiting = [job for job in planned if job.state == "waiting"]
    is_new = not (directory / SWEEP_FILE).exists()
    if waiting:
        directory.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(config, directory / SWEEP_FILE)
        _keep_precision(planned, directory)
    with SweepProgress(planned, len(environments)) as progress:
        for changed in jobs.run_jobs(waiting, start, environments):
            progress.show(changed)
    print_outcome(planned, directory)
    if is_new and waiting and all(job.code == 2 for job in planned):  # every request was refused
        (directory / SWEEP_FILE).unlink()
    if all(job.state == "completed" for job in planned):
        has_all = all(job.directory.parent == directory for job in planned)  # or earlier sweeps of this name have some
        suggest_next(shlex.join(["cnnlab", "compare", f"runs={directory if has_all else directory.parent}"]))


def _keep_precision(planned: Sequence[Job], directory: Path) -> None:
    """Have new jobs use the number format that `precision=auto` meant in earlier jobs on the CPU, where it is timed."""
    for job in planned:
        run = RunDirectory(job.directory)
        record, trainer = run.read_summary() or {}, (run.read_config() or {}).get("trainer") or {}
        if record.get("precision") and "cpu:" in str(record.get("device")) and trainer.get("precision") == "auto":
            decide_once(directory / ".precision-cpu", lambda used=str(record["precision"]): used)
            return


def job_returns(planned: Sequence[Job], composed: Sequence[DictConfig]) -> list[JobReturn]:
    """Return the validation accuracy or the error of each job, as Hydra's sweepers read it."""
    from hydra_plugins.cnnlab_sweep._progress import describe_failures

    failed = [job for job in planned if job.state != "completed"]
    error = SweepFailed(describe_failures(planned), 2 if all(job.code == 2 for job in failed) else 1)
    returns = []
    for job, config in zip(planned, composed, strict=True):
        done = job.state == "completed"
        result = JobReturn(
            overrides=job.overrides,
            cfg=OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"]),
            hydra_cfg=OmegaConf.masked_copy(config, "hydra"),
            working_dir=str(Path.cwd()),
            task_name=config.hydra.job.name,
            status=JobStatus.COMPLETED if done else JobStatus.FAILED,
        )
        result.return_value = job.record.get("val_accuracy") if done else error
        returns.append(result)
    return returns


@dataclass
class IsolatedLauncherConf:
    """Hold the keys of `hydra.launcher`."""

    _target_: str = "hydra_plugins.cnnlab_sweep.launcher.IsolatedLauncher"
    n_jobs: int = 1


@dataclass
class InProcessLauncherConf:
    """Name the launcher, which has no keys."""

    _target_: str = "hydra_plugins.cnnlab_sweep.launcher.InProcessLauncher"


ConfigStore.instance().store(group="hydra/launcher", name="isolated", node=IsolatedLauncherConf)
ConfigStore.instance().store(group="hydra/launcher", name="in_process", node=InProcessLauncherConf)
