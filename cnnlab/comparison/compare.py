"""Which network is better, by how much, at what cost, and whether it is more than noise: groups of runs as figures."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cnnlab.comparison.grouping import Group, Grouping, Section, group_runs, short_commit
from cnnlab.comparison.labels import name_of
from cnnlab.comparison.pairs import ALL_PAIRS, compare_pairs
from cnnlab.comparison.spec import Axis, Question, Reference
from cnnlab.comparison.statistics import mean_interval
from cnnlab.comparison.time_to_value import add_ratios, reach_times, target_times
from cnnlab.inspection.published import published
from cnnlab.intervals import Interval, wilson_interval
from cnnlab.runs.directory import METRICS
from cnnlab.runs.reading import Run, is_trial, read_shift

COSTS = ("parameters", "macs", "train_seconds")


@dataclass(frozen=True)
class Comparison:
    """A comparison in two forms that agree.

    Attributes:
        record: plain values, for JSON: sections with groups and pairs, runs that were set aside, problems, notices.
        grouping: the runs themselves, in the same order.
    """

    record: dict[str, Any]
    grouping: Grouping


def compare_runs(
    runs: Sequence[Run],
    targets: list[float],
    question: Question = Question(),  # noqa: B008, it cannot change
) -> Comparison:
    """Compares runs.

    Args:
        runs: from `cnnlab.runs.reading`.
        targets: validation accuracies, fractions, to which the time is told.
        question: what else is asked.
    """
    grouping = group_runs(runs, question)
    sections = [_section(section, targets, question) for section in grouping.sections]
    record = {
        "runs": len(runs),
        "targets": list(targets),
        "reach": question.reach and asdict(question.reach),
        "against": question.against,
        "axis": question.axis and question.axis.name,
        "shift": question.shift,
        "sections": sections,
        "set_aside": [
            {"path": str(run.path), "model": run.summary["model"], "seed": run.summary["seed"], "reason": reason}
            for run, reason in grouping.set_aside
        ],
        "problems": [{"path": str(run.path), "problem": problem} for run in runs for problem in run.problems],
        "notices": [
            *(*grouping.notices, *_many(grouping), *_by_test_images(grouping), *_circumstances(grouping)),
            *(*_trials(grouping), *_unanswered(sections, question)),
        ],
    }
    return Comparison(record, grouping)


def _unanswered(sections: Sequence[dict[str, Any]], question: Question) -> list[str]:
    """What was asked and these runs have no answer to."""
    groups = [group for section in sections for group in section["groups"]]
    labels = [group["label"] for group in groups]
    notices = []
    if question.against is not None and question.against not in labels:
        notices.append(f"No group is called {question.against}: there is none to hold the others against.")
    if question.axis and (without := [group["label"] for group in groups if group["place"] is None]):
        notices.append(f"There is no {question.axis.name} for {', '.join(without)}.")
    if question.shift and (missing := sum(group["n"] - group["shift"]["runs"] for group in groups)):
        notices.append(
            f"Of {missing} runs it is not known how they answer to moved images: "
            f"cnnlab evaluate checkpoint=RUN shift={question.shift} finds out."
        )
    return notices


def _many(grouping: Grouping) -> list[str]:
    return [
        f"The section of {', '.join(section.data)} has {len(section.groups)} groups: each is compared with the best "
        "one alone, corrected as if all pairs had been."
        for section in grouping.sections
        if len(section.groups) > ALL_PAIRS
    ]


def _by_test_images(grouping: Grouping) -> list[str]:
    return [
        f"Protocol article ({', '.join(section.data)}): the test images chose the best epoch of every run, so its test "
        "accuracies and their intervals are higher than those on images that chose nothing."
        for section in grouping.sections
        if section.protocol == "article"
    ]


def _circumstances(grouping: Grouping) -> list[str]:
    """Where groups that stand side by side were made on different devices, or by different commits."""
    notices = []
    for section in grouping.sections:
        for key, what in (("device", "times and memory are of different devices"), ("git_commit", "commits differ")):
            by_group = {frozenset(str(run.summary[key]) for run in group.runs) for group in section.groups}
            if len(by_group) > 1:
                every = sorted(frozenset().union(*by_group))
                texts = [short_commit(text) for text in every] if key == "git_commit" else every
                notices.append(f"{', '.join(section.data)}: from group to group {what}: {'; '.join(texts)}.")
    return notices


def _trials(grouping: Grouping) -> list[str]:
    compared = [run for section in grouping.sections for group in section.groups for run in group.runs]
    trials = sum(is_trial(run.path) for run in compared)
    if trials < 2:
        return []
    return [
        f"{trials} of these runs are trials of a search. The best test accuracy of many is high by chance too: take "
        "the best by val accuracy (tune.json), and train it with other seeds before you say how good it is."
    ]


def _section(section: Section, targets: Sequence[float], question: Question) -> dict[str, Any]:
    groups = [_group(group, targets, question) for group in section.groups]
    for cost in COSTS:
        _mark_front(groups, cost)
    if question.reach:
        add_ratios(groups, question.against)
    return {
        "protocol": section.protocol,
        "data": list(section.data),
        "fingerprint": section.fingerprint,
        "test_images": None if section.labels is None else len(section.labels),
        "classes": _classes(section),
        "groups": groups,
        "pairs": compare_pairs(section),
        "reference": question.reference and _beside(question.reference, groups),
    }


def _group(group: Group, targets: Sequence[float], question: Question) -> dict[str, Any]:
    accuracies = group.accuracies
    best = max(group.runs, key=lambda run: run.summary["test_accuracy"])
    interval, method = _interval(group, accuracies)
    return {
        "label": group.label,
        "model": group.model,
        "recipe": group.recipe,
        "data": group.data,
        "settings": dict(group.settings),
        "n": len(group.runs),
        "seeds": [run.summary["seed"] for run in group.runs],
        "mean": float(np.mean(accuracies)),
        "sd": float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else None,
        "low": interval and interval.low,
        "high": interval and interval.high,
        "interval": method,
        "best": best.summary["test_accuracy"],
        "best_run": str(best.path),
        "val_accuracy": _mean(_values(group, "val_accuracy")),
        "test_accuracy_tta": _tta(group),
        **{key: _median(_values(group, key)) for key in (*COSTS, "epochs", "images_per_second", "peak_memory_bytes")},
        "devices": sorted({str(run.summary["device"]) for run in group.runs}),
        "targets": [target_times(group.runs, target) for target in targets],
        "reach": question.reach and reach_times(group.runs, question.reach),
        "choice": group.choice and asdict(group.choice),
        "place": question.axis and _place(group, question.axis),
        "line": question.axis and name_of(group.every, question.axis.lines),
        "shift": _shift(group, question.shift) if question.shift else None,
        "maps": None,
        "published": _published(group),
        "front": [],
        "per_class": _per_class(group),
        "confusion": _confusion(group),
        "curve": _curve(group),
        "runs": [
            {"path": str(run.path)}
            | {key: run.summary[key] for key in ("seed", "test_accuracy", "val_accuracy", "best_epoch", *COSTS)}
            for run in group.runs
        ],
    }


def _values(group: Group, key: str) -> list[float]:
    return [run.summary[key] for run in group.runs if run.summary[key] is not None]


def _tta(group: Group) -> float | None:
    """The mean accuracy with test-time augmentation, where all runs have one and the same."""
    values = _values(group, "test_accuracy_tta")
    kinds = {str((run.config or {}).get("tta")) for run in group.runs}
    return _mean(values) if len(values) == len(group.runs) and len(kinds) == 1 else None


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _median(values: Sequence[float]) -> float | None:
    """Of times above all: one run on a busy machine must not decide them. Whole where the values are whole."""
    return statistics.median(values) if values else None


def _interval(group: Group, accuracies: list[float]) -> tuple[Interval | None, str | None]:
    """Of the mean over seeds; of one run's accuracy, or several that are all equal, over the test images."""
    if len(set(accuracies)) > 1:
        interval = mean_interval(accuracies)
        return Interval(max(0.0, interval.low), min(1.0, interval.high)), "t, over seeds"
    if not group.scored:
        return None, None
    images = len(group.labels)
    return wilson_interval(round(accuracies[0] * images), images), "Wilson, over test images"


def _place(group: Group, axis: Axis) -> float | None:
    """The group's number on an axis."""
    if isinstance(axis.values, dict):
        return axis.values.get(group.label)
    value = group.every.get(axis.values)
    return value if type(value) in (int, float) else None


def _shift(group: Group, pixels: int) -> dict[str, Any]:
    """How answers and features stay when images are moved, averaged over the runs that were evaluated so."""
    found = [shift for run in group.runs if (shift := read_shift(run.path, pixels))]
    names = ("same_answer", "accuracy", "feature_cosine")
    return {"runs": len(found), **{name: _mean([shift[name] for shift in found]) for name in names}}


def _beside(reference: Reference, groups: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Somebody else's curve, and what every group had after the same epochs; None where it has no such epoch."""
    curves = [dict(zip(g["curve"]["epoch"], g["curve"][reference.metric]["mean"], strict=True)) for g in groups]
    points = sorted(reference.points.items())
    return {
        **{"name": reference.name, "source": reference.source, "metric": reference.metric},
        "epochs": [epoch for epoch, _ in points],
        "values": [value for _, value in points],
        "groups": [[curve.get(epoch) for epoch, _ in points] for curve in curves],
    }


def _published(group: Group) -> list[dict[str, Any]]:
    """Accuracies on CIFAR-10 that others print of this network; they trained it in their own way."""
    config = group.runs[0].config
    if config is None or group.data != "cifar10":
        return []
    size = config["data"].get("image_size")
    entries = published(group.model.partition("/")[0], config["model"], 10, (3, size, size))
    return [{"accuracy": e.accuracy, "source": e.source} for e in entries if e.accuracy is not None]


def _per_class(group: Group) -> list[float] | None:
    """Accuracy on the images of each class, averaged over the runs."""
    if not group.scored:
        return None
    confusion = np.array(_confusion(group))
    totals = confusion.sum(axis=1)
    return [float(v) for v in np.divide(confusion.diagonal(), totals, out=np.zeros(len(totals)), where=totals > 0)]


def _confusion(group: Group) -> list[list[float]] | None:
    """Images of each true class (rows) by predicted class (columns), averaged over the runs."""
    if not group.scored:
        return None
    classes = max(run.classes or 0 for run in group.runs)
    cells = group.labels.astype(np.int64) * classes + group.predicted
    counts = np.bincount(cells.ravel(), minlength=classes**2).reshape(classes, classes)
    return (counts / group.scored).round(3).tolist()


def _curve(group: Group) -> dict[str, Any]:
    """Mean, lowest and highest of the runs, over the epochs that all of them have which have a curve.

    Where some end earlier, as with early stopping, a mean of the others would be of those that needed longer.
    """
    by_epoch: dict[float, list[dict[str, float | None]]] = {}
    for run in group.runs:
        names = [name for name in ("epoch", "seconds", *METRICS) if name in run.curve]
        for values in zip(*(run.curve[name] for name in names), strict=True):
            row = dict(zip(names, values, strict=True))
            if row.get("epoch") is not None:
                by_epoch.setdefault(row["epoch"], []).append(row)  # pyright: ignore
    curves = sum(bool(run.curve.get("epoch")) for run in group.runs)
    epochs = sorted(epoch for epoch, rows in by_epoch.items() if len(rows) == curves)
    curve: dict[str, Any] = {"epoch": epochs, "runs": [len(by_epoch[epoch]) for epoch in epochs]}
    curve["seconds"] = [_median(_known(by_epoch[epoch], "seconds")) for epoch in epochs]
    for metric in METRICS:
        known = [_known(by_epoch[epoch], metric) for epoch in epochs]
        curve[metric] = {
            "mean": [_mean(values) for values in known],
            "low": [min(values, default=None) for values in known],
            "high": [max(values, default=None) for values in known],
        }
    return curve


def _known(rows: list[dict[str, float | None]], name: str) -> list[float]:
    return [value for row in rows if (value := row.get(name)) is not None]


def _mark_front(groups: list[dict[str, Any]], cost: str) -> None:
    """Marks the groups that no other one beats: none is at least as accurate and cheaper, or as cheap and better."""
    known = [group for group in groups if group[cost] is not None]
    for group in known:
        beaten = any(
            other["mean"] >= group["mean"]
            and other[cost] <= group[cost]
            and (other["mean"], other[cost]) != (group["mean"], group[cost])
            for other in known
        )
        if not beaten:
            group["front"].append(cost)


def _classes(section: Section) -> list[str]:
    """Names by class number: those of the configuration, else the numbers."""
    runs = [run for group in section.groups for run in group.runs]
    count = max((run.classes or 0 for run in runs), default=0)
    for run in runs:
        names = run.config and run.config["data"].get("classes")
        if names and len(names) == count:
            return list(names)
    return [str(number) for number in range(count)]
