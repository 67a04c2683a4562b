"""Where the runs of a sweep are kept, and which of them are there already."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from cnnlab.runs.directory import RunDirectory, is_same, new_directory

SWEEP_FILE = "multirun.yaml"  # Hydra's name for what a sweep was composed from


def sweep_directory(folder: Path, arguments: Sequence[str]) -> Path:
    """Where the runs of a sweep go: where the last sweep with the same command line has put them, else a new place.

    Args:
        folder: of the runs of that name.
        arguments: the command line's own, key=value.
    """
    for file in sorted(folder.glob(f"*/{SWEEP_FILE}"), reverse=True):
        try:
            earlier = yaml.safe_load(file.read_text())["hydra"]["overrides"]["task"]
        except (OSError, yaml.YAMLError, KeyError, TypeError):
            continue
        if earlier == list(arguments):
            return file.parent
    return new_directory(folder)


def unused_directory(directory: Path) -> Path:
    """The directory, or one with a number behind its name where a run has its record there already."""
    number, free = 2, directory
    while RunDirectory(free).summary_file.exists():
        free, number = directory.with_name(f"{directory.name}_{number}"), number + 1
    return free


class RecordedRuns:
    """The runs that earlier sweeps have left.

    Args:
        directories: that may be run directories; the last ones count more.
    """

    def __init__(self, directories: Sequence[Path]):
        self._runs: list[tuple[RunDirectory, str, dict[str, Any]]] = []
        for directory in directories:
            run = RunDirectory(directory)
            summary, config = run.read_summary(), run.read_config()
            if summary is not None and config is not None:
                self._runs.append((run, summary.get("status", ""), config))

    def find(self, identity: Mapping[str, Any]) -> tuple[RunDirectory, str] | None:
        """The run of this configuration, a completed one if there is any, with its status; else None."""
        same = [(run, status) for run, status, config in self._runs if is_same(config, identity)]
        completed = [found for found in same if found[1] == "completed"]
        return next(reversed(completed or same), None)


def job_names(jobs: Sequence[Sequence[str]]) -> list[str]:
    """A name for each job, that also serves as a folder's: the values that tell it from the others.

    Choices are named by their value, other keys with it: `lenet5_seed-1`. Alone, a job is `0`.

    Args:
        jobs: the key=value arguments of each.
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
