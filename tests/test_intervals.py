"""The confidence interval of a share."""

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from cnnlab.intervals import wilson_interval


def test_the_interval_equals_one_computed_by_hand() -> None:
    """8 of 10: centre (0.8 + 1.9207 / 10) / 1.38415, half width 1.95996 sqrt(0.016 + 0.0096036) / 1.38415."""
    interval = wilson_interval(8, 10)
    assert (interval.low, interval.high) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)
    assert (interval.confidence, interval.method) == (0.95, "Wilson")


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (10, 10), (1, 2), (9123, 10000)])
def test_the_interval_equals_scipys_and_stays_within_0_and_1(successes: int, trials: int) -> None:
    interval, expected = wilson_interval(successes, trials), binomtest(successes, trials).proportion_ci(method="wilson")
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))
    assert interval.low >= 0
    assert interval.high <= 1


@pytest.mark.parametrize("share", [0.5, 0.9, 0.98])
def test_the_interval_holds_the_true_share_about_as_often_as_it_says(share: float) -> None:
    successes = np.arange(301)
    holds = [interval.low <= share <= interval.high for interval in (wilson_interval(int(n), 300) for n in successes)]
    assert float(binom.pmf(successes, 300, share)[holds].sum()) == pytest.approx(0.95, abs=0.02)
