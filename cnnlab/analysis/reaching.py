"""How long runs take to get to a value of a metric."""

import statistics
from collections.abc import Sequence
from typing import Any

from cnnlab.analysis.question import Reach
from cnnlab.runs.reading import Run

Point = tuple[float, float, float]  # a metric's value, seconds of training, epoch


def reached(run: Run, reach: Reach) -> tuple[float, float] | None:
    """The seconds of training and the epochs until a run was there first, or None.

    They are interpolated along a line from the epoch before; a run that was there after its first one has that one's.
    """
    before, after = _crossing(run, reach)
    if before is None or after is None:
        return after and after[1:]
    share = (reach.value - before[0]) / (after[0] - before[0])
    return before[1] + share * (after[1] - before[1]), before[2] + share * (after[2] - before[2])


def _crossing(run: Run, reach: Reach) -> tuple[Point | None, Point | None]:
    """The last epoch before a run was there and the first one after; None where there is none."""
    before = None
    columns = (run.curve.get(name, []) for name in (reach.metric, "seconds", "epoch"))
    for value, seconds, epoch in zip(*columns, strict=False):  # nothing where a column is missing
        if value is None or seconds is None or epoch is None:
            continue
        if reach.met(value):
            return before, (value, seconds, epoch)
        before = value, seconds, epoch
    return before, None


def target_times(runs: Sequence[Run], target: float) -> dict[str, Any]:
    """After which epoch validation accuracy was at a target: medians over the runs that got there, and how many did."""
    there = [after[1:] for run in runs if (after := _crossing(run, Reach("val/accuracy", target))[1])]
    return {
        "target": target,
        "reached": len(there),
        "seconds": statistics.median(seconds for seconds, _ in there) if there else None,
        "epoch": statistics.median(epoch for _, epoch in there) if there else None,
    }


def reach_times(runs: Sequence[Run], reach: Reach) -> dict[str, Any]:
    """Mean and standard deviation of epochs and seconds over the runs that got there, and how many did."""
    there = [when for run in runs if (when := reached(run, reach))]
    figures: dict[str, Any] = {"reached": len(there)}
    for place, name in enumerate(("seconds", "epochs")):
        values = [when[place] for when in there]
        figures[name] = statistics.fmean(values) if values else None
        figures[f"{name}_sd"] = statistics.stdev(values) if len(values) > 1 else None
    return figures


def add_ratios(groups: Sequence[dict[str, Any]], against: str | None) -> None:
    """Divides the epochs and seconds of every group by those of one: `epochs_ratio` and `seconds_ratio`.

    Args:
        groups: with `label` and `reach`, from `reach_times`.
        against: the label of that one; None for the fastest, in epochs and in seconds.
    """
    for name in ("epochs", "seconds"):
        known = {group["label"]: group["reach"][name] for group in groups if group["reach"]["reached"]}
        base = min(known.values(), default=None) if against is None else known.get(against)
        for group in groups:
            value = known.get(group["label"])
            group["reach"][f"{name}_ratio"] = value / base if value is not None and base else None
