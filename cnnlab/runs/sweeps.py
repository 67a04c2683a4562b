"""Choose the directories of a sweep and its runs, and find runs that exist already."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cnnlab.runs.directory import RunDirectory, is_same, new_directory
from cnnlab.runs.plain import read_yaml

SWEEP_FILE = "multirun.yaml"  # Hydra's file with the configuration of a sweep


def sweep_directory(folder: Path, arguments: Sequence[str]) -> Path:
    """Return the directory of the last sweep in the folder with the same key=value arguments, or else a new one."""
    for file in sorted(folder.glob(f"*/{SWEEP_FILE}"), reverse=True):
        try:
            earlier = read_yaml(file)["hydra"]["overrides"]["task"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if earlier == list(arguments):
            return file.parent
    return new_directory(folder)


def shared_folder(run: Path) -> Path | None:
    """Return the folder of a run that is a job of a sweep or a trial of a search, or None for a single run."""
    folder = run.absolute().parent
    is_trial = folder.name == "trials" and (folder / f"{run.name}.lock").exists()
    return folder if is_trial or (folder / SWEEP_FILE).exists() else None


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
