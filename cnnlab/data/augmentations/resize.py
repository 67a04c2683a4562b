"""Resize whole batches, by the epoch or the share of the training that is done."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cnnlab.arguments import fits
from cnnlab.data.epoch import Epoch


@dataclass(frozen=True)
class Resize:
    """Train on smaller or larger images from some time on (progressive resizing)."""

    # Pairs of a time, and the height and width in pixels from then on. A time below 1 is a share of the training,
    # others are epochs.
    sizes: Sequence[Sequence[float]]

    stream = 0  # nothing is random here

    def __post_init__(self) -> None:
        valid = fits(self.sizes, list[list[float]]) and all(
            len(pair) == 2 and (0 <= pair[0] < 1 or pair[0] % 1 == 0 < pair[0]) and fits(pair[1], int) and pair[1] >= 1
            for pair in self.sizes
        )
        times = [pair[0] for pair in self.sizes] if valid else []
        if not valid or times != sorted(set(times)):
            problem = "[time, pixels] pairs with rising times, shares of the training (0.3) or epochs (2)"
            raise ValueError(f"sizes must be {problem}, got {self.sizes}")

    def draw(self, generator: torch.Generator, epoch: Epoch) -> dict[str, Any]:
        """Return `epoch`, its number, if sizes change."""
        return {"epoch": epoch.number} if self.sizes else {}

    def apply(self, images: Tensor, share: float, epoch: int) -> Tensor:
        """Resize images (B, C, H, W), with antialiasing, as this epoch and this share of the training demand."""
        began = (int(size) for time, size in reversed(self.sizes) if (share if time < 1 else epoch) >= time)
        size = next(began, images.shape[-1])
        if size == images.shape[-1]:
            return images
        resized = nn.functional.interpolate(images, size=(size, size), mode="bilinear", antialias=True)
        return resized.contiguous(memory_format=torch.channels_last)
