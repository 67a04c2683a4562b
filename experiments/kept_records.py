"""Keep the records of complete runs in the repository, so that an experiment can grow over weeks and machines.

A record is what a comparison reads: summary.json, config.yaml, metrics.csv and the predictions for the test images. It
has no weights and no paths of the machine. `make results ARGS=--continue` takes the records as complete runs and trains
the others. A record counts for every experiment that plans a run of the same settings.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml
from experiment_files import without_local_paths, without_paths

from cnnlab.config import sweep_folder
from cnnlab.files import write_atomically
from cnnlab.runs.directory import RunDirectory, is_same
from cnnlab.runs.plain import read_json, to_json

if TYPE_CHECKING:
    from planned_runs import Plan

KEPT = "kept"  # folder in the runs of an experiment that holds those from the repository
STEP = 1 / 8  # to which logits are rounded: 100 kB for 10,000 images instead of 480


def keep_records(runs: Sequence[Path], folder: Path) -> None:
    """Copy the records of complete runs into a folder, unless they are there."""
    for run in runs:
        name = "_".join(run.parts[-2:] if _is_date(run.parent.name) else run.parts[-1:])  # of a sweep, or alone
        if run.parent.name == KEPT or (folder / name).exists():
            continue
        source, target = RunDirectory(run), RunDirectory(folder / name)
        target.path.mkdir(parents=True)
        write_atomically(target.config_file, yaml.safe_dump(_with_path(source, None), sort_keys=False))
        summary = read_json(source.summary_file)
        summary["command"] = " ".join(without_local_paths(str(summary["command"]).split()))
        write_atomically(target.metrics_file, source.metrics_file.read_text(encoding="utf-8"))
        if source.predictions_file.exists():
            _round_predictions(source.predictions_file, target.predictions_file)
        write_atomically(target.summary_file, to_json(summary) + "\n")


def bring_records(folder: Path, plan: "Plan", experiment: str, data_path: str | None) -> None:
    """Copy the kept records that an experiment plans to its runs, as runs with the images of `data_path`.

    Args:
        folder: has a folder of records for each experiment.
        plan: the runs of the experiment.
        experiment: its name.
        data_path: where the images are on this machine.
    """
    for kept in sorted(folder.glob("*/*/summary.json")):
        source = RunDirectory(kept.parent)
        config = _with_path(source, data_path and str(Path(data_path).expanduser().absolute()))
        owner, name = kept.parts[-3:-1]
        target = RunDirectory(sweep_folder(experiment) / KEPT / (name if owner == experiment else f"{owner}_{name}"))
        if target.summary_file.exists() or not any(is_same(config, run.settings) for run in plan.runs):
            continue
        target.path.mkdir(parents=True, exist_ok=True)
        write_atomically(target.config_file, yaml.safe_dump(config, sort_keys=False))
        for file in (source.metrics_file, source.predictions_file, source.summary_file):
            if file.exists():
                write_atomically(target.path / file.name, file.read_bytes())


def _is_date(name: str) -> bool:
    return name[:4].isdecimal() and name[4:5] == "-"


def _with_path(source: RunDirectory, data_path: str | None) -> dict[str, Any]:
    """Return the configuration of a run without the paths of its machine, and with another path of the images."""
    config = yaml.safe_load(source.config_file.read_text(encoding="utf-8"))
    config["data"]["path"] = None
    config = yaml.safe_load(without_paths(yaml.safe_dump(config, sort_keys=False)))
    config["data"]["path"] = data_path
    return config


def _round_predictions(source: Path, target: Path) -> None:
    """Write rounded logits, relative to the largest of each image, which stays the largest."""
    with np.load(source) as arrays:
        logits, others = arrays["logits"], {name: arrays[name] for name in arrays if name != "logits"}
    rounded = np.floor((logits - logits.max(axis=1, keepdims=True)) / STEP) * STEP
    others["labels"] = others["labels"].astype(np.int16)
    with target.open("wb") as file:
        np.savez_compressed(file, logits=rounded.astype(np.float16), **others)
