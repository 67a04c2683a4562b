"""Compare every two groups of a section: the difference, its significance, and the images on which they differ."""

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from cnnlab.comparison.group import Group
from cnnlab.comparison.grouping import Section
from cnnlab.comparison.records import PairRecord
from cnnlab.comparison.statistics import Test, holm, over_images, welch

SIGNIFICANT = 0.05
MAX_GROUPS_ALL_PAIRS = 60  # with more groups, each is compared with the best one only
GROUPS_WITH_IMAGES = 8  # the best groups; for their pairs the images on which they differ are listed
LISTED_IMAGES = 12  # of either kind for such a pair


def compare_pairs(section: Section) -> list[PairRecord]:
    """Compare every two groups, the better one first; of very many groups each with the best one only.

    P-values are corrected by Holm's method for the number of all pairs: the best group was not known beforehand.
    """
    groups, accuracies = section.groups, [group.accuracies for group in section.groups]
    places = list(itertools.combinations(range(len(groups)), 2))
    omitted = 0
    if len(groups) > MAX_GROUPS_ALL_PAIRS:
        omitted = len(places) - (len(groups) - 1)
        places = places[: len(groups) - 1]
    by_seeds = [welch(accuracies[i], accuracies[j]) for i, j in places]
    by_images = [_over_images(groups[i], groups[j]) for i, j in places]
    corrected = [holm([test and test.p for test in tests], omitted) for tests in (by_seeds, by_images)]
    pairs = []
    for number, (i, j) in enumerate(places):
        a, b = groups[i], groups[j]
        seeds = _plain(by_seeds[number], corrected[0][number])
        images = _plain(by_images[number], corrected[1][number])
        shown, method = (seeds, "Welch t, over seeds") if seeds else (images, "over test images")
        significant = _significant(seeds, images)
        pairs.append(
            PairRecord(
                a=a.label,
                b=b.label,
                difference=float(np.mean(accuracies[i]) - np.mean(accuracies[j])),
                low=shown["low"] if shown else None,
                high=shown["high"] if shown else None,
                interval=method if shown else None,
                seeds=seeds,
                images=images,
                significant=significant,
                verdict=verdict(seeds, images, one_seed_each=len(a.runs) == len(b.runs) == 1),
                **_differing_images(a, b, listed=j < GROUPS_WITH_IMAGES),
            )
        )
    return pairs


def verdict(seeds: Mapping[str, Any] | None, images: Mapping[str, Any] | None, one_seed_each: bool) -> str:
    """Return what the two tests of a difference show, in words.

    Args:
        seeds: test over the seeds, with `p_holm` and `difference`; None if it could not be made.
        images: test over the test images, likewise.
        one_seed_each: whether both groups have a single run.
    """
    if seeds is None and images is None:
        return "not tested"
    match _significant(seeds, images):
        case ["seeds", "images"]:
            return "better"
        case ["seeds"]:
            return "significant over seeds only; other images might differ"
        case ["images"] if one_seed_each:
            return "better for these two trained networks; one seed each cannot say more"
        case ["images"] if seeds is None:
            return "better for these trained networks; too few seeds to say more"
        case ["images"]:
            return "significant over images only; other seeds might differ"
    return "no significant difference"


def _significant(seeds: Mapping[str, Any] | None, images: Mapping[str, Any] | None) -> list[str]:
    # The images' test may have fewer runs than the seeds': both must point to the same side.
    tests = {"seeds": seeds, "images": images}
    return [name for name, test in tests.items() if test and test["p_holm"] < SIGNIFICANT and test["difference"] > 0]


def _differing_images(a: Group, b: Group, listed: bool) -> dict[str, Any]:
    """Count the images that most runs of only one group classify correctly, and list the clearest ones."""
    if not (a.scored_runs and b.scored_runs):
        return {"only_a": None, "only_b": None, "only_a_images": [], "only_b_images": []}
    shares = [group.correct / group.scored_runs for group in (a, b)]
    gap = shares[0] - shares[1]
    found: dict[str, Any] = {}
    for name, loser, better, worse, sign in (("only_a", b, 0, 1, 1), ("only_b", a, 1, 0, -1)):
        images = np.flatnonzero((shares[better] > 0.5) & (shares[worse] < 0.5))
        clearest = images[np.argsort(-sign * gap[images], kind="stable")][: LISTED_IMAGES if listed else 0]
        found[name] = len(images)
        found[f"{name}_images"] = [
            {"image": image, "true": int(loser.labels[image]), "instead": _most_frequent_mistake(loser, image)}
            for image in clearest.tolist()
        ]
    return found


def _most_frequent_mistake(group: Group, image: int) -> int:
    """Return the wrong class that most runs of a group predict for an image."""
    predicted = group.predicted[:, image]
    return int(np.bincount(predicted[predicted != group.labels[image]]).argmax())


def _over_images(a: Group, b: Group) -> Test | None:
    scored = a.scored_runs and b.scored_runs
    return over_images(a.correct, a.scored_runs, b.correct, b.scored_runs) if scored else None


def _plain(test: Test | None, corrected: float | None) -> dict[str, Any] | None:
    if test is None:
        return None
    bounds = {"low": test.interval.low, "high": test.interval.high}
    return {"difference": test.difference, **bounds, "p": test.p, "p_holm": corrected}
