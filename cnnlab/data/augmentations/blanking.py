"""Blank a part of each image: a square (cutout), or a random rectangle of some images (erasing)."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cnnlab.data.epoch import Epoch

# Zhong et al. 2017, "Random erasing data augmentation", algorithm 1. A rectangle that does not fit is drawn again,
# so that small ones are more frequent: 14.5 % of the image on average. By torchvision's rule, which moves them, 20 %.
AREA = (0.02, 0.4)  # share of the image
ASPECT = 0.3  # height / width is between this and its inverse
TRIES = 50  # to find a rectangle that fits; in the paper, without end


@dataclass(frozen=True)
class Cutout:
    """Set a square to the mean colour (DeVries and Taylor 2017). A part of it may lie outside of the image."""

    side: int

    stream = 1
    on_pixels = False

    def draw(self, generator: torch.Generator, epoch: Epoch) -> dict[str, Any]:
        """Draw `centres`, row and column of the middle of each square, int64 (N, 2)."""
        if self.side == 0:
            return {}
        return {"centres": torch.randint(0, epoch.size, (epoch.images, 2), generator=generator)}

    def apply(self, images: Tensor, centres: Tensor) -> Tensor:
        """Set the squares of normalized images (B, C, H, W) to 0, in place."""
        corners = centres - self.side // 2
        return images.masked_fill_(in_boxes(torch.cat([corners, corners + self.side], dim=1), images), 0)


@dataclass(frozen=True)
class Erasing:
    """Set a rectangle to the mean colour with some probability (Zhong et al. 2017)."""

    probability: float

    stream = 3
    on_pixels = False

    def draw(self, generator: torch.Generator, epoch: Epoch) -> dict[str, Any]:
        """Draw `boxes`, the rectangles as top, left, bottom and right, int64 (N, 4); empty ones blank nothing."""
        if self.probability == 0:
            return {}

        chosen = torch.rand(epoch.images, generator=generator) < self.probability
        boxes = torch.zeros(epoch.images, 4, dtype=torch.int64)
        missing = chosen.nonzero()[:, 0]
        for _ in range(TRIES):
            tries = self._draw_rectangles(len(missing), epoch.size, generator)
            fits = (tries[:, 2:] <= epoch.size).all(dim=1)
            boxes[missing[fits]] = tries[fits]
            missing = missing[~fits]
        return {"boxes": boxes}

    @staticmethod
    def _draw_rectangles(count: int, size: int, generator: torch.Generator) -> Tensor:
        """Draw rectangles, int64 (count, 4). Their corner lies anywhere, so that they may reach beyond the image."""
        area, aspect, top, left = torch.rand(4, count, generator=generator)
        area = (AREA[0] + (AREA[1] - AREA[0]) * area) * size**2
        aspect = ASPECT + (1 / ASPECT - ASPECT) * aspect
        top, left = (top * size).long(), (left * size).long()
        height, width = (area * aspect).sqrt().round().long(), (area / aspect).sqrt().round().long()
        return torch.stack([top, left, top + height, left + width], dim=1)

    def apply(self, images: Tensor, boxes: Tensor) -> Tensor:
        """Set the rectangles of normalized images (B, C, H, W) to 0, in place."""
        return images.masked_fill_(in_boxes(boxes, images), 0)


def in_boxes(boxes: Tensor, images: Tensor) -> Tensor:
    """Return which pixels of images (B, C, H, W) lie in their box (top, left, bottom, right): bool (B, 1, H, W)."""
    top, left, bottom, right = boxes[:, :, None].unbind(1)
    rows = torch.arange(images.shape[-2], device=images.device)
    columns = torch.arange(images.shape[-1], device=images.device)
    in_rows, in_columns = (rows >= top) & (rows < bottom), (columns >= left) & (columns < right)
    return (in_rows[:, :, None] & in_columns[:, None, :])[:, None]
