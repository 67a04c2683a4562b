"""Intervals and tests agree with scipy and statsmodels, and have the stated error rates on simulated data."""

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from cnnlab.comparison.statistics import (
    holm,
    joint,
    mean_interval,
    over_folds,
    over_images,
    ratio_interval,
    sign_flip,
    welch,
)
from cnnlab.intervals import wilson_interval

A, B = [0.912, 0.917, 0.921], [0.901, 0.915, 0.899, 0.906]


def bounds(interval: Any) -> tuple[float, float]:
    return interval.low, interval.high


def mcnemar_p(cells: list[list[int]], **options: bool) -> float:
    result: Any = mcnemar(cells, **options)
    return result.pvalue


def table(both: int, only_a: int, only_b: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    """Return which images two runs classify correctly."""
    a = np.repeat([1, 1, 0, 0], [both, only_a, only_b, neither])
    b = np.repeat([1, 0, 1, 0], [both, only_a, only_b, neither])
    return a, b


# --- equal to the libraries ------------------------------------------------------------------------------------------


def test_the_interval_of_a_mean_is_scipys():
    low, high = stats.ttest_1samp(A, 0).confidence_interval(0.95)
    assert mean_interval(A) == pytest.approx((low, high))


def test_the_interval_of_a_share_is_wilsons():
    low, high = proportion_confint(937, 1000, method="wilson")
    assert bounds(wilson_interval(937, 1000)) == pytest.approx((low, high))


def test_welch_equals_a_computation_by_hand():
    """Standard error sqrt(var(A) / 3 + var(B) / 4), degrees of freedom by Welch and Satterthwaite."""
    ours = welch(A, B)
    parts = [np.var(values, ddof=1) / len(values) for values in (A, B)]
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / 2 + parts[1] ** 2 / 3)
    difference, error = np.mean(A) - np.mean(B), sum(parts) ** 0.5
    half = stats.t.ppf(0.975, freedom) * error
    assert ours is not None
    assert ours.difference == pytest.approx(difference)
    assert ours.p == pytest.approx(2 * stats.t.sf(difference / error, freedom))
    assert bounds(ours) == pytest.approx((difference - half, difference + half))


def test_welch_works_if_one_group_has_no_spread():
    test = welch([0.9, 0.9], [0.8, 0.82])
    assert test is not None
    assert test.low < 0.09 < test.high


@pytest.mark.parametrize(("a", "b"), [([0.9], B), (A, [0.9]), ([0.9, 0.9], [0.8, 0.8])])
def test_welch_needs_two_values_and_some_spread(a, b):
    assert welch(a, b) is None


@pytest.mark.parametrize(("only_a", "only_b"), [(12, 3), (3, 12), (1, 0), (80, 61)])
def test_with_one_run_each_the_test_over_images_is_mcnemars(only_a, only_b):
    a, b = table(500, only_a, only_b, 40)
    exact = mcnemar_p([[500, only_a], [only_b, 40]], exact=True)
    smaller = min(only_a, only_b)
    mid_p = exact - stats.binom.pmf(smaller, only_a + only_b, 0.5)
    assert over_images(a, 1, b, 1).p == pytest.approx(mid_p)


def test_where_many_images_differ_it_is_mcnemars_chi_square():
    a, b = table(9000, 400, 340, 200)
    chi_square = mcnemar_p([[9000, 400], [340, 200]], exact=False, correction=False)
    assert over_images(a, 1, b, 1).p == pytest.approx(chi_square)


def test_the_exact_and_the_normal_form_meet():
    exact = sign_flip(np.repeat([1, -1], [115, 85]))  # 200 images
    normal = sign_flip(np.repeat([1, -1, 1, -1], [115, 85, 1, 1]))
    assert exact == pytest.approx(normal, rel=0.05)


def test_with_several_runs_it_is_a_permutation_test():
    random = np.random.default_rng(3)
    a, b = random.binomial(3, 0.8, 60), random.binomial(2, 0.7, 60)
    differences = 2 * a - 3 * b
    drawn = stats.permutation_test(
        (differences,), np.sum, permutation_type="samples", n_resamples=20_000, rng=np.random.default_rng(0)
    )
    sums = np.abs(np.asarray(drawn.null_distribution))
    total = abs(differences.sum())
    mid_p = float((sums > total).mean() + (sums == total).mean() / 2)
    assert over_images(a, 3, b, 2).p == pytest.approx(mid_p, abs=0.01)


def test_the_difference_over_images_is_that_of_the_mean_accuracies():
    a, b = np.array([3, 3, 0, 1]), np.array([2, 0, 0, 1])
    test = over_images(a, 3, b, 2)
    assert test.difference == pytest.approx(a.mean() / 3 - b.mean() / 2)
    assert test.low < test.difference < test.high


def test_networks_that_answer_alike_do_not_differ():
    a = np.ones(50, dtype=int)
    test = over_images(a, 1, a, 1)
    assert (test.difference, test.p) == (0, 1)
    assert test.low < 0 < test.high


def test_holm_is_statsmodels():
    p = [0.01, 0.04, 0.03, 0.005, 0.9]
    assert holm(p) == pytest.approx(list(multipletests(p, method="holm")[1]))  # pyright: ignore[reportArgumentType]
    assert holm([0.01, None, 0.03]) == [pytest.approx(0.02), None, pytest.approx(0.03)]
    assert holm([0.01, 0.03], omitted=8) == [pytest.approx(0.1), pytest.approx(0.27)]


# --- error rates on simulated data -----------------------------------------------------------------------------------

REPETITIONS = [600, pytest.param(10_000, marks=pytest.mark.slow)]


def within(share: float, wanted: float, repetitions: int, slack: float = 0.0) -> bool:
    """Return whether a simulated share is as wanted, up to four standard errors and the known error of the method."""
    print(f"{share:.4f} for {wanted}, {repetitions} repetitions")
    return abs(share - wanted) < 4 * (wanted * (1 - wanted) / repetitions) ** 0.5 + slack


@pytest.mark.parametrize("repetitions", REPETITIONS)
@pytest.mark.parametrize("n", [2, 3, 10])
def test_coverage_of_the_mean(n, repetitions):
    draws = np.random.default_rng(0).normal(0.9, 0.01, (repetitions, n))
    inside = [low <= 0.9 <= high for low, high in map(mean_interval, draws)]  # pyright: ignore[reportArgumentType]
    assert within(float(np.mean(inside)), 0.95, repetitions)


@pytest.mark.parametrize("repetitions", REPETITIONS)
def test_coverage_of_a_share(repetitions):
    counts = np.random.default_rng(1).binomial(1000, 0.93, repetitions)
    inside = [(i := wilson_interval(int(count), 1000)).low <= 0.93 <= i.high for count in counts]
    assert within(float(np.mean(inside)), 0.95, repetitions, slack=0.01)  # counts are whole numbers


@pytest.mark.parametrize("repetitions", REPETITIONS)
@pytest.mark.parametrize("sizes", [(3, 3), (5, 5), (10, 4)])
def test_welch_finds_differences_where_there_are_none_in_5_percent(sizes, repetitions):
    random = np.random.default_rng(2)
    tests = [welch(random.normal(0.9, 0.01, sizes[0]), random.normal(0.9, 0.02, sizes[1])) for _ in range(repetitions)]
    found = float(np.mean([test is not None and test.p < 0.05 for test in tests]))
    covered = float(np.mean([test is not None and test.low <= 0 <= test.high for test in tests]))
    assert found + covered == pytest.approx(1)
    # With three values and unequal spreads Welch's approximation is known to be a little off.
    assert within(found, 0.05, repetitions, slack=0.015)


def answers(random: np.random.Generator, runs: tuple[int, int], images: int, better: float) -> tuple[Any, Any]:
    """Return how many runs of two groups classify each image correctly; images differ in difficulty, and for whom."""
    hard = random.beta(6, 0.5, (3, images))
    chance_a, chance_b = (hard[0] + hard[1]) / 2, (hard[0] + hard[2]) / 2
    return random.binomial(runs[0], chance_a), random.binomial(runs[1], (1 - better) * chance_b)


@pytest.mark.parametrize("repetitions", REPETITIONS)
@pytest.mark.parametrize("runs", [(1, 1), (3, 3), (5, 2)])
@pytest.mark.parametrize("images", [300, 2000])
def test_over_images_finds_differences_where_there_are_none_in_5_percent(runs, images, repetitions):
    random = np.random.default_rng(3)
    found = [over_images(a, runs[0], b, runs[1]).p < 0.05 for a, b in _drawn(random, runs, images, 0, repetitions)]
    assert within(float(np.mean(found)), 0.05, repetitions, slack=0.005)


@pytest.mark.parametrize("repetitions", REPETITIONS)
@pytest.mark.parametrize(("runs", "images"), [((1, 1), 300), ((3, 3), 300), ((5, 2), 2000)])
def test_coverage_of_a_difference_over_images(runs, images, repetitions):
    random = np.random.default_rng(4)
    truth = 6 / 6.5 * 0.03  # the mean of the beta distribution, and 3 % of it less
    tests = [over_images(a, runs[0], b, runs[1]) for a, b in _drawn(random, runs, images, 0.03, repetitions)]
    inside = [test.low <= truth <= test.high for test in tests]
    assert within(float(np.mean(inside)), 0.95, repetitions, slack=0.01)


def _drawn(random: np.random.Generator, runs: tuple[int, int], images: int, better: float, repetitions: int) -> Any:
    return (answers(random, runs, images, better) for _ in range(repetitions))


@pytest.mark.parametrize("repetitions", REPETITIONS)
def test_of_ten_true_null_hypotheses_holm_rejects_any_in_5_percent(repetitions):
    random = np.random.default_rng(5)
    corrected = [holm(random.uniform(size=10).tolist()) for _ in range(repetitions)]
    share = float(np.mean([min(p for p in family if p is not None) < 0.05 for family in corrected]))
    assert within(share, 0.05, repetitions)


def test_the_interval_of_a_ratio_holds_it_as_often_as_it_says():
    random = np.random.default_rng(0)
    drawn = [(np.exp(random.normal(1, 0.2, 4)), np.exp(random.normal(0.3, 0.1, 5))) for _ in range(1000)]
    intervals = [interval for a, b in drawn if (interval := ratio_interval(a.tolist(), b.tolist()))]
    assert 0.93 < np.mean([low < math.exp(0.7) < high for low, high in intervals]) < 0.98
    assert ratio_interval([1, 2], [3]) is None
    assert ratio_interval([0, 2], [3, 4]) is None


# --- seeds and images at once -----------------------------------------------------------------------------------------


def simulated(
    random: np.random.Generator, effects: np.ndarray, seeds: float, runs: int
) -> tuple[list[float], np.ndarray]:
    """Return accuracies and counts of correct runs of a group whose mean accuracy is 0.7 over all seeds and images.

    Args:
        random: generator.
        effects: what the images add to the probability of being classified correctly, (N,).
        seeds: standard deviation of what the seeds add.
        runs: number of runs.
    """
    chance = 0.7 + effects + random.normal(0, seeds, (runs, 1))
    right = random.random((runs, len(effects))) < chance
    return right.mean(axis=1).tolist(), right.sum(axis=0)


@pytest.mark.parametrize("repetitions", REPETITIONS)
@pytest.mark.parametrize(("runs_a", "runs_b"), [(3, 3), (5, 5), (10, 10), (20, 20), (3, 6)])
@pytest.mark.parametrize(("seeds", "images"), [(0.01, 0.0), (0.01, 0.1), (0.02, 0.2), (0.0, 0.2)])
def test_the_joint_test_is_wrong_in_5_percent_and_its_interval_covers_95(runs_a, runs_b, seeds, images, repetitions):
    random = np.random.default_rng(0)
    wrong = covered = 0
    for _ in range(repetitions):
        effects = random.normal(0, images / 2, 300)  # equal networks on average over all images, not over these
        a, right_a = simulated(random, effects, seeds, runs_a)
        b, right_b = simulated(random, -effects, seeds, runs_b)
        test = joint(a, right_a, b, right_b)
        assert test is not None
        wrong += test.p < 0.05
        covered += test.low <= 0 <= test.high
    print(f"{covered / repetitions:.2%} of {repetitions:,} intervals hold the truth")
    assert 0.93 <= covered / repetitions <= (0.975 if repetitions < 10_000 else 0.97)
    assert wrong == repetitions - covered


def test_equal_accuracies_by_chance_are_not_certain():
    random = np.random.default_rng(0)
    right = np.repeat([3, 2, 1, 0], 25)
    test = joint([0.5] * 3, right, [0.49] * 3, random.permutation(np.r_[right[:-3], 0, 0, 0]))
    assert test is not None
    assert test.p > 0.05
    assert test.low < 0 < test.high


def test_the_joint_test_needs_two_runs_and_some_noise():
    assert joint([0.5], np.array([1, 0]), [0.5, 0.5], np.array([2, 0])) is None
    assert joint([0.5, 0.5], np.array([2, 0]), [0.5, 0.5], np.array([2, 0])) is None


def test_the_interval_over_folds_allows_for_shared_training_images():
    values = [0.02, 0.01, 0.03, -0.01, 0.02]
    test = over_folds(values, 5)
    assert test is not None
    error = math.sqrt((1 / 5 + 1 / 4) * np.var(values, ddof=1))  # a fold has a quarter as many images as its training
    assert bounds(test) == pytest.approx(stats.t.interval(0.95, 4, np.mean(values), error))
    assert test.p == pytest.approx(2 * stats.t.sf(np.mean(values) / error, 4))
    assert test.p > 2 * stats.t.sf(np.mean(values) / stats.sem(values), 4)
    assert over_folds([0.1], 5) is None and over_folds([0.1, 0.1], 5) is None
