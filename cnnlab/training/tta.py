"""Test-time augmentation: logits that are averaged over views of an image."""

from typing import Literal

import torch
from torch import Tensor, nn

Tta = Literal["none", "flip", "flip_translate"]


def tta_logits(network: nn.Module, images: Tensor, tta: Tta) -> Tensor:
    """Mean logits over an image and changed copies of it.

    Args:
        network: images to logits.
        images: normalized, (N, C, H, W).
        tta: `none` for the images as they are; `flip` for the mean with the mirrored image; `flip_translate` for the
            six views of Jordan 2024 (airbench): the image, and the image moved by one pixel up and left, and down and
            right, each with its mirror image. The unmoved views count for one half of the mean, the moved ones for the
            other. A moved image is filled up by reflection at its border.

    Returns:
        (N, classes); means are in float32.
    """
    if tta == "none":
        return network(images)
    logits = _mirrored_mean(network, images)
    if tta == "flip":
        return logits
    height, width = images.shape[-2:]
    padded = nn.functional.pad(images, (1, 1, 1, 1), mode="reflect")
    # Laid out as the images are: a compiled network would be compiled again for views of a larger tensor.
    moved = (torch.empty_like(images).copy_(view) for view in (padded[..., :height, :width], padded[..., 2:, 2:]))
    down, up = (_mirrored_mean(network, view) for view in moved)
    return logits / 2 + (down + up) / 4


def _mirrored_mean(network: nn.Module, images: Tensor) -> Tensor:
    # A copy: where the network replays a CUDA graph, its next run writes over the result of this one. In float32,
    # because a mean of bfloat16 keeps two or three digits.
    logits = network(images).to(torch.float32, copy=True)
    return (logits + network(images.flip(-1)).float()) / 2
