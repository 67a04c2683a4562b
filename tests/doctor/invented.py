"""Invent what the rules look at: images, and what a network says of them."""

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from cnnlab.data.augment import Augmentation
from cnnlab.data.datamodule import ImageDataModule
from cnnlab.data.images import Images
from cnnlab.data.loader import Loader
from cnnlab.data.normalization import Normalization
from cnnlab.doctor.answers import Answers
from cnnlab.doctor.facts import Facts
from cnnlab.runs.reading import Run
from cnnlab.runs.summary import SUMMARY_KEYS

CLASSES, SIDE, BATCH = 4, 16, 32
SPLITS = {"train": 400, "val": 200, "test": 200}


def pictures(count: int, seed: int) -> Images:
    """A bright spot in one corner of noise; the corner is the class, so mirrored images are of another class."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (count,), generator=generator)
    pixels = torch.randint(0, 60, (count, SIDE, SIDE, 3), generator=generator, dtype=torch.uint8)
    for number, label in enumerate(labels.tolist()):
        row, column = 8 * (label // 2), 8 * (label % 2)
        pixels[number, row + 2 : row + 6, column + 2 : column + 6] += 150
    return Images.decoded(pixels, labels)


def facts_of(
    splits: Mapping[str, Images] | None = None,
    answered: Mapping[str, Tensor] | None = None,
    augmentation: Augmentation | None = None,
    constants: tuple[float, float] | None = None,
    loader: Loader | None = None,
    **summary: Any,
) -> Facts:
    """Facts about a run that was trained on these images.

    `answered` holds the class that the network gives each image of a split; the others are answered rightly.
    `constants` are mean and deviation by which pixels are normalized.
    """
    given = {name: pictures(count, seed) for seed, (name, count) in enumerate(SPLITS.items())} | dict(splits or {})
    record = {"status": "completed", "protocol": "holdout", "data": "photos", "classes": list("abcd"), "macs": 1e6}
    run = Run(Path("run"), dict.fromkeys(SUMMARY_KEYS) | record | summary)
    facts = Facts(run, {"data": {"path": None}, "trainer": {"max_epochs": 1}, "augmentation": {}})
    mean, deviation = (torch.full((3,), value) for value in constants or (0.3, 0.3))
    order = (
        Loader(given["train"], BATCH, mean, deviation, augmentation, shuffle=True, classes=CLASSES)
        if loader is None
        else loader
    )
    data = {
        **given,
        "classes": tuple("abcd"),
        "class_counts": given["train"].labels.bincount(minlength=CLASSES).tolist(),
        **{"mean": mean, "std": deviation, "image_size": SIDE, "train_dataloader": lambda: order},
        "spread": lambda count: ImageDataModule.spread(SimpleNamespace(train=given["train"]), count),  # pyright: ignore
    }
    facts.__dict__["data"] = SimpleNamespace(**data)
    facts.__dict__["batches"] = list(order)
    facts.__dict__["images"] = [(Normalization(mean, deviation, SIDE)(given["train"].pixels), given["train"].labels)]
    for name, images in given.items():
        classes = (answered or {}).get(name, images.labels)
        logits = torch.rand(len(classes), CLASSES, generator=torch.Generator().manual_seed(3))
        logits[torch.arange(len(classes)), classes] += 2
        facts._kept[f"the network's answers ({name})"] = Answers(logits, images.labels)
    return facts
