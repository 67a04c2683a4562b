"""Run the jobs of a sweep on a Slurm cluster (hydra/launcher=slurm)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from hydra_plugins.cnnlab_sweep.cluster import make_executor, submit
from hydra_plugins.cnnlab_sweep.launcher import check_n_jobs, job_returns, run_and_show
from hydra_plugins.cnnlab_sweep.planning import compose_jobs, plan_jobs

# submitit knows these parameters for every cluster; the others are Slurm's own and get the prefix `slurm_`.
SUBMITIT_PARAMETERS = ("timeout_min", "cpus_per_task", "gpus_per_node", "mem_gb")


class SlurmLauncher(Launcher):
    """Submit the jobs of a sweep to Slurm, and wait for all. submitit's files go to `submitit/` in the sweep's folder.

    Args:
        cluster: `slurm`, or `local` to try the same on this machine.
        n_jobs: number of jobs that are submitted at the same time; null submits all at once.
        parameters: resources of each job, with submitit's names; null uses the cluster's default.
    """

    def __init__(self, cluster: str, n_jobs: int | None, **parameters: Any):
        self.cluster, self.n_jobs = cluster, n_jobs
        given = {name: value for name, value in parameters.items() if value not in (None, {}, [])}
        self.parameters = {
            name if name in SUBMITIT_PARAMETERS else f"slurm_{name}": value for name, value in given.items()
        }

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what the jobs are composed from. The task is not needed, since a job is started by its command."""
        self.loader, self.config = hydra_context.config_loader, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs that are not completed yet, and print the result of every job.

        Raises:
            RequestError: if the cluster does not exist or a parameter is wrong.
        """
        at_once = len(job_overrides) if self.n_jobs is None else self.n_jobs
        check_n_jobs(at_once)
        executor = make_executor(self.cluster, Path(self.config.hydra.sweep.dir) / "submitit", self.parameters)
        composed = compose_jobs(self.config, self.loader, job_overrides, initial_job_idx)
        jobs = plan_jobs(self.config, composed, job_overrides, always_resume=True)
        run_and_show(self.config, jobs, lambda job, _: submit(executor, job), [{}] * at_once)
        return job_returns(jobs, composed)


@dataclass
class SlurmLauncherConf:
    """Hold the keys of `hydra.launcher`."""

    _target_: str = "hydra_plugins.cnnlab_sweep.slurm.SlurmLauncher"
    cluster: str = "slurm"
    n_jobs: int | None = None
    timeout_min: int = 240
    cpus_per_task: int = 8
    gpus_per_node: int = 1
    mem_gb: int = 32
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    setup: list[str] = field(default_factory=list)  # shell commands that run before a job starts
    additional_parameters: dict[str, Any] = field(default_factory=dict)  # further options of sbatch, as {name: value}


ConfigStore.instance().store(group="hydra/launcher", name="slurm", node=SlurmLauncherConf)
