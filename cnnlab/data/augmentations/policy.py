"""Change each image by operations drawn at random: TrivialAugment and RandAugment.

The operations are those of torchvision's `TrivialAugmentWide` and `RandAugment`, for whole batches. Pixels are computed
with whole numbers, so that every device makes the same images.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from cnnlab.data.augmentations.colour import blend, brighten, change_contrast, saturate
from cnnlab.data.augmentations.geometry import BITS, ONE, affine, pick
from cnnlab.data.epoch import Epoch

PolicyName = Literal["none", "trivial", "rand"]

LEVELS = 30  # of strength, beside none
# Operations with their greatest strength, in TrivialAugment's wide space (Mueller and Hutter 2021, table 7) and in
# RandAugment's (Cubuk et al. 2019): tangents, pixels (for RandAugment as a share of the side), degrees, distance of a
# factor from 1, lost bits, share of the values.
OPERATIONS: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("shear_x", "shear_y"), (0.99, 0.3)),
    **dict.fromkeys(("translate_x", "translate_y"), (32, 150 / 331)),
    "rotate": (135, 30),
    **dict.fromkeys(("brightness", "saturation", "contrast", "sharpness"), (0.99, 0.9)),
    "posterize": (6, 4),
    "solarize": (1, 1),
    **dict.fromkeys(("autocontrast", "equalize", "identity"), (0, 0)),
}


@dataclass(frozen=True)
class Policy:
    """Change each image by one operation of random strength, or by several of a given one.

    See `Augmentation` for the attributes.
    """

    name: PolicyName
    operations: int
    magnitude: int

    stream = 8
    on_pixels = True

    def draw(self, generator: torch.Generator, epoch: Epoch) -> dict[str, Any]:
        """Draw the operations of each image.

        Returns:
            `operation`: place in OPERATIONS, int64 (N, number of operations). `amount`: what it takes, int32 (N, number
            of operations, 6); see `amounts`.
        """
        if self.name == "none":
            return {}
        shape = (epoch.images, 1 if self.name == "trivial" else self.operations)
        operation = torch.randint(len(OPERATIONS), shape, generator=generator)
        level = torch.randint(LEVELS + 1, shape, generator=generator)
        sign = 2 * torch.randint(2, shape, generator=generator) - 1
        if self.name == "rand":
            level = torch.full(shape, self.magnitude)
        amount = torch.zeros(*shape, 6, dtype=torch.int32)
        for number, (name, (wide, narrow)) in enumerate(OPERATIONS.items()):
            chosen = operation == number
            most = wide if self.name == "trivial" else narrow * (epoch.size if "translate" in name else 1)
            strengths = (most * level[chosen] / LEVELS).double()
            amount[chosen] = amounts(name, strengths, sign[chosen], epoch.size)
        return {"operation": operation, "amount": amount}

    def apply(self, pixels: Tensor, operation: Tensor, amount: Tensor) -> Tensor:
        """Change images (B, H, W, C)."""
        shape = pixels.shape
        for operations, taken in zip(operation.unbind(1), amount.unbind(1), strict=True):
            kinds = (operations - AFFINE + 1).clamp(min=0)
            order, counts = kinds.argsort(), kinds.bincount(minlength=len(CHANGES)).tolist()
            ordered = pixels.reshape(len(pixels), -1).index_select(0, order).view(shape).split(counts)
            parts = zip(CHANGES, ordered, taken[order].split(counts), strict=True)
            changed = torch.cat([change(*part) if len(part[0]) else part[0] for change, *part in parts])
            pixels = changed.view(len(changed), -1).index_select(0, order.argsort()).view(shape)
        return pixels


def amounts(name: str, strengths: Tensor, signs: Tensor, size: int) -> Tensor:
    """Return what an operation takes: a matrix, or one number in the first column; int32 (N, 6), or (N, 1).

    Args:
        strengths: from 0 to the greatest strength of the operation, float64 (N,).
        signs: -1 or 1, for operations that have two directions.
        size: height and width of the images in pixels.
    """
    signed = strengths * signs
    if name == "shear_x":
        return affine(size, shear_x=signed, centre=0)
    if name == "shear_y":
        return affine(size, shear_y=signed, centre=0)
    if name == "translate_x":
        return affine(size, shift_x=signed.trunc())
    if name == "translate_y":
        return affine(size, shift_y=signed.trunc())
    if name == "rotate":
        return affine(size, angle=-signed)
    if name == "posterize":
        numbers = 256 - (1 << strengths.round().long())  # the bits that stay
    elif name == "solarize":
        numbers = (255 * (1 - strengths) - 1e-6).ceil()  # the least value that is inverted
    else:
        numbers = ((1 + signed) * ONE).round()  # a factor
    return numbers.int()[:, None]


def sharpen(pixels: Tensor, factors: Tensor) -> Tensor:
    """Move pixels away from the mean of their neighbours, in which they have a weight of 5; the border stays."""
    means = pixels.int()
    inner = 4 * means[:, 1:-1, 1:-1]
    sums = means[:, :-2] + means[:, 1:-1] + means[:, 2:]
    sums = sums[:, :, :-2] + sums[:, :, 1:-1] + sums[:, :, 2:] + inner
    means[:, 1:-1, 1:-1] = (sums + 6) * (ONE // 13 + 1) >> BITS  # a 13th, rounded
    return blend(pixels, means, factors)


def posterize(pixels: Tensor, masks: Tensor) -> Tensor:
    """Keep the highest bits of each value."""
    return pixels & masks.to(torch.uint8)[:, None, None, None]


def solarize(pixels: Tensor, thresholds: Tensor) -> Tensor:
    """Invert values from a threshold on, which is at most 255."""
    inverted = pixels >= thresholds.to(torch.uint8)[:, None, None, None]
    return inverted.to(torch.uint8).mul_(255).bitwise_xor_(pixels)


def autocontrast(pixels: Tensor) -> Tensor:
    """Stretch the values of each channel from black to white; a channel of one value stays."""
    images, height, width, channels = pixels.shape
    low, high = (extreme.int() for extreme in (pixels.amin(dim=(1, 2)), pixels.amax(dim=(1, 2))))
    spread, flat = (high - low).clamp(min=1), high == low
    # Rounded up, so that the whole part of the exact quotient comes out for every value.
    factors = torch.div(255 * ONE + spread - 1, spread, rounding_mode="floor").masked_fill(flat, ONE)
    # For whole rows: numbers that follow each other in memory are computed together.
    low, factors = (values[:, None].repeat(1, 1, width) for values in (low.masked_fill(flat, 0), factors))
    rows = pixels.reshape(images, height, width * channels).int()
    return rows.sub_(low).mul_(factors).bitwise_right_shift_(BITS).to(torch.uint8).view(pixels.shape)


def equalize(pixels: Tensor) -> Tensor:
    """Make all values of a channel equally frequent, as Pillow does; a channel of very few values stays."""
    images, height, width, channels = pixels.shape
    tables = torch.arange(images * channels, dtype=torch.int32, device=pixels.device).view(images, 1, channels)
    entries = pixels.reshape(images, height, width * channels) + 256 * tables.repeat(1, 1, width)
    counts = entries.view(-1).bincount(minlength=256 * images * channels).view(-1, 256)
    below = counts.cumsum(1)
    last = counts.gather(1, below.argmax(1, keepdim=True))  # frequency of the highest value
    step = torch.div(height * width - last, 255, rounding_mode="floor")
    table = torch.div(below - counts + step // 2, step.clamp(min=1), rounding_mode="floor").clamp_(max=255)
    table = torch.where(step > 0, table, torch.arange(256, device=pixels.device)).to(torch.uint8)
    return table.view(-1).index_select(0, entries.view(-1)).view(pixels.shape)


def _by_number(change: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda pixels, amount: change(pixels, amount[:, 0])


AFFINE = 5  # the first operations, which are one function
CHANGES: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (
    pick,
    *map(_by_number, (brighten, saturate, change_contrast, sharpen, posterize, solarize)),
    lambda pixels, _: autocontrast(pixels),
    lambda pixels, _: equalize(pixels),
    lambda pixels, _: pixels,
)
