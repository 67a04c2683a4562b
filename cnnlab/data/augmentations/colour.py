"""Change brightness, contrast, saturation and hue, of each image by amounts of its own.

Pixels are computed with whole numbers, so that every device makes the same images. Amounts are whole numbers, too:
65,536 stands for 1.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cnnlab.data.augmentations.geometry import BITS, ONE
from cnnlab.data.epoch import Epoch

LUMA = (19595, 38470, 7471)  # shares of red, green and blue in grey (ITU-R BT.601), as in Pillow


@dataclass(frozen=True)
class Colour:
    """Change brightness, contrast, saturation and hue, in this order. See `Augmentation` for the attributes."""

    brightness: float
    contrast: float
    saturation: float
    hue: float
    grey: float

    stream = 7
    on_pixels = True

    def draw(self, generator: torch.Generator, epoch: Epoch) -> dict[str, Any]:
        """Draw factors of `brightness`, `contrast` and `saturation`, and parts of a turn of `hue`, int32 (N,) each."""
        amounts = 2 * torch.rand(4, epoch.images, generator=generator) - 1
        made_grey = torch.rand(epoch.images, generator=generator) < self.grey
        brightness, contrast, saturation, hue = (
            (amount * most * ONE).round().int()
            for amount, most in zip(amounts, (self.brightness, self.contrast, self.saturation, self.hue), strict=True)
        )
        drawn = {
            "brightness": ONE + brightness if self.brightness else None,
            "contrast": ONE + contrast if self.contrast else None,
            "saturation": (ONE + saturation).masked_fill(made_grey, 0) if self.saturation or self.grey else None,
            "hue": hue if self.hue else None,
        }
        return {name: values for name, values in drawn.items() if values is not None}

    def apply(
        self,
        pixels: Tensor,
        brightness: Tensor | None = None,
        contrast: Tensor | None = None,
        saturation: Tensor | None = None,
        hue: Tensor | None = None,
    ) -> Tensor:
        """Change images (B, H, W, C) of three channels; with one channel, there is no colour to change."""
        if brightness is not None:
            pixels = brighten(pixels, brightness)
        if contrast is not None:
            pixels = change_contrast(pixels, contrast)
        if saturation is not None:
            pixels = saturate(pixels, saturation)
        return pixels if hue is None else turn_hue(pixels, hue)


def blend(pixels: Tensor, others: Tensor | int, factors: Tensor) -> Tensor:
    """Return `factors` times images plus the rest to 1 times others, uint8 (B, H, W, C), cut off at black and white.

    `others` are int32 and broadcast to the shape of the images, `factors` int32 (B,).
    """
    factors = factors[:, None, None, None]
    mixed = pixels.int().mul_(factors)
    if not isinstance(others, int) or others:
        mixed += others * (ONE - factors)
    return mixed.bitwise_right_shift_(BITS).clamp_(0, 255).to(torch.uint8)


def brighten(pixels: Tensor, factors: Tensor) -> Tensor:
    """Multiply all values of an image; 0 makes it black."""
    return blend(pixels, 0, factors)


def change_contrast(pixels: Tensor, factors: Tensor) -> Tensor:
    """Move values away from the mean grey of the image; 0 makes it grey all over."""
    size = pixels.shape[1] * pixels.shape[2]
    means = (grey(pixels).sum(dim=(1, 2, 3), keepdim=True) + size // 2) // size
    return blend(pixels, means.int(), factors)


def saturate(pixels: Tensor, factors: Tensor) -> Tensor:
    """Move colours away from grey; 0 makes an image grey."""
    return pixels if pixels.shape[-1] == 1 else blend(pixels, grey(pixels), factors)


def grey(pixels: Tensor) -> Tensor:
    """Return the brightness of each pixel, int32 (B, H, W, 1), from 0 to 255."""
    if pixels.shape[-1] == 1:
        return pixels.int()
    red, green, blue = (pixels[..., channel, None].int() * share for channel, share in enumerate(LUMA))
    return (red + green + blue + ONE // 2) >> BITS


def turn_hue(pixels: Tensor, turns: Tensor) -> Tensor:
    """Turn the colours of images on the colour circle by parts of a turn, int32 (B,); white and grey stay.

    Hue, saturation and value are those of Smith 1978, "Color gamut transform pairs".
    """
    if pixels.shape[-1] == 1:
        return pixels
    red, green, blue = pixels.int().unbind(-1)
    value = torch.maximum(torch.maximum(red, green), blue)
    chroma = value - torch.minimum(torch.minimum(red, green), blue)
    # The sector of the brightest channel, and where in it: -1 to 1.
    is_red, is_green = value == red, value == green
    sector = torch.where(is_red, 0, torch.where(is_green, 2 * ONE, 4 * ONE))
    other = torch.where(is_red, green - blue, torch.where(is_green, blue - red, red - green))
    place = sector + torch.div(other * ONE, chroma.clamp(min=1), rounding_mode="floor") + 6 * turns[:, None, None]
    channels = []
    for start in (5, 3, 1):  # red, green, blue
        near = (place + start * ONE).remainder(6 * ONE)
        less = torch.minimum(near, 4 * ONE - near).clamp_(0, ONE)
        channels.append(value - ((chroma * less + ONE // 2) >> BITS))
    return torch.stack(channels, dim=-1).to(torch.uint8)
