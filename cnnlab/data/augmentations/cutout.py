"""Blank a square of each image."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cnnlab.data.augmentations.boxes import in_boxes
from cnnlab.data.epoch import Epoch


@dataclass(frozen=True)
class Cutout:
    """Set a square to the mean colour (DeVries and Taylor 2017). A part of it may lie outside of the image."""

    side: int

    stream = 1
    on_pixels = False

    def __post_init__(self) -> None:
        if self.side < 0:
            raise ValueError(f"cutout must be 0 or more pixels, got {self.side}")

    def draw(self, generator: torch.Generator, epoch: Epoch) -> dict[str, Any]:
        """Draw `centres`, row and column of the middle of each square, int64 (N, 2)."""
        if self.side == 0:
            return {}
        return {"centres": torch.randint(0, epoch.size, (epoch.images, 2), generator=generator)}

    def apply(self, images: Tensor, centres: Tensor) -> Tensor:
        """Set the squares of normalized images (B, C, H, W) to 0, in place."""
        corners = centres - self.side // 2
        return images.masked_fill_(in_boxes(torch.cat([corners, corners + self.side], dim=1), images), 0)
