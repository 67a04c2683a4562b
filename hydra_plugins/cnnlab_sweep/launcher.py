"""The launcher `isolated`: every job of a sweep is a process of its own, and what is done is not done again."""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from cnnlab.errors import RequestError, SweepFailed
from cnnlab.runs import jobs as processes
from cnnlab.runs.jobs import Execution, Job
from cnnlab.runs.sweeps import SWEEP_FILE
from hydra_plugins.cnnlab_sweep.planning import compose_jobs, plan_jobs


class IsolatedLauncher(Launcher):
    """Starts the jobs on this machine.

    Args:
        n_jobs: how many run at the same time. They share the cores, and have one GPU each in turn.
    """

    def __init__(self, n_jobs: int):
        self.n_jobs = n_jobs

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keeps what the jobs are composed from. The task is not needed: a job is started by its command."""
        self.loader, self.config = hydra_context.config_loader, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Runs what is not done yet, and says what was done and what failed.

        Raises:
            RequestError: when `n_jobs` is no number of jobs.
        """
        check_n_jobs(self.n_jobs)
        devices = []
        if self.n_jobs > 1:
            from cnnlab.runs.environment import visible_gpus  # with torch

            devices = visible_gpus()
        composed = compose_jobs(self.config, self.loader, job_overrides, initial_job_idx)
        jobs = plan_jobs(self.config, composed, job_overrides)
        environments = processes.slots(self.n_jobs, devices)
        run_and_show(self.config, jobs, _start, environments)
        return job_returns(jobs, composed)


def _start(job: Job, environment: dict[str, str]) -> Execution:
    return processes.LocalProcess(job.command, job.directory, environment)


def check_n_jobs(n_jobs: int) -> None:
    """Raises RequestError when it is no number of jobs."""
    if n_jobs < 1:
        raise RequestError(f"hydra.launcher.n_jobs must be 1 or more, got {n_jobs}")


def run_and_show(
    config: DictConfig,
    jobs: Sequence[Job],
    start: Callable[[Job, dict[str, str]], Execution],
    environments: Sequence[dict[str, str]],
) -> None:
    """Runs the jobs that wait, and shows how they come out.

    Args:
        config: of the sweep.
        jobs: all of them.
        start: starts one with one of the environments.
        environments: variables of the jobs that run at once.
    """
    from cnnlab.reports.sweep import SweepProgress, print_outcome
    from cnnlab.reports.terminal import suggest_next

    directory = Path(config.hydra.sweep.dir)
    waiting = [job for job in jobs if job.state == "waiting"]
    if waiting:
        directory.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(config, directory / SWEEP_FILE)
    with SweepProgress(jobs, len(environments)) as progress:
        for changed in processes.run_jobs(waiting, start, environments):
            progress.show(changed)
    print_outcome(jobs, directory)
    if all(job.state == "completed" for job in jobs):
        has_all = all(job.directory.parent == directory for job in jobs)  # or earlier sweeps of this name have some
        suggest_next(shlex.join(["cnnlab", "compare", f"runs={directory if has_all else directory.parent}"]))


def job_returns(jobs: Sequence[Job], composed: Sequence[DictConfig]) -> list[JobReturn]:
    """What Hydra's sweepers are told: the validation accuracy of each job, or what failed."""
    from cnnlab.reports.sweep import describe_failures

    failed = [job for job in jobs if job.state != "completed"]
    error = SweepFailed(describe_failures(jobs), 2 if all(job.code == 2 for job in failed) else 1)
    returns = []
    for job, config in zip(jobs, composed, strict=True):
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
    """What `hydra.launcher` holds."""

    _target_: str = "hydra_plugins.cnnlab_sweep.launcher.IsolatedLauncher"
    n_jobs: int = 1


ConfigStore.instance().store(group="hydra/launcher", name="isolated", node=IsolatedLauncherConf)
