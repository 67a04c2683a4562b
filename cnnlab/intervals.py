"""Compute confidence intervals of a share, such as an accuracy."""

from dataclasses import dataclass
from statistics import NormalDist

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """Range that holds the true value in 95 % of all experiments."""

    low: float
    high: float
    confidence: float = CONFIDENCE  # share of such intervals that hold the true value
    method: str = "Wilson"  # that computed it


def wilson_interval(successes: int, trials: int, confidence: float = CONFIDENCE) -> Interval:
    """Return the score interval of the share of 0 to `trials` successes in 1 or more trials (Wilson 1927).

    Unlike the usual interval it stays in [0, 1], and it holds for few trials.
    """
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, weight = successes / trials, z**2 / trials
    centre = (share + weight / 2) / (1 + weight)
    half = z * (share * (1 - share) / trials + weight / (4 * trials)) ** 0.5 / (1 + weight)
    return Interval(max(0.0, centre - half), min(1.0, centre + half), confidence)
