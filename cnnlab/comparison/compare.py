"""Compare runs: accuracies, costs and curves of each group, and the significance of the differences."""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from cnnlab.comparison.columns import COSTS, counted
from cnnlab.comparison.group import Group, kind_of
from cnnlab.comparison.grouping import Grouping, Section, group_runs, short_commit
from cnnlab.comparison.names import name_of
from cnnlab.comparison.pairs import MAX_GROUPS_ALL_PAIRS, compare_pairs
from cnnlab.comparison.records import ComparisonRecord, GroupRecord, SectionRecord
from cnnlab.comparison.spec import Axis, ComparisonSpec, Reference
from cnnlab.comparison.statistics import mean, mean_interval, over_folds
from cnnlab.comparison.time_to_value import reach_times, target_times, with_ratios
from cnnlab.comparison.training_images import images_curves
from cnnlab.errors import RequestError
from cnnlab.inspection.published import published
from cnnlab.intervals import wilson_interval
from cnnlab.runs.directory import METRICS, MORE_METRICS
from cnnlab.runs.reading import SHIFT_FIGURES, Run, is_trial, mean_answer, read_robustness, read_shift
from cnnlab.words import did_you_mean

MEDIANS = ("parameters", "macs", "train_seconds", "epochs", "images_per_second", "peak_memory_bytes")
MOST_CLASSES = 2000  # of a confusion matrix

MapSizes = Callable[[Run], list[int] | None]


def compare_runs(
    runs: Sequence[Run],
    spec: ComparisonSpec = ComparisonSpec(),  # noqa: B008, it cannot change
    map_sizes: MapSizes | None = None,
) -> ComparisonRecord:
    """Compare runs; `map_sizes` returns the side lengths of the feature maps of a run's network, for `spec.maps`.

    Raises:
        RequestError: for a setting or label in `spec` that no run has.
    """
    grouping = group_runs(runs, spec)
    labels = [group.label for section in grouping.sections for group in section.groups]
    if spec.against is not None and labels and spec.against not in (*labels, *spec.labels):
        raise RequestError(f"against: no group is called {spec.against}{did_you_mean(spec.against, labels)}")
    sections = [_section(section, spec, map_sizes) for section in grouping.sections]
    return ComparisonRecord(
        runs=len(runs),
        targets=list(spec.targets),
        reach=asdict(spec.reach) if spec.reach else None,
        against=spec.against,
        axis=spec.axis and spec.axis.name,
        shift=spec.shift,
        plan=spec.plan,
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
    if section.folds:
        notices.append(
            f"{name}, {section.folds} folds: compared are the figures of the held-out images, of which every training "
            "image is one once a seed; means, deviations and intervals are over the folds. The held-out images chose "
            "the best epoch too, so the figures are a little too high."
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
    groups = [group for section in grouping.sections for group in section.groups]
    trials = sum(is_trial(run.path) for group in groups for run in group.runs)
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
        figure=section.figure,
        folds=section.folds,
        protocol=section.protocol,
        data=section.data,
        fingerprint=section.fingerprint,
        test_images=None if section.labels is None else len(section.labels),
        classes=_classes(section),
        groups=groups,
        pairs=compare_pairs(section, spec.plan and spec.plan / 100),
        reference=_with_groups(spec.reference, groups) if spec.reference else None,
        by_images=images_curves(section.groups),
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
    best = max(group.runs, key=lambda run: run.summary[group.figure])
    low, high, method = _interval(group, accuracies)
    classes = max(run.classes or 0 for run in group.runs)
    confusion = _confusion(group, classes) if group.scored_runs and classes <= MOST_CLASSES else None
    return GroupRecord(
        figure=group.figure,
        label=group.label,
        model=group.model,
        recipe=group.recipe,
        data=group.data,
        settings=dict(group.settings),
        n=len(group.runs),
        seeds=[run.summary["seed"] for run in group.runs],
        mean=float(np.mean(accuracies)),
        sd=float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else None,
        low=low,
        high=high,
        interval=method,
        best=best.summary[group.figure],
        best_run=str(best.path),
        val_accuracy=mean(group.values("val_accuracy")),
        test_accuracy_tta=_tta(group),
        together=_together(group),
        corrupted=_corrupted(group),
        **{key: _median(group.values(key)) for key in MEDIANS},
        devices=sorted({str(run.summary["device"]) for run in group.runs}),
        targets=[target_times(group.runs, target, f"val/{kind_of(group.figure)}") for target in spec.targets],  # pyright: ignore
        reach=reach_times(group.runs, spec.reach) if spec.reach else None,
        choice=asdict(group.choice) if group.choice else None,
        place=_place(group, spec.axis) if spec.axis else None,
        line=name_of(group.all_settings, spec.axis.lines) if spec.axis else None,
        shift=_shift(group, spec.shift) if spec.shift else None,
        maps=map_sizes(group.runs[0]) if spec.maps and map_sizes else None,
        published=_published(group),
        front=[],
        per_class=_per_class(confusion) if confusion else None,
        confusion=confusion,
        curve=average_curves([run.curve for run in group.runs]),
        runs=[
            {"path": str(run.path), "seed": run.summary["seed"]}
            | {key: value for key, value in run.summary.items() if type(value) in (int, float)}
            for run in group.runs
        ],
    )


def _tta(group: Group) -> float | None:
    """Return the mean accuracy with test-time augmentation if all runs have it, and of the same kind."""
    values = group.values("test_accuracy_tta")
    kinds = {str((run.config or {}).get("tta")) for run in group.runs}
    return mean(values) if len(values) == len(group.runs) and len(kinds) == 1 else None


def _together(group: Group) -> float | None:
    """Return the test accuracy of the mean probabilities of all runs, of which there must be several."""
    if group.folds or len(group.runs) < 2 or group.scored_runs < len(group.runs):
        return None
    return float((mean_answer(group.runs) == group.labels).mean())


def _corrupted(group: Group) -> float | None:
    """Return the mean accuracy on corrupted images if all runs were evaluated on them."""
    values = [read_robustness(run.path) for run in group.runs]
    known = [value for value in values if value is not None]
    return mean(known) if len(known) == len(values) else None


def _median(values: Sequence[float]) -> float | None:
    """Return the median: one run on a busy machine must not decide the costs."""
    return statistics.median(values) if values else None


def _interval(group: Group, accuracies: list[float]) -> tuple[float | None, float | None, str | None]:
    """Return the bounds of the mean and their method: over seeds or folds, or of equal runs over the test images."""
    if group.folds:
        test = over_folds(accuracies, group.folds)
        return (max(0.0, test.low), min(1.0, test.high), "t, over folds") if test else (None, None, None)
    if len(set(accuracies)) > 1:
        low, high = mean_interval(accuracies)
        return max(0.0, low), min(1.0, high), "t, over seeds"
    if not group.scored_runs or kind_of(group.figure) != "accuracy":
        return None, None, None
    images = len(group.labels)
    interval = wilson_interval(round(accuracies[0] * images), images)
    return interval.low, interval.high, "Wilson, over test images"


def _place(group: Group, axis: Axis) -> float | None:
    """Return the group's number on an axis: that of its label, or else of its network."""
    if isinstance(axis.values, dict):
        return axis.values.get(group.label, axis.values.get(group.model))
    value = group.all_settings.get(axis.values)
    return value if type(value) in (int, float) else None


def _shift(group: Group, pixels: int) -> dict[str, Any]:
    """Return how predictions and features change if images are moved, averaged over the runs that were evaluated."""
    found = [shift for run in group.runs if (shift := read_shift(run.path, pixels))]
    return {"runs": len(found), **{name: mean([shift[name] for shift in found]) for name in SHIFT_FIGURES}}


def _with_groups(reference: Reference, groups: Sequence[GroupRecord]) -> dict[str, Any]:
    """Return a published curve with the groups' values after the same epochs; None for an epoch that a group lacks."""
    curves = [dict(zip(g.curve["epoch"], g.curve[reference.metric]["mean"], strict=True)) for g in groups]
    points = dict(sorted(reference.points.items()))
    return {
        **{"name": reference.name, "source": reference.source, "metric": reference.metric},
        **{"epochs": list(points), "values": list(points.values())},
        "groups": [[curve.get(epoch) for epoch in points] for curve in curves],
    }


def _published(group: Group) -> list[dict[str, Any]]:
    """Return published accuracies of this network on CIFAR-10, each from its source's own training."""
    config = group.runs[0].config
    if config is None or group.data != "cifar10":
        return []
    size = config["data"].get("image_size")
    entries = published(group.model.partition("/")[0], config["model"], 10, (3, size, size))
    return [{"accuracy": e.accuracy, "source": e.source} for e in entries if e.accuracy is not None]


def _per_class(confusion: list[list[float]]) -> list[float]:
    """Return the accuracy on the images of each class; 0 for a class without images."""
    counts = np.array(confusion)
    totals = counts.sum(axis=1)
    return (counts.diagonal() / np.where(totals > 0, totals, 1)).tolist()


def _confusion(group: Group, classes: int) -> list[list[float]]:
    """Return the number of images of each true class (rows) by predicted class (columns), averaged over the runs."""
    cells = group.labels.astype(np.int64) * classes + group.predicted
    counts = np.bincount(cells.ravel(), minlength=classes**2).reshape(classes, classes)
    return (counts / group.scored_runs).round(3).tolist()


def average_curves(curves: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return mean, lowest and highest value of each metric, over the epochs that all runs with a curve have.

    If some runs end earlier, as with early stopping, a mean over the others would be that of the slower ones.
    """
    curves = [curve for curve in curves if curve.get("epoch")]
    rows = [{epoch: row for row, epoch in enumerate(curve["epoch"]) if epoch is not None} for curve in curves]
    epochs = sorted(set.intersection(*map(set, rows))) if rows else []

    def at_epochs(name: str) -> list[list[float]]:
        known = [(curve[name], row) for curve, row in zip(curves, rows, strict=True) if name in curve]
        each = [[values[row[epoch]] for values, row in known] for epoch in epochs]
        return [[value for value in values if value is not None] for values in each]

    curve: dict[str, Any] = {"epoch": epochs, "runs": [len(curves)] * len(epochs)}
    curve["seconds"] = [_median(seconds) for seconds in at_epochs("seconds")]
    for metric in (*METRICS, *MORE_METRICS):
        values = at_epochs(metric)
        curve[metric] = {
            "mean": [mean(several) for several in values],
            "low": [min(several, default=None) for several in values],
            "high": [max(several, default=None) for several in values],
        }
    return curve


def _classes(section: Section) -> list[str]:
    """Return the class names of the configuration, or else the class numbers."""
    runs = [run for group in section.groups for run in group.runs]
    count = max((run.classes or 0 for run in runs), default=0)
    for run in runs:
        names = run.config and run.config["data"].get("classes")
        if names and len(names) == count:
            return list(names)
    return [str(number) for number in range(count)]
