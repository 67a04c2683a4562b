"""Crop windows out of padded images."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from cnnlab.data.epoch import Epoch

PaddingMode = Literal["reflect", "zeros"]


@dataclass(frozen=True)
class Crop:
    """Take a window of the original size out of each padded image.

    Cropping is also how a batch is gathered from the data set, so it always comes first. See `Augmentation` for the
    attributes.
    """

    pad: int
    padding_mode: PaddingMode

    stream = 1

    def prepare(self, pixels: Tensor) -> Tensor:
        """Pad images (N, H, W, C) on each side; reflection needs images larger than `pad`."""
        if self.pad == 0:
            return pixels
        n, h, w, c = pixels.shape
        p = self.pad
        out = pixels.new_zeros(n, h + 2 * p, w + 2 * p, c)
        out[:, p:-p, p:-p] = pixels
        if self.padding_mode == "reflect":  # rows first, so that the columns also fill the corners
            out[:, :p] = out[:, p + 1 : 2 * p + 1].flip(1)
            out[:, -p:] = out[:, -2 * p - 1 : -p - 1].flip(1)
            out[:, :, :p] = out[:, :, p + 1 : 2 * p + 1].flip(2)
            out[:, :, -p:] = out[:, :, -2 * p - 1 : -p - 1].flip(2)
        return out

    def draw(self, generator: torch.Generator, epoch: Epoch) -> dict[str, Any]:
        """Draw `corners`, the top left corner of each window in the padded image, int64 (N, 2)."""
        if self.pad == 0:
            return {}
        return {"corners": torch.randint(0, 2 * self.pad + 1, (epoch.images, 2), generator=generator)}

    def apply(self, padded: Tensor, rows: Tensor | None, corners: Tensor | None = None) -> Tensor:
        """Return the windows (B, H, W, C) of the images at `rows`, int64 (B,); None takes all images in their order."""
        if corners is None:
            return padded if rows is None else padded[rows]
        if rows is None:
            rows = torch.arange(len(padded), device=padded.device)
        size = padded.shape[1] - 2 * self.pad
        windows = padded.unfold(1, size, 1).unfold(2, size, 1).permute(0, 1, 2, 4, 5, 3)
        return windows[rows, corners[:, 0], corners[:, 1]]
