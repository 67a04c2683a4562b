"""Compare runs: accuracies, costs and curves of each group, and the significance of the differences."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from cnnlab.comparison.columns import COSTS, counted
from cnnlab.comparison.group import Group
from cnnlab.comparison.grouping import Grouping, Section, group_runs, short_commit
from cnnlab.comparison.labels import name_of
from cnnlab.comparison.pairs import MAX_GROUPS_ALL_PAIRS, compare_pairs
from cnnlab.comparison.records import ComparisonRecord, GroupRecord, SectionRecord
from cnnlab.comparison.spec import Axis, ComparisonSpec, Reference
from cnnlab.comparison.statistics import mean_interval
from cnnlab.comparison.time_to_value import reach_times, target_times, with_ratios
from cnnlab.inspection.published import published
from cnnlab.intervals import Interval, wilson_interval
from cnnlab.runs.directory import METRICS
from cnnlab.runs.reading import Run, is_trial, read_shift

MEDIANS = ("parameters", "macs", "train_seconds", "epochs", "images_per_second", "peak_memory_bytes")

MapSizes = Callable[[Run], list[int] | None]


def compare_runs(
    runs: Sequence[Run],
    spec: ComparisonSpec = ComparisonSpec(),  # noqa: B008, it cannot change
    map_sizes: MapSizes | None = None,
) -> ComparisonRecord:
    """Compare runs.

    Args:
        runs: of `cnnlab.runs.reading`.
        spec: the request.
        map_sizes: returns the side lengths of the feature maps of a run's network; needed if `spec.maps`.
    """
    grouping = group_runs(runs, spec)
    sections = [_section(section, spec, map_sizes) for section in grouping.sections]
    return ComparisonRecord(
        runs=len(runs),
        targets=list(spec.targets),
        reach=asdict(spec.reach) if spec.reach else None,
        against=spec.against,
        axis=spec.axis and spec.axis.name,
        shift=spec.shift,
        sections=sections,
        set_aside=[
            {"path": str(run.path), "model": run.summary["model"], "seed": run.summary["seed"], "reason": reason}
            for run, reason in grouping.set_aside
        ],
        problems=[{"path": str(run.path), "problem": problem} for run in runs for problem in run.problems],
        notices=[
            *grouping.notices,
            *(notice for section in grouping.sections for notice in _section_notices(section)),
            *_trial_notices(grouping),
            *_unanswered(sections, spec),
        ],
    )


def _section_notices(section: Section) -> list[str]:
    """Return what a reader must know of all groups of a section."""
    name, notices = ", ".join(section.data), []
    if len(section.groups) > MAX_GROUPS_ALL_PAIRS:
        notices.append(
            f"{name}: with {len(section.groups)} groups, each is compared with the best one only. The p-values are "
            "corrected for the number of all pairs."
        )
    if section.protocol == "article":
        notices.append(
            f"{name}, protocol article: the test images chose the best epoch of every run, so test accuracies and "
            "their intervals are too high."
        )
    for key, what in (("device", "groups ran on different devices, so compare times and memory with care"),
                      ("git_commit", "groups come from different commits")):  # fmt: skip
        by_group = {frozenset(str(run.summary[key]) for run in group.runs) for group in section.groups}
        if len(by_group) > 1:
            every = sorted(frozenset().union(*by_group))
            texts = [short_commit(text) for text in every] if key == "git_commit" else every
            notices.append(f"{name}: {what}: {'; '.join(texts)}.")
    return notices


def _trial_notices(grouping: Grouping) -> list[str]:
    compared = [run for section in grouping.sections for group in section.groups for run in group.runs]
    trials = sum(is_trial(run.path) for run in compared)
    if trials < 2:
        return []
    return [
        f"{trials} of these runs are trials of a search. The best test accuracy of many trials is high by chance. Take "
        "the trial with the best validation accuracy (tune.json), and train it with other seeds before you report it."
    ]


def _unanswered(sections: Sequence[SectionRecord], spec: ComparisonSpec) -> list[str]:
    """Return what the request asks for and these runs do not tell."""
    groups = [group for section in sections for group in section.groups]
    notices = []
    if spec.against is not None and spec.against not in [group.label for group in groups]:
        notices.append(f"against: no group is called {spec.against}, so there are no ratios.")
    if spec.axis and (without := [group.label for group in groups if group.place is None]):
        notices.append(f"axis: there is no {spec.axis.name} for {', '.join(without)}.")
    if spec.shift and (missing := sum(group.n - group.shift["runs"] for group in groups if group.shift)):
        command = f"cnnlab evaluate checkpoint=RUN shift={spec.shift}"
        notices.append(f"Not evaluated on moved images: {counted(missing, 'run')}. Run `{command}` for each.")
    return notices


def _section(section: Section, spec: ComparisonSpec, map_sizes: MapSizes | None) -> SectionRecord:
    groups = [_group(group, spec, map_sizes) for group in section.groups]
    groups = [replace(group, front=[cost for cost in COSTS if _on_front(group, groups, cost)]) for group in groups]
    if spec.reach:
        times = {group.label: group.reach for group in groups if group.reach}
        times = with_ratios(times, {group.label: group.n for group in groups}, spec.against)
        groups = [replace(group, reach=times[group.label]) for group in groups]
    return SectionRecord(
        protocol=section.protocol,
        data=list(section.data),
        fingerprint=section.fingerprint,
        test_images=None if section.labels is None else len(section.labels),
        classes=_classes(section),
        groups=groups,
        pairs=compare_pairs(section),
        reference=_with_groups(spec.reference, groups) if spec.reference else None,
    )


def _on_front(group: GroupRecord, groups: Sequence[GroupRecord], cost: str) -> bool:
    """Return whether no other group is at least as accurate and as cheap, and better in one of the two."""
    mine = getattr(group, cost)
    return mine is not None and not any(
        other.mean >= group.mean and theirs <= mine and (other.mean, theirs) != (group.mean, mine)
        for other in groups
        if (theirs := getattr(other, cost)) is not None
    )


def _group(group: Group, spec: ComparisonSpec, map_sizes: MapSizes | None) -> GroupRecord:
    accuracies = group.accuracies
    best = max(group.runs, key=lambda run: run.summary["test_accuracy"])
    interval, method = _interval(group, accuracies)
    return GroupRecord(
        label=group.label,
        model=group.model,
        recipe=group.recipe,
        data=group.data,
        settings=dict(group.settings),
        n=len(group.runs),
        seeds=[run.summary["seed"] for run in group.runs],
        mean=float(np.mean(accuracies)),
        sd=float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else None,
        low=interval and interval.low,
        high=interval and interval.high,
        interval=method,
        best=best.summary["test_accuracy"],
        best_run=str(best.path),
        val_accuracy=_mean(_values(group, "val_accuracy")),
        test_accuracy_tta=_tta(group),
        **{key: _median(_values(group, key)) for key in MEDIANS},
        devices=sorted({str(run.summary["device"]) for run in group.runs}),
        targets=[target_times(group.runs, target) for target in spec.targets],
        reach=reach_times(group.runs, spec.reach) if spec.reach else None,
        choice=asdict(group.choice) if group.choice else None,
        place=_place(group, spec.axis) if spec.axis else None,
        line=name_of(group.all_settings, spec.axis.lines) if spec.axis else None,
        shift=_shift(group, spec.shift) if spec.shift else None,
        maps=map_sizes(group.runs[0]) if spec.maps and map_sizes else None,
        published=_published(group),
        front=[],
        per_class=_per_class(group),
        confusion=_confusion(group),
        curve=_curve(group),
        runs=[{"path": str(run.path), "seed": run.summary["seed"], **_numbers(run)} for run in group.runs],
    )


def _numbers(run: Run) -> dict[str, float]:
    return {key: value for key, value in run.summary.items() if type(value) in (int, float) and key != "seed"}


def _values(group: Group, key: str) -> list[float]:
    return [run.summary[key] for run in group.runs if run.summary[key] is not None]


def _tta(group: Group) -> float | None:
    """Return the mean accuracy with test-time augmentation if all runs have it, and of the same kind."""
    values = _values(group, "test_accuracy_tta")
    kinds = {str((run.config or {}).get("tta")) for run in group.runs}
    return _mean(values) if len(values) == len(group.runs) and len(kinds) == 1 else None


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _median(values: Sequence[float]) -> float | None:
    """Return the median: one run on a busy machine must not decide the costs."""
    return statistics.median(values) if values else None


def _interval(group: Group, accuracies: list[float]) -> tuple[Interval | None, str | None]:
    """Return the interval of the mean over seeds; of one run, or runs that are all equal, that over the test images."""
    if len(set(accuracies)) > 1:
        interval = mean_interval(accuracies)
        return Interval(max(0.0, interval.low), min(1.0, interval.high), method="t"), "t, over seeds"
    if not group.scored_runs:
        return None, None
    images = len(group.labels)
    return wilson_interval(round(accuracies[0] * images), images), "Wilson, over test images"


def _place(group: Group, axis: Axis) -> float | None:
    """Return the group's number on an axis."""
    if isinstance(axis.values, dict):
        return axis.values.get(group.label)
    value = group.all_settings.get(axis.values)
    return value if type(value) in (int, float) else None


def _shift(group: Group, pixels: int) -> dict[str, Any]:
    """Return how predictions and features change if images are moved, averaged over the runs that were evaluated."""
    found = [shift for run in group.runs if (shift := read_shift(run.path, pixels))]
    names = ("same_answer", "accuracy", "feature_cosine")
    return {"runs": len(found), **{name: _mean([shift[name] for shift in found]) for name in names}}


def _with_groups(reference: Reference, groups: Sequence[GroupRecord]) -> dict[str, Any]:
    """Return a published curve with the groups' values after the same epochs; None for an epoch that a group lacks."""
    curves = [dict(zip(g.curve["epoch"], g.curve[reference.metric]["mean"], strict=True)) for g in groups]
    points = sorted(reference.points.items())
    return {
        **{"name": reference.name, "source": reference.source, "metric": reference.metric},
        "epochs": [epoch for epoch, _ in points],
        "values": [value for _, value in points],
        "groups": [[curve.get(epoch) for epoch, _ in points] for curve in curves],
    }


def _published(group: Group) -> list[dict[str, Any]]:
    """Return published accuracies of this network on CIFAR-10, each from its source's own training."""
    config = group.runs[0].config
    if config is None or group.data != "cifar10":
        return []
    size = config["data"].get("image_size")
    entries = published(group.model.partition("/")[0], config["model"], 10, (3, size, size))
    return [{"accuracy": e.accuracy, "source": e.source} for e in entries if e.accuracy is not None]


def _per_class(group: Group) -> list[float] | None:
    """Return the accuracy on the images of each class, averaged over the runs."""
    if not group.scored_runs:
        return None
    confusion = np.array(_confusion(group))
    totals = confusion.sum(axis=1)
    return [float(v) for v in np.divide(confusion.diagonal(), totals, out=np.zeros(len(totals)), where=totals > 0)]


def _confusion(group: Group) -> list[list[float]] | None:
    """Return the number of images of each true class (rows) by predicted class (columns), averaged over the runs."""
    if not group.scored_runs:
        return None
    classes = max(run.classes or 0 for run in group.runs)
    cells = group.labels.astype(np.int64) * classes + group.predicted
    counts = np.bincount(cells.ravel(), minlength=classes**2).reshape(classes, classes)
    return (counts / group.scored_runs).round(3).tolist()


def _curve(group: Group) -> dict[str, Any]:
    """Return mean, lowest and highest value of each metric, over the epochs that all runs with a curve have.

    If some runs end earlier, as with early stopping, a mean over the others would be that of the slower ones.
    """
    by_epoch: dict[float, list[Mapping[str, float | None]]] = {}
    for run in group.runs:
        names = [name for name in ("epoch", "seconds", *METRICS) if name in run.curve]
        for values in zip(*(run.curve[name] for name in names), strict=True):
            row = dict(zip(names, values, strict=True))
            if (epoch := row.get("epoch")) is not None:
                by_epoch.setdefault(epoch, []).append(row)
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


def _known(rows: Sequence[Mapping[str, float | None]], name: str) -> list[float]:
    return [value for row in rows if (value := row.get(name)) is not None]


def _classes(section: Section) -> list[str]:
    """Return the class names of the configuration, or else the class numbers."""
    runs = [run for group in section.groups for run in group.runs]
    count = max((run.classes or 0 for run in runs), default=0)
    for run in runs:
        names = run.config and run.config["data"].get("classes")
        if names and len(names) == count:
            return list(names)
    return [str(number) for number in range(count)]
