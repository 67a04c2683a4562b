"""Show training images as a network sees them."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from cnnlab.data.augment import Augmentation
from cnnlab.data.datamodule import ImageDataModule
from cnnlab.data.epoch import Epoch
from cnnlab.data.normalization import Normalization
from cnnlab.reports.gallery import Tile

SHOWN = 8  # images, and epochs of each


def augmented_views(data: ImageDataModule) -> list[list[Tile]]:
    """Return a row for each of eight training images, spread evenly: the image, and its form in the first epochs."""
    augmentation, positions = data.augmentation or Augmentation(), data.spread(SHOWN)
    labels = data.train.labels
    rows = [
        [_tile(image, name)]
        for image, name in zip(data.train.read(positions), _names(labels[positions], data.classes), strict=True)
    ]
    normalize = Normalization(data.mean, data.std, data.image_size)
    for number in range(SHOWN):
        draws = augmentation.draw(Epoch(len(data.train), data.image_size, data.seed, number))
        needed = augmentation.needed(positions, draws)
        prepared = augmentation.prepare(data.train.read(needed))
        images, targets = augmentation.apply(
            prepared, None, labels[needed], needed, draws, normalize, len(data.classes), batch=number
        )
        pixels = (images.permute(0, 2, 3, 1) * data.std + data.mean).mul(255).round().clamp(0, 255).to(torch.uint8)
        for row, image, name in zip(rows, pixels, _names(targets, data.classes), strict=True):
            row.append(_tile(image, f"epoch {number + 1}: {name}"))
    return rows


def describe_augmentation(options: Mapping[str, Any]) -> str:
    """Return the options that change images, as one would type them."""
    plain = Augmentation()
    changed = {name: value for name, value in options.items() if value and value != getattr(plain, name, value)}
    if "then" in changed:
        changed["then"] = [part["_target_"] for part in changed["then"]]
    return " ".join(f"{name}={value}" for name, value in changed.items()) or "no augmentation"


def _names(targets: Tensor, classes: tuple[str, ...]) -> list[str]:
    """Return the class of each image, or the classes that it is mixed of with their shares."""
    if targets.ndim == 1:
        return [classes[label] for label in targets.tolist()]
    mixed = [[(share, classes[place]) for place, share in enumerate(shares) if share] for shares in targets.tolist()]
    return [
        " + ".join(f"{share:.0%} {name}" if share < 1 else name for share, name in sorted(parts, reverse=True))
        for parts in mixed
    ]


def _tile(image: Tensor, caption: str) -> Tile:
    return Tile(image.numpy(), caption, ())
