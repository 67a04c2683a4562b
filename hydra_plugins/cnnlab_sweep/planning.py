"""From Hydra's jobs to ours: composes each, and looks whether it was done before."""

import sys
from collections.abc import Sequence
from pathlib import Path

from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig, open_dict

from cnnlab.config import identity, sweep_folder
from cnnlab.config.sweeps import written
from cnnlab.errors import RequestError
from cnnlab.runs.jobs import Job
from cnnlab.runs.sweeps import RecordedRuns, job_names, unused_directory

# What is said to the sweep and not to its jobs.
OF_THE_SWEEP = ("hydra.mode=", "hydra.run.", "hydra.sweep", "hydra/sweep", "hydra.launcher", "hydra/launcher")


def compose_jobs(
    config: DictConfig, loader: ConfigLoader, overrides: Sequence[Sequence[str]], first: int
) -> list[DictConfig]:
    """The configuration of each job, with its name as Hydra's `hydra.job.id`.

    Args:
        config: of the sweep.
        loader: that has composed it.
        overrides: of each job.
        first: number of the first job, where a sweeper launches several batches.

    Raises:
        RequestError: when a job is itself a sweep.
    """
    composed = []
    for number, (name, of_job) in enumerate(zip(job_names(overrides), overrides, strict=True), start=first):
        job = loader.load_sweep_config(config, list(of_job))
        if job.hydra.sweeper.get("alternatives") and not config.hydra.sweeper.get("alternatives"):
            raise RequestError(f"experiment: {job.name} is a sweep, which needs a command of its own")
        with open_dict(job):
            job.hydra.job.id = name if len(overrides) > 1 else str(number)
            job.hydra.job.num = number
        composed.append(job)
    return composed


def plan_jobs(
    config: DictConfig, composed: Sequence[DictConfig], overrides: Sequence[Sequence[str]], always_resume: bool = False
) -> list[Job]:
    """What is to be done for each job: nothing where a run of this configuration is complete, else where and how.

    Args:
        config: of the sweep.
        composed: the configuration of each job.
        overrides: of each job.
        always_resume: whether a job that is started twice goes on; for those that a cluster may requeue.
    """
    sweep = Path(config.hydra.sweep.dir)
    folder = sweep_folder(config.name)
    records = folder.glob("*/*/summary.json") if sweep.parent == folder else sweep.glob("*/summary.json")
    recorded = RecordedRuns(sorted(record.parent for record in records))
    jobs: list[Job] = []
    for job_config, of_job in zip(composed, overrides, strict=True):
        epochs = job_config.trainer.max_epochs
        job = Job(
            job_config.hydra.job.id,
            overrides=list(of_job),
            command=[],
            directory=sweep / str(job_config.hydra.sweep.subdir),
            epochs=epochs if isinstance(epochs, int | float) and epochs > 0 else None,
        )
        found = recorded.find(identity(job_config))
        if found is None:
            job.directory = unused_directory(job.directory)
        else:
            run, status = found
            job.directory = run.path
            job.earlier = status == "completed"
            job.resumes = run.last_checkpoint.exists()
            if job.earlier:
                job.state = "completed"
                job.read_record()
            elif not run.is_free():
                job.state, job.reason = "failed", "another process is running it"
        resume = always_resume or found is not None
        job.command = _command(config, of_job, job.directory, resume and not _names(of_job, "resume"))
        jobs.append(job)
    return jobs


def _command(config: DictConfig, overrides: Sequence[str], directory: Path, resume: bool) -> list[str]:
    command = [sys.executable, "-m", f"cnnlab.{config.hydra.job.config_name}"]
    for source in config.hydra.runtime.config_sources:
        if source.provider == "command-line":
            command += ["--config-dir", source.path]
    said = [str(value) for value in config.hydra.overrides.hydra]
    kept = [value for value in said if not value.startswith(OF_THE_SWEEP)]
    command += [*overrides, *kept, "hydra.mode=RUN", f"hydra.run.dir={written(str(directory))}"]
    return [*command, "resume=auto"] if resume else command


def _names(overrides: Sequence[str], key: str) -> bool:
    return any(override.partition("=")[0] == key for override in overrides)
