"""Fit a power law to the error over the number of training images, and say what more images would give.

The error falls as a * n^-b + c (Hestness et al. 2017, "Deep learning scaling is predictable, empirically"). With fewer
than four sizes there is no c. Logarithms are fitted by least squares; intervals are by the delta method and Student's
t.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import special
from scipy.optimize import least_squares

from cnnlab.comparison.group import Group
from cnnlab.comparison.names import in_words
from cnnlab.comparison.records import CurvePoint, ImagesCurve
from cnnlab.intervals import CONFIDENCE

FRACTION = "data.fraction"
LEAST_SIZES, SIZES_FOR_LIMIT = 3, 4  # for a curve, and for one with c
POINTS = 60  # of a drawn curve
SMALLEST_ERROR = 1e-6  # a run without any error has no logarithm


@dataclass(frozen=True)
class PowerLaw:
    """Error a * n^-b + c over the number n of training images."""

    a: float
    b: float
    c: float
    covariance: np.ndarray | None  # of the free ones of log a, b and c; None if no run is left to estimate it from
    degrees: int  # of freedom

    def accuracy(self, images: float) -> tuple[float, float | None, float | None]:
        """Return 1 - error for a number of training images, with the bounds of its 95 % interval."""
        error = self.a * images**-self.b + self.c
        if self.covariance is None:
            return 1 - error, None, None
        slopes = _slopes(self, np.array([images]))[0, : len(self.covariance)]
        half = math.sqrt(slopes @ self.covariance @ slopes) * special.stdtrit(self.degrees, (1 + CONFIDENCE) / 2)
        return 1 - error, max(0.0, 1 - error * math.exp(min(half, 50.0))), 1 - error * math.exp(-half)


def _slopes(law: PowerLaw, images: np.ndarray) -> np.ndarray:
    """Return the derivatives of the logarithm of the error by log a, b and c, (N, 3), for numbers of images (N,)."""
    power = law.a * images**-law.b
    return np.stack([power, -power * np.log(images), np.ones_like(power)], axis=1) / (power + law.c)[:, None]


def fit_power_law(images: Sequence[int], errors: Sequence[float]) -> PowerLaw | None:
    """Fit a power law to the errors of runs; None if they have fewer than three numbers of training images."""
    sizes = len(set(images))
    if sizes < LEAST_SIZES:
        return None
    n, log_n = np.array(images, dtype=float), np.log(images)
    logs = np.log(np.maximum(errors, SMALLEST_ERROR))
    slope, intercept = np.polyfit(log_n, logs, 1)
    lowest = float(np.exp(logs.min()))

    def residuals(values: np.ndarray) -> np.ndarray:
        log_a, b, c = (*values, 0.0)[:3]
        return np.log(np.exp(log_a) * n**-b + c) - logs

    best = least_squares(residuals, [intercept, -slope])
    if sizes >= SIZES_FOR_LIMIT:
        for share in (0.2, 0.5, 0.8):  # the fit may end in a valley beside the deepest one
            start = [math.log(max(np.exp(intercept) * (1 - share), SMALLEST_ERROR)), max(-slope, 0.1), share * lowest]
            found = least_squares(residuals, start, bounds=([-np.inf, 0, 0], [np.inf, 10, lowest]))
            if found.cost < best.cost * (1 - 1e-6) and found.x[2] > SMALLEST_ERROR:
                best = found
    log_a, b, c = (*best.x, 0.0)[:3]
    free = 3 if sizes >= SIZES_FOR_LIMIT else 2  # a c of 0 is uncertain too
    law = PowerLaw(math.exp(log_a), float(b), float(c), None, len(images) - free)
    if law.degrees < 1:
        return law
    slopes = _slopes(law, n)[:, :free]
    return replace(law, covariance=np.linalg.pinv(slopes.T @ slopes) * (2 * best.cost / law.degrees))


def images_curves(groups: Sequence[Group]) -> list[ImagesCurve]:
    """Return a curve for each set of groups that differ in the fraction alone and have at least three sizes."""
    series: dict[str, list[Group]] = defaultdict(list)
    for group in groups:
        settings = {key: value for key, value in group.all_settings.items() if key != FRACTION}
        series[repr(sorted(settings.items()))].append(group)
    curves = (_curve(members) for members in series.values())
    return [curve for curve in curves if curve]


def _curve(groups: Sequence[Group]) -> ImagesCurve | None:
    points = [(_count(run.summary["images"]), run.summary[group.figure]) for group in groups for run in group.runs]
    points = sorted((images, accuracy) for images, accuracy in points if images)
    law = fit_power_law([n for n, _ in points], [1 - accuracy for _, accuracy in points])
    if law is None:
        return None
    first = groups[0]
    label = first.label.replace(f", {in_words(FRACTION, first.all_settings[FRACTION])}", "")
    least, most = points[0][0], points[-1][0]
    smaller = [(n, accuracy) for n, accuracy in points if n < most]
    before = fit_power_law([n for n, _ in smaller], [1 - accuracy for _, accuracy in smaller])
    twice = (2 * most, *law.accuracy(2 * most))
    foretold = (most, *before.accuracy(most)) if before else None
    sentence = (
        f"{label}: error = {law.a:.3g} n^-{law.b:.3g}{f' + {law.c:.3g}' if law.c else ''}, fitted to {least:,} to "
        f"{most:,} training images; {_words(twice)}."
    )
    if foretold:
        measured = float(np.mean([accuracy for n, accuracy in points if n == most]))
        sentence += f" Without the largest size: {_words(foretold)}; measured: {measured:.1%}."
    return ImagesCurve(
        label=label,
        images=[n for n, _ in points],
        accuracies=[accuracy for _, accuracy in points],
        law={"a": law.a, "b": law.b, "c": law.c},
        curve=[(n, *law.accuracy(n)) for n in np.geomspace(least, 2 * most, POINTS).tolist()],
        twice=twice,
        foretold=foretold,
        sentence=sentence,
    )


def _count(images: object) -> int:
    """Return the number of training images in a record's `images`; 0 if it is not known."""
    count = images.get("train") if isinstance(images, dict) else None
    return count if type(count) is int else 0


def _words(point: CurvePoint) -> str:
    images, accuracy, low, high = point
    interval = "" if low is None else f" (95 % interval {low:.1%} to {high:.1%})"
    return f"{images:,} would give {accuracy:.1%}{interval}"
