"""Choose the directory of a sweep, and find the one that a run belongs to."""

from collections.abc import Sequence
from pathlib import Path

from cnnlab.runs.directory import new_directory
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
    is_trial = folder.name == "trials" and (folder / f"{run.name.partition('_seed')[0]}.lock").exists()
    return folder if is_trial or (folder / SWEEP_FILE).exists() else None
