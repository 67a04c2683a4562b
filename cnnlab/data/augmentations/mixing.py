"""Mix images and their labels with other images: mixup and CutMix."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cnnlab.data.augmentations.blanking import in_boxes
from cnnlab.data.epoch import Epoch


@dataclass(frozen=True)
class Mixing:
    """Mix each image with a partner, which a second permutation of the data set chooses.

    Both images are blended (mixup), or the partner replaces a box of the image (CutMix). torchvision's MixUp and CutMix
    mix neighbours in a batch instead, and draw one decision for the whole batch; then a batch would depend on the
    number of processes. See `Augmentation` for the attributes.
    """

    mixup: float
    cutmix: float
    probability: float

    stream = 4
    on_pixels = False

    @property
    def active(self) -> bool:
        """Return whether images are mixed."""
        return (self.mixup > 0 or self.cutmix > 0) and self.probability > 0

    def draw(self, generator: torch.Generator, epoch: Epoch) -> dict[str, Any]:
        """Draw the partner of each image and how they are mixed.

        Returns:
            `partner`: the other image, int64 (N,). `weight`: weight of the image itself outside of the box, in [0, 1],
            float32 (N,). `box`: top, left, bottom and right of the partner's box, int64 (N, 4).
        """
        if not self.active:
            return {}
        count, size = epoch.images, epoch.size
        partner = torch.randperm(count, generator=generator)
        mixed = torch.rand(count, generator=generator) < self.probability
        by_box = torch.full((count,), self.cutmix > 0)
        if self.mixup and self.cutmix:
            by_box = torch.rand(count, generator=generator) < 0.5
        # torch can draw from a Beta distribution with the global generator only.
        beta = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))

        def shares(alpha: float) -> Tensor:
            return torch.from_numpy(beta.beta(alpha, alpha, count)) if alpha else torch.ones(count)

        weight = torch.where(mixed & ~by_box, shares(self.mixup), 1).float()
        side = (size * (1 - shares(self.cutmix)).sqrt())[:, None]
        centre = torch.rand(count, 2, generator=generator) * size
        box = torch.cat([centre - side / 2, centre + side / 2], dim=1).round().long().clamp(0, size)
        return {"partner": partner, "weight": weight, "box": box * (mixed & by_box)[:, None]}

    def apply(self, images: Tensor, partner: Tensor, weight: Tensor, box: Tensor) -> Tensor:
        """Mix the first half of images (2B, C, H, W) with their partners, which are the second half."""
        images, others = images.tensor_split(2)
        return torch.where(in_boxes(box, images), others, torch.lerp(others, images, weight[:, None, None, None]))


def mix_labels(labels: Tensor, size: int, classes: int, partner: Tensor, weight: Tensor, box: Tensor) -> Tensor:
    """Return the share of each class in mixed images of this size in pixels: probabilities, float32 (B, classes).

    `labels` are class numbers of the images, then of their partners, int64 (2B,); the rest is drawn by `Mixing`.
    """
    labels, others = labels.tensor_split(2)
    top, left, bottom, right = box.unbind(1)
    share = weight * (1 - (bottom - top) * (right - left) / size**2)
    probabilities = torch.zeros(len(labels), classes, device=labels.device)
    probabilities.scatter_(1, labels[:, None], share[:, None])
    return probabilities.scatter_add_(1, others[:, None], 1 - share[:, None])
