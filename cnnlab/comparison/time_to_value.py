"""Measure how long runs take to reach a value of a metric."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from cnnlab.comparison.spec import Metric, Reach
from cnnlab.comparison.statistics import ratio_interval
from cnnlab.runs.reading import Run

Point = tuple[float, float, float]  # a metric's value, seconds of training, epoch
Times = dict[str, Any]


def time_to_reach(run: Run, reach: Reach) -> tuple[float, float] | None:
    """Return the seconds of training and the epochs until a run first reached a value, or None if it did not.

    They are interpolated between epochs. A value that the first epoch reaches has the time of that epoch.
    """
    before, after = _crossing(run, reach)
    if before is None or after is None:
        return after and after[1:]
    share = (reach.value - before[0]) / (after[0] - before[0])
    return before[1] + share * (after[1] - before[1]), before[2] + share * (after[2] - before[2])


def _crossing(run: Run, reach: Reach) -> tuple[Point | None, Point | None]:
    """Return the last epoch before a run reached the value and the first one after; None if there is none."""
    before = None
    columns = (run.curve.get(name, []) for name in (reach.metric, "seconds", "epoch"))
    for value, seconds, epoch in zip(*columns, strict=False):  # nothing if a column is missing
        if value is None or seconds is None or epoch is None:
            continue
        if reach.is_met_by(value):
            return before, (value, seconds, epoch)
        before = value, seconds, epoch
    return before, None


def target_times(runs: Sequence[Run], target: float, metric: Metric = "val/accuracy") -> Times:
    """Return when a metric reached a target: medians over the runs that reached it, and how many did."""
    times = [after[1:] for run in runs if (after := _crossing(run, Reach(metric, target))[1])]
    return {
        "target": target,
        "reached": len(times),
        "seconds": statistics.median(seconds for seconds, _ in times) if times else None,
        "epoch": statistics.median(epoch for _, epoch in times) if times else None,
    }


def reach_times(runs: Sequence[Run], reach: Reach) -> Times:
    """Return mean and standard deviation of epochs and seconds over the runs that reached a value, and each run's."""
    times = [time for run in runs if (time := time_to_reach(run, reach))]
    figures: Times = {"reached": len(times)}
    for place, name in enumerate(("seconds", "epochs")):
        values = [time[place] for time in times]
        figures[name] = statistics.fmean(values) if values else None
        figures[f"{name}_sd"] = statistics.stdev(values) if len(values) > 1 else None
        figures[f"{name}_each"] = values
    return figures


def with_ratios(groups: Mapping[str, Times], runs: Mapping[str, int], against: str | None) -> dict[str, Times]:
    """Return the groups' times with `epochs_ratio` and `seconds_ratio`: divided by those of one group.

    `epochs_ratio_interval` and `seconds_ratio_interval` are low and high, over the seeds. They are None unless all runs
    of both groups reached the value, because those that did are the faster ones. `groups` and `runs` hold `reach_times`
    and the number of runs by label; `against` is None for the fastest group, in epochs and in seconds.
    """
    made = {label: dict(times) for label, times in groups.items()}
    for name in ("epochs", "seconds"):
        there = [label for label, times in groups.items() if times["reached"]]
        base = against or min(there, key=lambda label: groups[label][name], default="")
        divisor: Times = groups[base] if base in there else {name: 0}
        for label, times in made.items():
            known = label in there and divisor[name] > 0
            whole = known and label != base and all(groups[one]["reached"] == runs[one] for one in (label, base))
            each = times[f"{name}_each"], divisor.get(f"{name}_each", [])
            times[f"{name}_ratio"] = times[name] / divisor[name] if known else None
            times[f"{name}_ratio_interval"] = ratio_interval(*each) if whole else None
    return made
