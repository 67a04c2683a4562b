"""Flip images left to right."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from cnnlab.data.epoch import Epoch, seeded_generator

FlipMode = Literal["none", "random", "alternating"]


@dataclass(frozen=True)
class Flip:
    """Flip images left to right, at random or in every second epoch."""

    mode: FlipMode

    stream = 1
    on_pixels = True

    def draw(self, generator: torch.Generator, epoch: Epoch) -> dict[str, Any]:
        """Draw `flipped`, which images are flipped, bool (N,)."""
        if self.mode == "none":
            return {}
        if self.mode == "random":
            return {"flipped": torch.rand(epoch.images, generator=generator) < 0.5}
        in_first_epoch = torch.rand(epoch.images, generator=seeded_generator(epoch.seed, 0, stream=2)) < 0.5
        return {"flipped": in_first_epoch if epoch.number % 2 == 0 else ~in_first_epoch}

    def apply(self, pixels: Tensor, flipped: Tensor) -> Tensor:
        """Flip the chosen images (B, H, W, C)."""
        return torch.where(flipped[:, None, None, None], pixels.flip(2), pixels)
