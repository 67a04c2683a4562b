"""Recognize networks that learn too much by heart or too little, and scores that say less than they seem to."""

from collections.abc import Callable

import numpy as np

from cnnlab.doctor.facts import Facts
from cnnlab.doctor.findings import Finding, Where, sure

GAP = 0.2  # between the accuracies of training and validation
RISEN = 1.2  # validation loss at the end, in units of its least


def overfitting(facts: Facts) -> Finding | None:
    """A validation loss that rises while the training loss falls."""
    train, val = facts.curve("train/accuracy"), facts.curve("val/accuracy")
    losses = facts.curve("val/loss")
    known = np.flatnonzero(np.isfinite(losses))
    if facts.diverged or not len(known):
        return None
    last, least = int(known[-1]), int(np.nanargmin(losses))
    gap, risen = float(train[last] - val[last]), float(losses[last] / losses[least])
    if gap < GAP or risen < RISEN:
        return None
    return Finding(
        "overfitting",
        sure(1 / (risen * (1 + gap)), 0.95, 0.5),
        f"the validation loss rose from {losses[least]:.2f} in epoch {least + 1} to {losses[last]:.2f}; in the end "
        f"{train[last]:.1%} of the training images are right, and {val[last]:.1%} of the validation images",
        "Augment the images, get more of them, or stop earlier.",
        facts.again("augmentation.pad=4", "callbacks=early_stopping"),
        Where("val/loss", least + 1, last + 1),
    )


def underfitting(facts: Facts) -> Finding | None:
    """Training images that are not learned although the loss falls steadily, or does not fall any more."""
    if facts.diverged or facts.at_chance:
        return None
    seen = facts.score("end")
    val = facts.curve("val/accuracy")
    if seen.accuracy > 0.8 or seen.accuracy - float(np.nanmax(val)) > 0.1:
        return None
    losses = facts.curve("train/loss")
    falls = len(losses) > 1 and losses[-1] < losses[-2] - 0.01
    return Finding(
        "underfitting",
        sure(seen.accuracy, 0.7, 0.3),
        f"the network gives {seen.accuracy:.1%} of its own training images the right class, and {np.nanmax(val):.1%} "
        f"of the validation images; the training loss {'was still falling' if falls else 'no longer fell'}",
        "Train longer, with a larger network, or with less augmentation, dropout and label smoothing.",
        facts.again(f"trainer.max_epochs={3 * max(1, facts.epochs)}"),
        Where("train/accuracy", 1, facts.epochs),
    )


def selected_on_test(facts: Facts) -> Finding | None:
    """A best epoch that was chosen on the images that it is tested on."""
    if facts.summary["protocol"] != "article":
        return None
    val = facts.curve("val/accuracy")
    best, late = float(np.nanmax(val)), float(np.nanmean(val[-5:]))
    return Finding(
        "selected_on_test",
        0.6,
        f"protocol=article chooses the best epoch on the test images: it has {best:.1%} there, and the last epochs "
        f"have {late:.1%} on average; the difference may be luck",
        "Select on images that are held out.",
        facts.again("protocol=holdout"),
        Where("val/accuracy", int(np.nanargmax(val)) + 1, int(np.nanargmax(val)) + 1),
    )


RULES: tuple[Callable[[Facts], Finding | None], ...] = (overfitting, underfitting, selected_on_test)
