"""Compare every two groups of a section: the difference, its significance, and the images on which they differ."""

import itertools
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from cnnlab.comparison.group import Group, kind_of
from cnnlab.comparison.grouping import Section
from cnnlab.comparison.power import plan_pair
from cnnlab.comparison.records import PairRecord
from cnnlab.comparison.statistics import Test, holm, joint, over_folds, over_images, welch

SIGNIFICANT = 0.05
MAX_GROUPS_ALL_PAIRS = 60  # with more groups, each is compared with the best one only
GROUPS_WITH_IMAGES = 8  # the best groups; for their pairs the images on which they differ are listed
LISTED_IMAGES = 12  # of either kind for such a pair

Tested = dict[str, Any] | None  # a test as a dictionary, with its corrected p-value `p_holm`


def compare_pairs(section: Section, plan: float | None = None) -> list[PairRecord]:
    """Compare every two groups, the better one first; of very many groups each with the best one only.

    `plan` is a difference, a fraction, for which each pair gets the number of seeds that would show it.

    P-values are corrected by Holm's method for the number of all pairs: the best group was not known beforehand.
    """
    groups = section.groups
    every = list(itertools.combinations(groups, 2))
    pairs = every[: len(groups) - 1] if len(groups) > MAX_GROUPS_ALL_PAIRS else every
    omitted = len(every) - len(pairs)
    tests = [_tests(a, b) for a, b in pairs]
    corrected = [_corrected([its[kind] for its in tests], omitted) for kind in range(3)]
    with_images = [group.label for group in groups[:GROUPS_WITH_IMAGES]]
    return [
        _pair(a, b, seeds, images, both, plan, listed=LISTED_IMAGES if b.label in with_images and not a.folds else 0)
        for (a, b), seeds, images, both in zip(pairs, *corrected, strict=True)
    ]


def _corrected(tests: Sequence[Test | None], omitted: int) -> list[dict[str, Any] | None]:
    """Return the tests as dictionaries, each with its p-value by Holm's method, `p_holm`."""
    p_values = holm([test and test.p for test in tests], omitted)
    return [test and {**asdict(test), "p_holm": p} for test, p in zip(tests, p_values, strict=True)]


def _pair(
    a: Group, b: Group, seeds: Tested, images: Tested, both: Tested, plan: float | None, listed: int
) -> PairRecord:
    power = plan_pair(a, b, plan)
    both_method = "t, over folds" if a.folds else "t, over seeds and test images"
    methods = ((both, both_method), (seeds, "Welch t, over seeds"), (images, "over test images"))
    shown, method = next(((test, method) for test, method in methods if test), (None, None))
    only_a, only_a_images = _only_correct(a, b, listed)
    only_b, only_b_images = _only_correct(b, a, listed)
    return PairRecord(
        a=a.label,
        b=b.label,
        difference=float(np.mean(a.accuracies) - np.mean(b.accuracies)),
        low=shown["low"] if shown else None,
        high=shown["high"] if shown else None,
        interval=method,
        seeds=seeds,
        images=images,
        joint=both,
        power=power and asdict(power),
        significant=_significant(seeds, images, both),
        verdict=verdict(seeds, images, both, one_seed_each=len(a.runs) == len(b.runs) == 1),
        only_a=only_a,
        only_b=only_b,
        only_a_images=only_a_images,
        only_b_images=only_b_images,
    )


def verdict(seeds: Tested, images: Tested, both: Tested, one_seed_each: bool) -> str:
    """Return what the tests of a difference over seeds, images and both show; None is a test that could not be made."""
    if seeds is None and images is None:
        return "not tested"
    match _significant(seeds, images, both):
        case [*_, "joint"]:
            return "better"
        case ["seeds", "images"]:
            return "significant over seeds and over images, not over both at once"
        case ["seeds"]:
            return "significant over seeds only; other images might differ"
        case ["images"] if seeds is None and both:
            return "significant over images only; other folds or seeds might differ"
        case ["images"] if one_seed_each:
            return "better for these two trained networks; one seed each cannot say more"
        case ["images"] if seeds is None:
            return "better for these trained networks; too few seeds to say more"
        case ["images"]:
            return "significant over images only; other seeds might differ"
    return "no significant difference"


def _significant(seeds: Tested, images: Tested, both: Tested) -> list[str]:
    # Some tests may have fewer runs than others: all must point to the same side.
    tests = {"seeds": seeds, "images": images, "joint": both}
    return [name for name, test in tests.items() if test and test["p_holm"] < SIGNIFICANT and test["difference"] > 0]


def _only_correct(right: Group, wrong: Group, listed: int) -> tuple[int | None, list[dict[str, int]]]:
    """Count the images that most runs of only the first group classify correctly, and list the clearest ones."""
    if not _share_images(right, wrong):
        return None, []
    shares, others = right.correct / right.scored_runs, wrong.correct / wrong.scored_runs
    images = np.flatnonzero((shares > 0.5) & (others < 0.5))
    clearest = images[np.argsort((others - shares)[images], kind="stable")][:listed]
    entries = [
        {"image": image, "true": int(wrong.labels[image]), "instead": _most_frequent_mistake(wrong, image)}
        for image in clearest.tolist()
    ]
    return len(images), entries


def _most_frequent_mistake(group: Group, image: int) -> int:
    """Return the wrong class that most runs of a group predict for an image."""
    predicted = group.predicted[:, image]
    return int(np.bincount(predicted[predicted != group.labels[image]]).argmax())


def _share_images(a: Group, b: Group) -> bool:
    """Return whether two groups can be compared image by image."""
    return bool(a.scored_runs and b.scored_runs) and np.array_equal(a.labels, b.labels)


def _tests(a: Group, b: Group) -> tuple[Test | None, Test | None, Test | None]:
    """Test a difference over seeds, over images, and over both, or fold by fold: a fold has the same images for both.

    Only the accuracy is a mean over the images.
    """
    scored = kind_of(a.figure) == "accuracy" and _share_images(a, b)
    images = over_images(a.correct, a.scored_runs, b.correct, b.scored_runs) if scored else None
    if a.folds:
        first, second = a.by_draw, b.by_draw
        return None, images, over_folds([first[its] - second[its] for its in first if its in second], a.folds)
    both = joint(a.scored_accuracies, a.correct, b.scored_accuracies, b.correct) if scored else None
    return welch(a.accuracies, b.accuracies), images, both
