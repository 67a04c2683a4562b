"""Recognize faults between the splits, and in the order of the images."""

import itertools
import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from cnnlab.doctor.answers import SIMPLE, answers, audit_command, guesses
from cnnlab.doctor.facts import Facts
from cnnlab.doctor.findings import Finding, Where

if TYPE_CHECKING:
    from cnnlab.data.images import Images

LEAKED = 0.01  # share of the images; CIFAR-10 has below 0.001 that are equal in training and test
COMPARED = 20_000  # images of a split, spread evenly
GREY = 16  # side of the grey copies that are compared
CLOSE = 0.995  # correlation of grey copies of the same picture, stored or scaled anew
MORE = 0.05  # share of near copies beyond those that the training images have among themselves
NEAR = 2000  # images of each split in which near copies are looked for: all pairs are compared
GROUPED = 0.05  # probability beyond chance that two images of a batch have the same class
SIGMAS = 4.0  # standard errors
TOGETHER = 5.5  # the same, of two judges


def exchanged_classes(facts: Facts) -> Finding | None:
    """Find two classes whose test images get each other's name, unlike the training images."""
    tables = {split: answers(facts, split).confusion() for split in ("test", "train")}
    test, train = (_shares(table) for table in tables.values())
    found = []
    for a, b in itertools.combinations(range(len(test)), 2):
        crossed, error = _crossed(tables["test"], a, b)
        if crossed > 0 and min(test[a, b], test[b, a]) > 0.3:
            is_clear = crossed > SIGMAS * error and _crossed(tables["train"], a, b)[0] < -0.3
            if is_clear or _is_exchanged_by_both(facts, a, b):
                found.append((crossed, a, b, is_clear))
    if not found:
        return None
    names, (_, a, b, is_clear) = facts.data.classes, max(found)
    pairs = " and ".join(f"{names[one]}/{names[other]}" for _, one, other, _ in found)
    too = "" if is_clear else f"; {SIMPLE}, exchanges them as well, but not in training images that it did not learn"
    return Finding(
        "exchanged_classes",
        float(min(0.97, 0.5 + (test[a, b] + test[b, a]) / 4)),
        f"{test[a, b]:.0%} of the test images of {names[a]} are called {names[b]}, and {test[b, a]:.0%} of those of "
        f"{names[b]} are called {names[a]}; of training images, {train[a, a]:.0%} and {train[b, b]:.0%} get their own "
        f"name (pairs: {pairs}){too}",
        "Compare the order of the class names of both splits.",
        f"cnnlab evaluate checkpoint={facts.run.path}",
    )


def _crossed(table: np.ndarray, a: int, b: int) -> tuple[float, float]:
    """Return how much more images of two classes get the other's name than their own, as shares, and its error."""
    (aa, ab, ba, bb), counts = table[[a, a, b, b], [a, b, a, b]], np.maximum(1, table.sum(1)[[a, b]])
    crossed = (ab - aa) / counts[0] + (ba - bb) / counts[1]
    return float(crossed), float(np.sqrt((aa + ab) / counts[0] ** 2 + (ba + bb) / counts[1] ** 2))


def _is_exchanged_by_both(facts: Facts, a: int, b: int) -> bool:
    """Return whether both judges, the network and a simple classifier, exchange two classes in the test images alone.

    Where each of them is weak, as for cats and dogs, both together may be clear.
    """
    sigmas = []
    for ask in (answers, guesses):
        (test, test_error), (train, error) = (_crossed(ask(facts, one).confusion(), a, b) for one in ("test", "train"))
        if test < 0 or train > 0:
            return False
        sigmas.append((test - train) / max(1e-6, np.hypot(test_error, error)))
    return min(sigmas) > TOGETHER / 3 and sum(sigmas) > TOGETHER


def _shares(table: np.ndarray) -> np.ndarray:
    return table / np.maximum(1, table.sum(1, keepdims=True))


def leaked_images(facts: Facts) -> Finding | None:
    """Find validation or test images that are among the training images, with the same pixels or nearly so."""
    data = facts.data
    train = {one.tobytes() for one in _pixels(data.train, COMPARED)}
    best: tuple[float, str] = (0.0, "")
    for split in ("val", "test"):
        images = getattr(data, split)
        if not len(images):
            continue
        own = [one.tobytes() for one in _pixels(images, COMPARED) if one.max() > one.min()]
        equal = sum(one in train for one in own)
        share = equal / max(1, len(own))
        text = f"{equal:,} of {len(own):,} {split} images ({share:.1%}) have the pixels of a training image"
        if share < LEAKED or equal < 3:
            share, text = facts.measure(
                f"near copies ({split})", lambda images=images, split=split: _near(facts, images, split)
            )
        best = max(best, (share, text))
    share, text = best
    if not text:
        return None
    return Finding(
        "leaked_images",
        float(min(0.99, 0.75 + share)),
        f"{text}; their accuracy says nothing about new images",
        "Leave the copies out of the training images; cnnlab audit lists them.",
        audit_command(facts),
    )


def _pixels(images: "Images", most: int) -> np.ndarray:
    """Return the pixels of images, uint8 (N, H, W, 3)."""
    places = torch.linspace(0, len(images) - 1, min(most, len(images)), dtype=torch.float64).long()
    return images.read(places).numpy()


def _near(facts: Facts, images: "Images", split: str) -> tuple[float, str]:
    """Return the share of a split with a near copy among training images, beyond theirs, and a text if it counts."""
    train, own = (_grey(_pixels(part, NEAR)) for part in (facts.data.train, images))
    among = train @ train.T
    among.fill_diagonal_(-1)
    usual, share = (float((found.amax(1) > CLOSE).float().mean()) for found in (among, own @ train.T))
    error = np.sqrt((share * (1 - share) + usual * (1 - usual)) / len(own))
    if share - usual < max(MORE, SIGMAS * error):
        return 0.0, ""
    return share - usual, (
        f"{share:.1%} of {len(own):,} {split} images have a near copy (a correlation above {CLOSE}) among "
        f"{len(train):,} training images, which have {usual:.1%} among themselves"
    )


def _grey(pixels: np.ndarray) -> Tensor:
    """Return small grey copies of images that are not constant, as rows of mean 0 and length 1, float32 (N, pixels)."""
    grey = nn.functional.adaptive_avg_pool2d(torch.from_numpy(pixels).float().mean(3)[:, None], GREY).flatten(1)
    rows = nn.functional.normalize(grey - grey.mean(1, keepdim=True), eps=1e-3)
    return rows[rows.square().sum(1) > 0.5]


def images_not_shuffled(facts: Facts) -> Finding | None:
    """Find batches that hold images of few classes, because the training images come in the order of their classes."""
    labels = [part if part.ndim == 1 else part.argmax(1) for _, part in facts.batches]
    labels = [part for part in labels if len(part) > 1]
    if not labels:
        return None
    counts = torch.stack([part.bincount(minlength=facts.classes) for part in labels]).double()
    sizes = counts.sum(1)
    same = float(((counts * (counts - 1)).sum(1) / (sizes * (sizes - 1))).mean())
    shares = counts.sum(0) / counts.sum()
    chance = float(shares.square().sum())
    # Pairs in a batch that have the same class by chance, as in a binomial distribution.
    error = float(torch.sqrt(2 * chance * (1 - chance) / (sizes * (sizes - 1)).sum()))
    if same - chance < max(GROUPED, SIGMAS * error):
        return None
    seen, usual = float((counts > 0).sum(1).double().mean()), float((1 - (1 - shares) ** sizes.mean()).sum())
    return Finding(
        "images_not_shuffled",
        float(min(0.98, 0.6 + (same - chance) / (1 - chance))),
        f"a batch of {sizes.mean():.0f} training images has {seen:.1f} classes on average, where shuffled images would "
        f"have {usual:.1f}; two images of a batch have the same class with a probability of {same:.0%} instead of "
        f"{chance:.0%}",
        "Shuffle the training images in every epoch, all of them and not only a buffer.",
        _with_own_loader(facts),
        Where("train/loss", 1, max(1, facts.epochs)),
    )


def _with_own_loader(facts: Facts) -> str:
    """Return the command of the run without what it says about reading images, but where they are."""
    words, kept = shlex.split(facts.again()), ("data.path", "data.batch_size", "data.image_size")
    return shlex.join(w for w in words if not w.lstrip("+~").startswith("data.") or w.partition("=")[0] in kept)


RULES: tuple[Callable[[Facts], Finding | None], ...] = (exchanged_classes, leaked_images, images_not_shuffled)
