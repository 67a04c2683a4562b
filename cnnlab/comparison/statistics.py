"""Test whether a difference between networks is more than noise.

There are two kinds of noise. Another seed gives another network: the spread over several runs shows how much. Other
test images give other predictions: the spread over the images shows how much. `welch` takes the images as fixed,
`over_images` the trained networks. `joint` allows for both at once, so only it supports a claim about new seeds and new
images.

Folds of a cross-validation share training images, so that their runs are no independent samples: see `over_folds`.

References: Welch 1947 (two means); McNemar 1947, with the mid-p value that Fagerland, Lydersen and Laake 2013 recommend
(two classifiers on the same images); Agresti and Min 2005 (interval of such a difference); Satterthwaite 1946 (sums of
variances); Nadeau and Bengio 2003, section 3 (folds); Holm 1979 (many tests).
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special  # scipy.stats takes a second to import

from cnnlab.intervals import CONFIDENCE

EXACT_UP_TO = 200  # images on which two networks differ; with more, a normal distribution is at most 0.0012 off in p


@dataclass(frozen=True)
class Test:
    """Result of a significance test."""

    difference: float  # of the means
    low: float  # bounds of the 95 % confidence interval of the difference
    high: float
    p: float  # two-sided p-value


def mean(values: Iterable[float | None]) -> float | None:
    """Return the mean of the values that are known, or None if there are none."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the bounds of the mean of at least two values, by Student's t distribution."""
    mean, error = float(np.mean(values)), float(np.std(values, ddof=1)) / math.sqrt(len(values))
    test = _t_test(mean, error, len(values) - 1)
    return test.low, test.high


def over_folds(values: Sequence[float], folds: int) -> Test | None:
    """Test the mean over the folds of one or more cross-validations against 0, by a corrected t test.

    The values are figures of one network, of which the interval matters, or differences of two, fold by fold. The
    variance of the mean is enlarged by the ratio of held-out to training images, since the runs share training images.
    Returns None if there are fewer than two values, or they have no spread.
    """
    if len(values) < 2 or len(set(values)) == 1:
        return None
    error = math.sqrt((1 / len(values) + 1 / (folds - 1)) * float(np.var(values, ddof=1)))
    return _t_test(float(np.mean(values)), error, len(values) - 1)


def welch(a: Sequence[float], b: Sequence[float]) -> Test | None:
    """Test mean(a) - mean(b) of two independent groups with Welch's t test, which allows unequal variances.

    Returns None if a group has fewer than two values or neither has any spread.
    """
    if min(len(a), len(b)) < 2 or len(set(a)) == len(set(b)) == 1:
        return None
    parts = [float(np.var(values, ddof=1)) / len(values) if len(set(values)) > 1 else 0.0 for values in (a, b)]
    degrees = sum(parts) ** 2 / sum(part**2 / (len(values) - 1) for part, values in zip(parts, (a, b), strict=True))
    return _t_test(float(np.mean(a) - np.mean(b)), math.sqrt(sum(parts)), degrees)


def _t_test(difference: float, error: float, degrees: float) -> Test:
    """Test a difference with a standard error and degrees of freedom."""
    half = float(special.stdtrit(degrees, (1 + CONFIDENCE) / 2)) * error
    p = 2 * float(special.stdtr(degrees, -abs(difference) / error)) if error else math.nan
    return Test(difference, difference - half, difference + half, p)


def ratio_interval(a: Sequence[float], b: Sequence[float]) -> tuple[float, float] | None:
    """Return the bounds of mean(a) / mean(b) of two independent groups, by Welch's test of the logarithms.

    They are None if `welch` returns None or a value is not positive.
    """
    if min(*a, *b) <= 0 or (test := welch(np.log(a).tolist(), np.log(b).tolist())) is None:
        return None
    return math.exp(test.low), math.exp(test.high)


def over_images(right_a: np.ndarray, runs_a: int, right_b: np.ndarray, runs_b: int) -> Test:
    """Compare two groups of trained networks on the same test images with a sign-flip permutation test.

    `right_a` counts the runs of the first group, of `runs_a`, that classify each image correctly, int (N,). Each image
    gives the difference between the shares of correct runs in the two groups. If the groups were equally good, each
    difference could just as well have the opposite sign. The p-value says how often random signs give a sum at least as
    extreme (mid-p). With one run in each group this is McNemar's test.
    """
    differences = right_a.astype(np.int64) * runs_b - right_b.astype(np.int64) * runs_a
    scale, images = runs_a * runs_b, len(differences)
    total = int(differences.sum())
    # Agresti and Min add two images, one for each side, and count each half. Otherwise the interval would be too narrow
    # if the networks differ on few images.
    squares = float((differences**2).sum()) / scale**2 + 1
    centre = total / scale / (images + 2)
    error = math.sqrt(max(squares / (images + 2) - centre**2, 0) / (images + 2))
    half = float(special.ndtri((1 + CONFIDENCE) / 2)) * error
    return Test(total / scale / images, centre - half, centre + half, sign_flip(differences))


@dataclass(frozen=True)
class Noise:
    """What makes the difference of two groups' mean accuracies uncertain, if seeds and test images are random."""

    spreads: np.ndarray  # variance of the accuracy over the seeds, for each group, (2,)
    over_images: float  # variance of the difference over test sets
    images: int  # number of test images

    def error(self, runs: Sequence[int]) -> float:
        """Return the standard error of the difference of so many runs of each group."""
        return math.sqrt(float((self.spreads / runs).sum()) + self.over_images)

    def degrees(self, runs: Sequence[int]) -> float:
        """Return the degrees of freedom, Satterthwaite's.

        If one group has fewer runs, its spread may come out small by chance, and they come out too high. Then their
        harmonic mean with those of a common spread is taken.
        """
        counts = np.array(runs)

        def satterthwaite(spreads: np.ndarray) -> float:
            squares = float(((spreads / counts) ** 2 / (counts - 1)).sum()) + self.over_images**2 / (self.images - 1)
            return float((spreads / counts).sum() + self.over_images) ** 2 / squares

        degrees = satterthwaite(self.spreads)
        if counts[0] == counts[1] or not self.spreads.any():
            return degrees
        common = np.full(2, (self.spreads * (counts - 1)).sum() / (counts.sum() - 2))
        return 2 / (1 / degrees + 1 / satterthwaite(common))


def difference_noise(a: Sequence[float], right_a: np.ndarray, b: Sequence[float], right_b: np.ndarray) -> Noise | None:
    """Return the noise of mean(a) - mean(b); see `joint` for the arguments and when there is none.

    The variance over seeds and that over images both contain the noise of single predictions, so it is subtracted from
    the latter.
    """
    images = len(right_a)
    if min(len(a), len(b)) < 2:
        return None
    spreads = np.array([np.var(values, ddof=1) if len(set(values)) > 1 else 0.0 for values in (a, b)])
    single = sum(
        float(np.mean(right * (count - right))) / (count**2 * (count - 1))
        for right, count in ((right_a, len(a)), (right_b, len(b)))
    )
    differences = right_a / len(a) - right_b / len(b)
    over_images = max((float(differences.var(ddof=1)) - single) / images, 0.0)
    if not spreads.any():  # all accuracies are equal by chance, but not certain
        over_images += single / images
    return Noise(spreads, over_images, images) if spreads.any() or over_images else None


def joint(a: Sequence[float], right_a: np.ndarray, b: Sequence[float], right_b: np.ndarray) -> Test | None:
    """Test mean(a) - mean(b) with seeds and test images both taken as random, by a t test.

    The variance of the difference is the sum of that over seeds (Welch) and that over images.

    Args:
        a: accuracy of each run of the first group, in [0, 1].
        right_a: number of these runs that classify each image correctly, int (N,).
        b: accuracy of each run of the second group.
        right_b: the same counts for the second group, on the same images.

    Returns:
        None if a group has fewer than two runs, or there is no noise of any kind.
    """
    noise = difference_noise(a, right_a, b, right_b)
    runs = len(a), len(b)
    return noise and _t_test(float(np.mean(a) - np.mean(b)), noise.error(runs), noise.degrees(runs))


def sign_flip(differences: np.ndarray) -> float:
    """Return how often random signs give a sum as far from zero as these integers, (N,): a two-sided mid-p value.

    It is exact if at most 200 of them are not zero.
    """
    sizes, counts = np.unique(np.abs(differences[differences != 0]), return_counts=True)
    total = abs(int(differences.sum()))
    if total == 0:
        return 1.0
    if counts.sum() > EXACT_UP_TO:
        return 2 * float(special.ndtr(-total / math.sqrt(float((sizes**2 * counts).sum()))))
    unit = int(np.gcd.reduce(sizes))
    sizes, total = sizes // unit, total // unit
    chances = np.ones(1)  # probability of each sum, from the lowest to the highest, in steps of 2
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        steps = np.zeros(size * count + 1)
        steps[::size] = special.binom(count, np.arange(count + 1)) / 2**count
        chances = np.convolve(chances, steps)
    sums = np.abs(2 * np.arange(len(chances)) - int((sizes * counts).sum()))
    return float(chances[sums > total].sum() + chances[sums == total].sum() / 2)


def holm(p_values: Sequence[float | None], omitted: int = 0) -> list[float | None]:
    """Correct the p-values of several tests for their number, by Holm's method.

    If no difference is real, the chance that any corrected value falls below 0.05 is at most 5 %. A test that could not
    be made has None. The p-values of `omitted` further tests are not known and count as larger than all of these.
    """
    made = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, place) in enumerate(made):
        largest = max(largest, min(1.0, p * (len(made) + omitted - rank)))
        corrected[place] = largest
    return corrected
