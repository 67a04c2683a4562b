"""Whether a difference between networks is more than noise: intervals and tests.

There are two kinds of noise. Another seed gives another network: that is seen in the spread of several runs. Other test
images give other answers: that is seen in the spread over the images. Each question has its own interval and test here,
and a statement about both needs both.

References: Wilson 1927 (interval of a share); Welch 1947 (two means); McNemar 1947, with the mid-p value as Fagerland,
Lydersen and Laake 2013 recommend it (two classifiers on the same images); Agresti and Min 2005 (interval of such a
difference); Holm 1979 (many comparisons).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
EXACT_UP_TO = 200  # images on which two networks differ; with more, a normal distribution gives the same p-value


@dataclass(frozen=True)
class Interval:
    """A range that holds the true value in 95 % of all experiments."""

    low: float
    high: float


@dataclass(frozen=True)
class Test:
    """A difference, how well it is known, and how often chance alone would give one as large.

    Attributes:
        difference: of the means.
        interval: of the difference.
        p: two-sided.
    """

    difference: float
    interval: Interval
    p: float


def mean_interval(values: Sequence[float]) -> Interval:
    """Of the mean of at least two values, by Student's t distribution."""
    mean, error = float(np.mean(values)), float(stats.sem(values))
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)) * error
    return Interval(mean - half, mean + half)


def share_interval(count: int, total: int) -> Interval:
    """Of a share, `count` of `total`, by Wilson's method."""
    interval = stats.binomtest(count, total).proportion_ci(CONFIDENCE, method="wilson")
    return Interval(float(interval.low), float(interval.high))


def welch(a: Sequence[float], b: Sequence[float]) -> Test | None:
    """Compares the means of two independent groups whose spreads may differ: Welch's t test of mean(a) - mean(b).

    Args:
        a: values of the first group, such as test accuracies of several seeds.
        b: of the second.

    Returns:
        None where either group has fewer than two values, or neither has any spread.
    """
    if min(len(a), len(b)) < 2:
        return None
    parts = [float(np.var(values, ddof=1)) / len(values) for values in (a, b)]
    error = math.sqrt(sum(parts))
    if error == 0:
        return None
    freedom = sum(parts) ** 2 / sum(p**2 / (len(values) - 1) for p, values in zip(parts, (a, b), strict=True))
    difference = float(np.mean(a) - np.mean(b))
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom)) * error
    p = 2 * float(stats.t.sf(abs(difference) / error, freedom))
    return Test(difference, Interval(difference - half, difference + half), p)


def ratio_interval(a: Sequence[float], b: Sequence[float]) -> Interval | None:
    """Of mean(a) / mean(b), of two independent groups of positive values: Welch's of the difference of logarithms.

    Returns:
        None where `welch` has no answer, or a value is not positive.
    """
    if min(*a, *b) <= 0 or (test := welch(np.log(a).tolist(), np.log(b).tolist())) is None:
        return None
    return Interval(math.exp(test.interval.low), math.exp(test.interval.high))


def over_images(right_a: np.ndarray, runs_a: int, right_b: np.ndarray, runs_b: int) -> Test:
    """Compares two groups of trained networks on the same test images.

    For each image the share of a group's runs that are right is taken, and of these the difference. If the groups were
    alike, each difference could as well have the opposite sign; p is how often random signs give a sum as extreme (a
    permutation test, with the mid-p value). With one run on each side this is McNemar's test.

    Args:
        right_a: for each image how many runs of the first group are right, int (N,).
        runs_a: how many runs it has.
        right_b: of the second group, for the same images.
        runs_b: how many runs that has.
    """
    differences = right_a.astype(np.int64) * runs_b - right_b.astype(np.int64) * runs_a
    scale, images = runs_a * runs_b, len(differences)
    total = int(differences.sum())
    # Agresti and Min: two more images, one for either side, each counted half, keep the interval honest when the
    # networks differ on few images.
    squares = float((differences**2).sum()) / scale**2 + 1
    centre = total / scale / (images + 2)
    error = math.sqrt(max(squares / (images + 2) - centre**2, 0) / (images + 2))
    half = float(stats.norm.ppf((1 + CONFIDENCE) / 2)) * error
    return Test(total / scale / images, Interval(centre - half, centre + half), sign_flip(differences))


def sign_flip(differences: np.ndarray) -> float:
    """How often random signs give a sum as far from zero as that of these differences: a two-sided mid-p value.

    Args:
        differences: whole numbers (N,). It is computed exactly for up to 200 that are not zero.
    """
    sizes, counts = np.unique(np.abs(differences[differences != 0]), return_counts=True)
    total = abs(int(differences.sum()))
    if total == 0:
        return 1.0
    if counts.sum() > EXACT_UP_TO:
        return 2 * float(stats.norm.sf(total / math.sqrt(float((sizes**2 * counts).sum()))))
    unit = int(np.gcd.reduce(sizes))
    sizes, total = sizes // unit, total // unit
    chances = np.ones(1)  # of each sum, from the lowest to the highest, in steps of 2
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        steps = np.zeros(size * count + 1)
        steps[::size] = stats.binom.pmf(np.arange(count + 1), count, 0.5)
        chances = np.convolve(chances, steps)
    sums = np.abs(2 * np.arange(len(chances)) - int((sizes * counts).sum()))
    return float(chances[sums > total].sum() + chances[sums == total].sum() / 2)


def holm(p_values: Sequence[float | None], untold: int = 0) -> list[float | None]:
    """Corrects p-values of one family of tests for their number.

    If none of the differences is real, the chance that any corrected value falls below 0.05 is at most 5 %.

    Args:
        p_values: None stands for a test that could not be made.
        untold: further tests of the family, whose p-values are not known and are taken to be larger.
    """
    made = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, place) in enumerate(made):
        largest = max(largest, min(1.0, p * (len(made) + untold - rank)))
        corrected[place] = largest
    return corrected
