"""Find run directories, and read them into plain records."""

import csv
import glob
import io
import math
import os
import reprlib
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cnnlab.arguments import fits
from cnnlab.errors import RequestError
from cnnlab.runs.directory import COLUMNS, RunDirectory, checkpoint_file
from cnnlab.runs.plain import read_json, read_or_note, read_text, read_yaml
from cnnlab.runs.summary import SUMMARY_KEYS, read_record

SHIFT_FIGURES = ("same_answer", "accuracy", "feature_cosine")  # of an evaluation on moved images
GROUPS = ("trainer", "optimizer", "schedule", "loss", "augmentation", "averaging")  # of config.yaml, or null
UNPACKED_BYTES = 50_000_000  # that compressed predictions may have; cnnlab itself writes them uncompressed
DATA_KEYS = {"image_size": int, "classes": list[str] | None}


@dataclass(frozen=True)
class Run:
    """Content of a run directory; None for what is missing or damaged."""

    path: Path
    summary: Mapping[str, Any]  # the record with all its keys
    config: Mapping[str, Any] | None = None  # resolved, with `data` and `model` at least
    curve: Mapping[str, list[float | None]] = field(default_factory=dict)  # columns of metrics.csv, a value per epoch
    predicted: np.ndarray | None = None  # predicted class of each test image, int16 (N,), in the order of the data
    labels: np.ndarray | None = None  # true classes, int16 (N,)
    classes: int | None = None  # number of classes
    going_on: bool = False  # a process is writing to it
    problems: tuple[str, ...] = ()  # what is damaged or missing
    # Where the images are among the training images, int64 (N,), if they are those that a fold held out; the test
    # images of such a run are left aside.
    positions: np.ndarray | None = None


def find_runs(paths: Sequence[str]) -> list[Path]:
    """Return the run directories that paths name, each once, sorted by name.

    Args:
        paths: run directories, folders that hold some at any depth, and glob patterns of both.

    Raises:
        RequestError: if one of the paths holds no run.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        expanded = str(Path(path).expanduser())
        matches = [expanded] if Path(expanded).exists() else sorted(glob.glob(expanded, recursive=True))  # noqa: PTH207, a Path has no glob for absolute patterns
        if not matches:
            raise RequestError(f"runs: {path} does not exist")
        runs = [run for match in matches for run in _runs_below(Path(match))]
        if not runs:
            raise RequestError(f"runs: there is no run in {path} (a folder with a summary.json)")
        found |= {run.resolve(): run for run in runs}
    return sorted(found.values(), key=lambda run: [_number_or_name(part) for part in run.parts])


def read_run(path: Path) -> Run:
    """Read a run directory. `problems` lists all damage; nothing is raised."""
    directory = RunDirectory(path)
    record, wrong = read_record(directory.summary_file)
    summary, problems = dict.fromkeys(SUMMARY_KEYS) | (record or {}), list(wrong)
    done = summary["status"] == "completed"
    config = _read_config(directory.config_file, problems)
    curve = _read_curve(directory.metrics_file, problems, expected=done)
    file = directory.held_out_file if summary["folds"] else directory.predictions_file
    arrays = read_or_note(_read_predictions, file, problems) if done else None
    predicted, labels, classes, positions = arrays or (None, None, None, None)
    if predicted is not None and positions is None and summary["test_accuracy"] is not None:
        scored = float((predicted == labels).mean())
        if abs(scored - summary["test_accuracy"]) > 1e-4:
            problems.append(
                f"predictions.npz has an accuracy of {scored:.4f}, the record {summary['test_accuracy']:.4f}"
            )
    going_on = summary["status"] == "running" and (path / ".lock").exists() and not directory.is_free()
    return Run(path, summary, config, curve, predicted, labels, classes, going_on, tuple(problems), positions)


def is_trial(run: Path) -> bool:
    """Check that a run directory is a trial of `cnnlab tune`: it lies in the folder of a study."""
    study = run.absolute().parent.parent
    return run.absolute().parent.name == "trials" and any((study / name).exists() for name in ("tune.json", "study.db"))


def checkpoint_files(names: str | Sequence[str] | None) -> list[Path]:
    """Return the checkpoints of files and run directories; the folder of a sweep stands for its runs.

    Raises:
        RequestError: if there is none at a place.
    """
    found: list[str | Path] = []
    for name in [names] if isinstance(names, str) else names or []:
        found += sorted(Path(name).expanduser().glob("*/checkpoints/best.ckpt")) or [name]
    return [checkpoint_file(name) for name in found]


def read_shift(run: Path, pixels: int) -> dict[str, Any] | None:
    """Return the result of `cnnlab evaluate shift=PIXELS` for the best epoch of a run, or None if there is none."""
    shift = _read_evaluation(run).get("shift")
    if not isinstance(shift, dict) or any(type(shift.get(name)) not in (int, float) for name in SHIFT_FIGURES):
        return None
    return shift if shift.get("pixels") == pixels else None


def read_robustness(run: Path) -> float | None:
    """Return the mean accuracy of `cnnlab evaluate corruptions=true` for the best epoch of a run, if it is there."""
    found = _read_evaluation(run).get("corruptions")
    mean = found.get("mean") if isinstance(found, dict) else None
    return mean if type(mean) is float else None


def _read_evaluation(run: Path) -> dict[str, Any]:
    """Return the record of the last evaluation of a run's best epoch, or nothing."""
    file = run / "evaluation" / "evaluation.json"
    try:
        if file.stat().st_mtime < RunDirectory(run).best_checkpoint.stat().st_mtime:  # the run was continued since
            return {}
        return read_json(file)
    except (OSError, ValueError):
        return {}


def mean_answer(runs: Sequence[Run]) -> np.ndarray:
    """Return the class with the highest mean probability over runs, int64 (N,), for the same N test images."""
    total: Any = 0.0
    for run in runs:
        with np.load(RunDirectory(run.path).predictions_file) as arrays:
            logits = arrays["logits"].astype(np.float64)
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        total = total + odds / odds.sum(axis=1, keepdims=True)
    return total.argmax(axis=1)


def _runs_below(folder: Path) -> list[Path]:
    """Return the runs in a folder at any depth, but none inside a run."""
    if not folder.is_dir():
        return []
    if (folder / "summary.json").exists():
        return [folder]
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    runs = [run for name in names for run in _runs_below(folder / name)]
    if not runs and (folder / "config.yaml").exists():  # a run that has lost its record
        return [folder]
    return runs


def _number_or_name(part: str) -> tuple[int, str]:
    """Return a sort key by which numbered jobs are in the order of their numbers."""
    return (int(part), "") if part.isdecimal() else (-1, part)


def _read_config(file: Path, problems: list[str]) -> dict[str, Any] | None:
    config = read_or_note(read_yaml, file, problems)
    if config is None:
        return None
    if not all(isinstance(config.get(key), dict) for key in ("data", "model")):
        problems.append("config.yaml does not name data and model")
        return None
    checked = {key: (config.get(key), dict | None) for key in GROUPS}
    checked |= {f"data.{key}": (config["data"].get(key), kind) for key, kind in DATA_KEYS.items()}
    for key, (value, kind) in checked.items():
        if not fits(value, kind):
            problems.append(f"config.yaml: {key} cannot be {reprlib.repr(value)}")
            return None
    return config


def _read_curve(file: Path, problems: list[str], expected: bool) -> dict[str, list[float | None]]:
    """Read the columns of metrics.csv, up to the first damaged row."""
    names, *rows = read_or_note(_read_rows, file, problems, expected) or [[]]
    whole: list[list[float | None]] = []
    for row in rows:
        try:
            whole.append([float(cell) if cell else None for cell in row])
        except ValueError:
            break
        if len(row) != len(names):
            whole.pop()
            break
    if len(whole) < len(rows):
        problems.append(f"metrics.csv is damaged in line {len(whole) + 2}; the rest is not used")
    if repeated := [name for name in COLUMNS if names.count(name) > 1]:
        problems.append(f"metrics.csv has several columns {repeated[0]}; the last one is used")
    curve = {name: [row[number] for row in whole] for number, name in enumerate(names)}
    for name, values in curve.items():
        bad = [row for row, value in enumerate(values, 1) if value is not None and not math.isfinite(value)]
        if bad:
            rows = f"{len(bad)} row{'s' if len(bad) > 1 else ''}"
            problems.append(f"metrics.csv: {name} is not finite from row {bad[0]} on ({rows})")
            curve[name] = [value if value is None or math.isfinite(value) else None for value in values]
    return curve


def _read_rows(file: Path) -> list[list[str]]:
    return list(csv.reader(io.StringIO(read_text(file), newline="")))


def _read_predictions(file: Path) -> tuple[np.ndarray, np.ndarray, int, np.ndarray | None]:
    """Read predicted and true classes, int16 (N,), the number of classes, and positions if the file has any.

    Raises:
        ValueError: if the arrays do not hold predictions; other errors if the file is damaged.
    """
    if file.stat() and not file.is_file():
        raise ValueError("it is not a file")
    with zipfile.ZipFile(file) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked > max(file.stat().st_size, UNPACKED_BYTES):
            raise ValueError(f"it is larger when unpacked than on disk, and than {UNPACKED_BYTES // 10**6} MB")
    with np.load(file) as arrays:
        logits, labels, positions = arrays["logits"], arrays["labels"], arrays.get("positions")
    if logits.dtype.kind != "f" or labels.dtype.kind not in "iu":
        raise ValueError(f"logits are {logits.dtype} and labels {labels.dtype}, not numbers and whole numbers")
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or not len(labels):
        raise ValueError(f"logits {logits.shape} and labels {labels.shape} do not fit each other")
    if positions is not None and (positions.dtype.kind not in "iu" or positions.shape != labels.shape):
        raise ValueError(f"positions {positions.shape} do not fit labels {labels.shape}")
    if labels.min() < 0 or labels.max() >= logits.shape[1]:
        raise ValueError(f"labels from {labels.min()} to {labels.max()} for {logits.shape[1]} classes")
    if logits.shape[1] > np.iinfo(np.int16).max:
        raise ValueError(f"{logits.shape[1]:,} classes are too many")
    if not np.isfinite(logits).all():
        raise ValueError("it holds logits that are not finite")
    return logits.argmax(axis=1).astype(np.int16), labels.astype(np.int16), logits.shape[1], positions
