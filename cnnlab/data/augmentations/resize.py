"""Resize whole batches, by the epoch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cnnlab.data.epoch import Epoch


@dataclass(frozen=True)
class Resize:
    """Train on smaller or larger images from some epochs on (progressive resizing).

    Attributes:
        sizes: pairs of an epoch and the height and width in pixels from that epoch on.
    """

    sizes: Sequence[Sequence[int]]

    stream = 0  # nothing is random here
    on_pixels = False

    def __post_init__(self) -> None:
        if not _are_sizes(self.sizes):
            raise ValueError(f"sizes must be [epoch, pixels] pairs with rising epochs, got {self.sizes}")

    def draw(self, generator: torch.Generator, epoch: Epoch) -> dict[str, Any]:
        """Return `size`, the height and width in this epoch."""
        size = next((pixels for first, pixels in reversed(self.sizes) if epoch.number >= first), epoch.size)
        return {} if size == epoch.size else {"size": size}

    def apply(self, images: Tensor, size: int) -> Tensor:
        """Resize images (B, C, H, W), with antialiasing."""
        resized = nn.functional.interpolate(images, size=(size, size), mode="bilinear", antialias=True)
        return resized.contiguous(memory_format=torch.channels_last)


def _are_sizes(sizes: Any) -> bool:
    """Return whether the value is a sequence of [epoch, pixels] pairs with rising epochs."""
    if not isinstance(sizes, Sequence):
        return False
    for pair in sizes:
        numbers = isinstance(pair, Sequence) and all(isinstance(number, int) for number in pair)
        if not numbers or len(pair) != 2 or pair[0] < 0 or pair[1] < 1:
            return False
    epochs = [epoch for epoch, _ in sizes]
    return epochs == sorted(set(epochs))
