"""Recognize labels that are wrong, and answers that are always the same."""

from collections.abc import Callable

import numpy as np

from cnnlab.doctor.answers import SIMPLE, Answers, answers, audit_command, guesses
from cnnlab.doctor.facts import Facts
from cnnlab.doctor.findings import Finding, NotMeasured

SIGMAS = 4.0  # standard errors; a rule is asked about many runs
FAR_OFF = 0.38  # mean place of the label, see `Answers.far_off`; networks that confuse classes have 0.1 to 0.3
WORSE = 0.03  # accuracy of the last epoch below that of the best one
FURTHER = 0.03  # of that place, beyond that of the test images
IMBALANCED = 3.0  # images of the largest class, in units of the median


def shuffled_labels(facts: Facts) -> Finding | None:
    """Find labels that neither a network nor a simple classifier finds in the images, or only in part."""
    found = _unrelated(facts) or _worse_than_test(facts) or _far_off(facts)
    if not found:
        return None
    confidence, evidence = found
    return Finding(
        "shuffled_labels",
        confidence,
        evidence,
        "Look at some images with their labels; an index or a sorted list of files may have got out of step.",
        audit_command(facts),
    )


def _unrelated(facts: Facts) -> tuple[float, str] | None:
    """Find labels that pixels say nothing about."""
    if _imbalance(facts) > IMBALANCED:  # the simple classifier answers with the largest class, too
        return None
    val, chance = guesses(facts, "val"), _largest(facts, "val")
    if max(val.accuracy, _best_validation(facts)) > chance + SIGMAS * _error(chance, len(val)):
        return None
    return 0.85 - max(0.0, val.accuracy - chance), (
        f"{SIMPLE}, gives {val.accuracy:.1%} of {len(val)} validation images their label; always the largest of the "
        f"{facts.classes} classes gives {chance:.1%}"
    )


def _best_validation(facts: Facts) -> float:
    """Return the highest validation accuracy of the run; 0 if there is none."""
    known = facts.curves.get("val/accuracy", np.array([]))
    return float(np.nanmax(known)) if np.isfinite(known).any() else 0.0


def _worse_than_test(facts: Facts) -> tuple[float, str] | None:
    """Find images of the training set that are less right than the test images, although they were not learned."""
    test = guesses(facts, "test")
    judge = f"{SIMPLE} (each of them without that image),"
    found = _gap(judge, guesses(facts, "train"), f"{len(guesses(facts, 'train')):,} training images", test)
    if found or facts.summary["protocol"] == "article":
        return found
    val = answers(facts, "val")
    if _best_validation(facts) - val.accuracy > WORSE:
        return None  # the test images were judged by the best epoch, which was another network
    return _gap(
        "the network", val, f"{len(val)} validation images, which are from the training set,", answers(facts, "test")
    )


def _gap(judge: str, held_out: Answers, images: str, test: Answers) -> tuple[float, str] | None:
    """Find answers that are less right, and further off, than those for the test images."""
    gap = test.accuracy - held_out.accuracy
    error = np.hypot(_error(held_out.accuracy, len(held_out)), _error(test.accuracy, len(test)))
    if gap < max(0.05, SIGMAS * error) or held_out.far_off < max(FAR_OFF - 0.1, test.far_off + FURTHER):
        return None
    return min(0.95, 0.6 + gap), (
        f"{judge} is right for {held_out.accuracy:.1%} of {images} and for {test.accuracy:.1%} of {len(test):,} test "
        f"images; {_place(held_out)}"
    )


def _far_off(facts: Facts) -> tuple[float, str] | None:
    """Find errors of a network that are not those of classes that look alike."""
    val, simple = answers(facts, "val"), guesses(facts, "val")
    wrong = 1 - val.accuracy
    if wrong * len(val) < 20 or val.accuracy < _largest(facts, "val") + 0.2 or val.far_off < FAR_OFF:
        return None
    if simple.accuracy > val.accuracy + 0.02 or simple.far_off < FAR_OFF - 0.05:  # then it is the network
        return None
    return min(0.9, 0.5 + val.far_off - FAR_OFF + wrong / 2), (
        f"the network is right for {val.accuracy:.1%} of {len(val)} validation images; {_place(val)}"
    )


def _place(val: Answers) -> str:
    return (
        f"where it is wrong, the label has the place {val.far_off:.2f} on average among the other classes, from 0, the "
        "second choice, to 1, the last: labels at random have 0.5, classes that look alike about 0.2"
    )


def largest_class(facts: Facts) -> Finding | None:
    """Find answers that are mostly the class with the most training images, although there are others."""
    counts = np.array(facts.data.class_counts)
    largest = int(counts.argmax())
    if _imbalance(facts) < IMBALANCED:
        return None
    table = answers(facts, "test").confusion() + answers(facts, "val").confusion()
    others = np.delete(np.arange(len(table)), largest)
    of_others = table[others].sum()
    if not of_others:
        raise NotMeasured("validation and test images are all of one class")
    right, absorbed = table[others, others].sum() / of_others, table[others, largest].sum() / of_others
    if absorbed < 0.3 or absorbed < 0.5 * (1 - right):
        return None
    name = facts.data.classes[largest]
    return Finding(
        "largest_class",
        float(min(0.95, 0.5 + absorbed / 2)),
        f"{counts[largest]:,} of {counts.sum():,} training images are of class {name}; the network gives this class to "
        f"{absorbed:.0%} of the {of_others:,} validation and test images of other classes, and {right:.0%} their own",
        "Let every class count the same in the loss, or show each equally often; judge by balanced accuracy.",
        facts.again("data.sampling=balanced", "select=val/balanced_accuracy"),
    )


def _imbalance(facts: Facts) -> float:
    """Return the number of training images of the largest class, in units of the median."""
    return float(max(facts.data.class_counts) / max(1, np.median(facts.data.class_counts)))


def _largest(facts: Facts, split: str) -> float:
    """Return the share of the largest class of a split."""
    labels = getattr(facts.data, split).labels
    return float(labels.bincount().max()) / len(labels)


def _error(share: float, count: int) -> float:
    """Return the standard error of a share."""
    return float(np.sqrt(max(share * (1 - share), 0.01) / count))


RULES: tuple[Callable[[Facts], Finding | None], ...] = (shuffled_labels, largest_class)
