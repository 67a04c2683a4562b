"""Recognize networks that learn too much by heart or too little, and scores that say less than they seem to."""

import math
from collections.abc import Callable

import numpy as np

from cnnlab.doctor.facts import Facts
from cnnlab.doctor.findings import Finding, Where, sure

GAP = 0.1  # between the accuracies of training and validation
SMALL_GAP = 0.035  # the same, where the training images are learned by heart
BY_HEART = 0.05  # training loss in units of the validation loss; healthy networks have 0.5 and more
BELOW = 0.6  # accuracy, as a share of that of a linear classifier of the pixels; slow networks are soon above it
SMALL = 2 * 193  # weights for each class, twice those of that linear classifier: 8 x 8 pixels of three colours, a bias
FEW = 2  # epochs, in which hardly anything is learned from scratch


def overfitting(facts: Facts) -> Finding | None:
    """Find a training loss that is far below the validation loss, or falls on when that no longer does."""
    train, val = facts.curve("train/accuracy"), facts.curve("val/accuracy")
    losses, own = facts.curve("val/loss"), facts.curve("train/loss")
    known = np.flatnonzero(np.isfinite(losses))
    if facts.diverged or facts.rehearsed or not len(known):
        return None
    last, least = int(known[-1]), int(np.nanargmin(losses))
    gap = float(train[last] - val[last])
    by_heart = gap > SMALL_GAP and own[last] < BY_HEART * losses[last]
    if not by_heart and (gap < GAP or own[last] > 0.5 * own[least]):
        return None
    return Finding(
        "overfitting",
        sure(1 - 2 * gap, 0.95, 0.5),
        f"the training loss fell to {own[last]:.3f}, and the validation loss is {losses[last]:.2f} (lowest in epoch "
        f"{least + 1}, with {losses[least]:.2f}); {train[last]:.1%} of the training images are right, and "
        f"{val[last]:.1%} of the validation images",
        "Augment the images, get more of them, or use more weight decay or dropout.",
        facts.again("augmentation.pad=4", "callbacks=early_stopping"),
        Where("val/loss", least + 1, last + 1),
    )


def underfitting(facts: Facts) -> Finding | None:
    """Find training images that are not learned: worse than by a linear classifier, or in one or two epochs."""
    from cnnlab.doctor.answers import guesses

    if facts.diverged or facts.rehearsed:
        return None
    val, score = float(np.nanmax(facts.curve("val/accuracy"))), facts.score("end")
    if score.accuracy > 0.9 or score.accuracy - val > 0.15:
        return None
    linear = guesses(facts, "val").accuracy
    is_small = (facts.summary["parameters"] or math.inf) < SMALL * facts.classes and val < linear
    if val > BELOW * linear and facts.epochs > FEW and not is_small:
        return None
    return Finding(
        "underfitting",
        sure(1 - (linear - val), 0.75, 0.45),
        f"after {facts.epochs} epochs ({facts.summary['steps'] or 0:,} steps), the network of "
        f"{facts.summary['parameters'] or 0:,} weights gives {score.accuracy:.1%} "
        f"of its own training images the right class, and {val:.1%} of the validation images; a linear classifier of "
        f"their pixels gets {linear:.1%} right",
        "Train longer, with a larger network, or with less augmentation and dropout.",
        facts.again(f"trainer.max_epochs={3 * max(1, facts.epochs)}"),
        Where("train/accuracy", 1, facts.epochs),
    )


def selected_on_test(facts: Facts) -> Finding | None:
    """Find a best epoch that was chosen on the images that it is tested on."""
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
