"""How long runs take to get to a value of a metric."""

import statistics
from collections.abc import Sequence
from typing import Any

from cnnlab.comparison.spec import Reach
from cnnlab.comparison.statistics import ratio_interval
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
    """Mean and standard deviation of epochs and seconds over the runs that got there, how many did, and each one's."""
    there = [when for run in runs if (when := reached(run, reach))]
    figures: dict[str, Any] = {"reached": len(there)}
    for place, name in enumerate(("seconds", "epochs")):
        values = [when[place] for when in there]
        figures[name] = statistics.fmean(values) if values else None
        figures[f"{name}_sd"] = statistics.stdev(values) if len(values) > 1 else None
        figures[f"{name}_each"] = values
    return figures


def add_ratios(groups: Sequence[dict[str, Any]], against: str | None) -> None:
    """Divides the epochs and seconds of every group by those of one: `epochs_ratio` and `seconds_ratio`.

    Beside them `epochs_ratio_interval` and `seconds_ratio_interval`, low and high, over the seeds; None where not all
    runs of the two groups got there, for those that did are the faster ones.

    Args:
        groups: with `label`, `n` and `reach`, from `reach_times`.
        against: the label of that one; None for the fastest, in epochs and in seconds.
    """
    for name in ("epochs", "seconds"):
        there = [group for group in groups if group["reach"]["reached"]]
        if against is None:
            base = min(there, key=lambda group: group["reach"][name], default=None)
        else:
            base = next((group for group in there if group["label"] == against), None)
        for group in groups:
            known = base is not None and group in there and base["reach"][name] > 0
            group["reach"][f"{name}_ratio"] = group["reach"][name] / base["reach"][name] if base and known else None
            group["reach"][f"{name}_ratio_interval"] = _interval(group, base, name) if base and known else None


def _interval(group: dict[str, Any], base: dict[str, Any], name: str) -> list[float] | None:
    if group is base or any(one["reach"]["reached"] < one["n"] for one in (group, base)):
        return None
    interval = ratio_interval(group["reach"][f"{name}_each"], base["reach"][f"{name}_each"])
    return interval and [interval.low, interval.high]
