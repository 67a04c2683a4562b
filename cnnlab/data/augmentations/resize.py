"""Resize whole batches, by the epoch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cnnlab.arguments import fits
from cnnlab.data.epoch import Epoch


@dataclass(frozen=True)
class Resize:
    """Train on smaller or larger images from some epochs on (progressive resizing)."""

    sizes: Sequence[Sequence[int]]  # pairs of an epoch, and the height and width in pixels from that epoch on

    stream = 0  # nothing is random here
    on_pixels = False

    def __post_init__(self) -> None:
        valid = fits(self.sizes, list[list[int]]) and all(
            len(pair) == 2 and pair[0] >= 0 and pair[1] >= 1 for pair in self.sizes
        )
        epochs = [pair[0] for pair in self.sizes] if valid else []
        if not valid or epochs != sorted(set(epochs)):
            raise ValueError(f"sizes must be [epoch, pixels] pairs with rising epochs, got {self.sizes}")

    def draw(self, generator: torch.Generator, epoch: Epoch) -> dict[str, Any]:
        """Return `size`, the height and width in this epoch."""
        size = next((pixels for first, pixels in reversed(self.sizes) if epoch.number >= first), epoch.size)
        return {} if size == epoch.size else {"size": size}

    def apply(self, images: Tensor, size: int) -> Tensor:
        """Resize images (B, C, H, W), with antialiasing."""
        resized = nn.functional.interpolate(images, size=(size, size), mode="bilinear", antialias=True)
        return resized.contiguous(memory_format=torch.channels_last)
