"""Plan a comparison: which difference between two groups it can show, and how many seeds would show a smaller one.

The power of a test is the chance that it finds a difference which is there. References: Cohen 1988, "Statistical power
analysis for the behavioral sciences"; the t test of `statistics.joint` under a difference follows a noncentral t
distribution.
"""

import statistics
from bisect import bisect_left
from dataclasses import dataclass

from scipy import special

from cnnlab.comparison.group import Group, kind_of
from cnnlab.comparison.statistics import Noise, difference_noise
from cnnlab.intervals import CONFIDENCE

POWERS = (0.8, 0.95)
MOST_SEEDS = 1000  # that a plan proposes


@dataclass(frozen=True)
class PlannedSeeds:
    """Seeds of each group that would show a difference with some power."""

    seeds: int | None  # None if more seeds do not help: the test images are too few
    seconds: float | None  # of training the runs that are missing; 0 if there are enough


def smallest_difference(noise: Noise, runs: tuple[int, int], power: float) -> float:
    """Return the smallest difference, a fraction, that a comparison of so many runs shows with this power.

    It is that of a single comparison at p < 0.05; correcting p-values for several comparisons makes it larger.
    """
    degrees = noise.degrees(runs)
    critical = special.stdtrit(degrees, (1 + CONFIDENCE) / 2)
    # The noncentrality for which the test statistic stays below the critical value with a chance of 1 - power.
    return float(special.nctdtrinc(degrees, 1 - power, critical)) * noise.error(runs)


def seeds_needed(noise: Noise, difference: float, power: float) -> int | None:
    """Return the fewest seeds of each group that show a difference, a fraction, with this power, or None."""
    counts = range(2, MOST_SEEDS + 1)
    place = bisect_left(counts, True, key=lambda n: smallest_difference(noise, (n, n), power) <= difference)
    return counts[place] if place < len(counts) else None


@dataclass(frozen=True)
class PairPlan:
    """What the comparison of two groups can show."""

    shows: dict[float, float]  # by power, the smallest difference, a fraction, with the runs that there are
    needs: dict[float, PlannedSeeds]  # by power, what a difference that is asked for takes


def plan_pair(a: Group, b: Group, difference: float | None) -> PairPlan | None:
    """Return what a comparison of two groups can show, and what a difference, a fraction, would take.

    Returns None if a group has a single run, whose spread over seeds is not known, for folds, and for figures that are
    no mean over the test images.
    """
    if a.folds or kind_of(a.figure) != "accuracy" or not (a.scored_runs and b.scored_runs):
        return None
    noise = difference_noise(a.scored_accuracies, a.correct, b.scored_accuracies, b.correct)
    if noise is None:
        return None
    runs = (a.scored_runs, b.scored_runs)
    seeds = {power: seeds_needed(noise, difference, power) for power in POWERS} if difference else {}
    return PairPlan(
        shows={power: smallest_difference(noise, runs, power) for power in POWERS},
        needs={power: PlannedSeeds(number, _seconds(number, a, b)) for power, number in seeds.items()},
    )


def _seconds(seeds: int | None, *groups: Group) -> float | None:
    if seeds is None or not all(group.values("train_seconds") for group in groups):
        return None
    costs = [statistics.median(group.values("train_seconds")) for group in groups]
    return sum(max(seeds - len(group.runs), 0) * cost for group, cost in zip(groups, costs, strict=True))
