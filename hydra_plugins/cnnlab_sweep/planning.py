"""Compose the jobs of a sweep, and find the runs that were started before."""

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig, open_dict

from cnnlab.config import check_settings, identity, settings, sweep_folder
from cnnlab.config.sweeps import to_override
from cnnlab.errors import RequestError
from cnnlab.runs.directory import RunDirectory, is_same
from cnnlab.runs.jobs import Job

# Arguments that are meant for the sweep and are not passed on to its jobs.
SWEEP_ONLY = ("hydra.mode=", "hydra.run.", "hydra.sweep", "hydra/sweep", "hydra.launcher", "hydra/launcher")


def compose_jobs(
    config: DictConfig, loader: ConfigLoader, overrides: Sequence[Sequence[str]], first: int
) -> list[DictConfig]:
    """Return the configuration of each job, with the job's name as `hydra.job.id`.

    Args:
        config: configuration of the sweep.
        loader: composes the configurations of the jobs.
        overrides: the key=value arguments of each job.
        first: number of the first job, if a sweeper launches several batches.

    Raises:
        RequestError: if a job is itself a sweep, or has a wrong value: nothing is trained before that is mended.
    """
    composed = []
    for number, (name, of_job) in enumerate(zip(job_names(overrides), overrides, strict=True), start=first):
        job = loader.load_sweep_config(config, list(of_job))
        if job.hydra.sweeper.get("grids") and not config.hydra.sweeper.get("grids"):
            raise RequestError(f"experiment: {job.name} is itself a sweep; start it with its own command")
        with open_dict(job):
            job.hydra.job.id = name if len(overrides) > 1 else str(number)
            job.hydra.job.num = number
        composed.append(job)
        try:
            check_settings(settings(job))
        except RequestError as error:
            raise RequestError(f"{error} (job {name})" if len(overrides) > 1 else str(error)) from None
    return composed


def plan_jobs(
    config: DictConfig, composed: Sequence[DictConfig], overrides: Sequence[Sequence[str]], always_resume: bool = False
) -> list[Job]:
    """Return the jobs of a sweep, each with its directory, its command, and its state.

    A job is `completed` if a run with the same settings is, and `diverged` likewise: it would diverge again. It resumes
    if such a run was interrupted or failed.

    Args:
        config: configuration of the sweep.
        composed: the configuration of each job.
        overrides: the key=value arguments of each job.
        always_resume: True adds `resume=auto` to every command, for clusters that may start a job twice.
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
            job.earlier = status in ("completed", "diverged")
            job.resumes = run.last_checkpoint.exists()
            if job.earlier:
                job.state = status
                job.read_record()
                job.reason = job.record.get("error")
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
    kept = [value for value in said if not value.startswith(SWEEP_ONLY)]
    command += [*overrides, *kept, "hydra.mode=RUN", f"hydra.run.dir={to_override(str(directory))}"]
    return [*command, "resume=auto"] if resume else command


def _names(overrides: Sequence[str], key: str) -> bool:
    return any(override.partition("=")[0] == key for override in overrides)


def unused_directory(directory: Path) -> Path:
    """Return the directory, with a number added to its name if it already holds the record of a run."""
    number, free = 2, directory
    while RunDirectory(free).summary_file.exists():
        free, number = directory.with_name(f"{directory.name}_{number}"), number + 1
    return free


class RecordedRuns:
    """Runs of earlier sweeps.

    Args:
        directories: possible run directories, the latest last.
    """

    def __init__(self, directories: Sequence[Path]):
        self._runs: list[tuple[RunDirectory, str, dict[str, Any]]] = []
        for directory in directories:
            run = RunDirectory(directory)
            summary, config = run.read_summary(), run.read_config()
            if summary is not None and config is not None:
                self._runs.append((run, summary.get("status", ""), config))

    def find(self, identity: Mapping[str, Any]) -> tuple[RunDirectory, str] | None:
        """Return the last run of this configuration with its status, a completed one if there is any; else None."""
        same = [(run, status) for run, status, config in self._runs if is_same(config, identity)]
        completed = [found for found in same if found[1] == "completed"]
        return next(reversed(completed or same), None)


def job_names(jobs: Sequence[Sequence[str]]) -> list[str]:
    """Return a name for each job, which is also a folder name: the values that differ between the jobs.

    Choices of a group appear as their value, other keys with their name: `lenet5_seed-1`. A single job is `0`.
    """
    values: list[dict[str, str]] = []
    for job in jobs:
        parts = [argument.lstrip("+~").partition("=") for argument in job]
        values.append({key: value for key, _, value in parts})
    keys = list(dict.fromkeys(key for job in values for key in job))
    differing = [key for key in keys if len({job.get(key) for job in values}) > 1]
    names: list[str] = []
    for number, job in enumerate(values):
        parts = [_label(key, job[key]) for key in differing if key in job]
        name = "_".join(parts)[:120] or str(number)
        names.append(f"{name}_{number}" if name in names else name)
    return names


def _label(key: str, value: str) -> str:
    text = re.sub(r"[^\w.-]+", "-", value.strip("'\"/"))
    return text if "." not in key and re.match(r"[A-Za-z_]", text) else f"{key.rpartition('.')[2]}-{text}"
