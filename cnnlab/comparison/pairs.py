"""Every two groups of a section: the difference, whether it is more than noise, and the images that it comes from."""

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from cnnlab.comparison.grouping import Group, Section
from cnnlab.comparison.statistics import Test, holm, over_images, welch

SIGNIFICANT = 0.05
ALL_PAIRS = 60  # groups; of more, each is compared with the best one alone
PICTURED = 8  # groups, the best first, for whose pairs the images are listed on which they differ
LISTED = 12  # images of either kind for such a pair


def compare_pairs(section: Section) -> list[dict[str, Any]]:
    """Every two groups, the better one first; of very many groups each with the best one alone.

    P-values are corrected by Holm's method for the number of all pairs: the best one was not known beforehand.
    """
    groups, accuracies = section.groups, [group.accuracies for group in section.groups]
    places = list(itertools.combinations(range(len(groups)), 2))
    omitted = 0
    if len(groups) > ALL_PAIRS:
        told = places[: len(groups) - 1]
        places, omitted = told, len(places) - len(told)
    by_seeds = [welch(accuracies[i], accuracies[j]) for i, j in places]
    by_images = [_over_images(groups[i], groups[j]) for i, j in places]
    corrected = [holm([test and test.p for test in tests], omitted) for tests in (by_seeds, by_images)]
    pairs = []
    for number, (i, j) in enumerate(places):
        a, b = groups[i], groups[j]
        seeds = _test(by_seeds[number], corrected[0][number])
        images = _test(by_images[number], corrected[1][number])
        shown, method = (seeds, "Welch t, over seeds") if seeds else (images, "over test images")
        pairs.append(
            {
                "a": a.label,
                "b": b.label,
                "difference": float(np.mean(accuracies[i]) - np.mean(accuracies[j])),
                "low": shown and shown["low"],
                "high": shown and shown["high"],
                "interval": method if shown else None,
                "seeds": seeds,
                "images": images,
                "verdict": _verdict(seeds, images),
                **_differing(a, b, listed=j < PICTURED),
            }
        )
    return pairs


def _differing(a: Group, b: Group, listed: bool) -> dict[str, Any]:
    """The images that most runs of one group get right and most of the other wrong: how many, and the clearest."""
    if not (a.scored and b.scored):
        return {"only_a": None, "only_b": None, "only_a_images": [], "only_b_images": []}
    shares = [group.right / group.scored for group in (a, b)]
    gap = shares[0] - shares[1]
    found: dict[str, Any] = {}
    for name, loser, better, worse, sign in (("only_a", b, 0, 1, 1), ("only_b", a, 1, 0, -1)):
        images = np.flatnonzero((shares[better] > 0.5) & (shares[worse] < 0.5))
        clearest = images[np.argsort(-sign * gap[images], kind="stable")][: LISTED if listed else 0]
        found[name] = len(images)
        found[f"{name}_images"] = [
            {"image": image, "true": int(loser.labels[image]), "instead": _mistake(loser, image)}
            for image in clearest.tolist()
        ]
    return found


def _mistake(group: Group, image: int) -> int:
    """The wrong class that most runs of a group give an image."""
    given = group.predicted[:, image]
    return int(np.bincount(given[given != group.labels[image]]).argmax())


def _over_images(a: Group, b: Group) -> Test | None:
    return over_images(a.right, a.scored, b.right, b.scored) if a.scored and b.scored else None


def _test(test: Test | None, corrected: float | None) -> dict[str, Any] | None:
    if test is None:
        return None
    interval = test.interval
    return {
        "difference": test.difference,
        "low": interval.low,
        "high": interval.high,
        "p": test.p,
        "p_holm": corrected,
    }


def _verdict(seeds: Mapping[str, Any] | None, images: Mapping[str, Any] | None) -> str:
    """Whether a difference is more than noise, and which noise.

    `better`: over seeds and over images. `better with these seeds`: these trained networks differ on images of this
    kind; that other seeds would show the same was not shown. `better on these images`: other seeds would show it on
    these test images; that other images would was not shown. `no difference shown`: neither; `not tested`: no figures.
    """
    if seeds is None and images is None:
        return "not tested"
    # The images' test may be of fewer runs than the seeds': both must point to the same side.
    found = [test is not None and test["p_holm"] < SIGNIFICANT and test["difference"] > 0 for test in (seeds, images)]
    if all(found):
        return "better"
    if any(found):
        return "better on these images" if found[0] else "better with these seeds"
    return "no difference shown"
