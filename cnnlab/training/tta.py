"""Average the logits over views of an image (test-time augmentation)."""

from typing import Literal

import torch
from torch import Tensor, nn

Tta = Literal["none", "flip", "flip_translate", "unsure"]
UNSURE = 4  # one of so many images of a batch


def tta_logits(network: nn.Module, images: Tensor, tta: Tta) -> Tensor:
    """Return the mean logits over views of each image.

    Args:
        network: maps images to logits.
        images: normalized, (N, C, H, W).
        tta: `none` for the image alone; `flip` for the image and its mirror image; `flip_translate` for the six views
            of Jordan 2024 (airbench): the image, the image moved by one pixel up and left, and down and right, each
            with its mirror image. Unmoved views have half of the weight, moved views the other half. Moved images are
            padded by reflection. `unsure` does this only for the quarter of the images whose two largest logits are
            nearest to each other, a number that a GPU need not be asked for; the others keep their logits.

    Returns:
        Logits (N, classes); means are float32.
    """
    if tta == "none":
        return network(images)
    if tta == "unsure":
        return _changed_if_unsure(network, images)
    logits = _mean_with_mirrored(network, images)
    if tta == "flip":
        return logits
    height, width = images.shape[-2:]
    padded = nn.functional.pad(images, (1, 1, 1, 1), mode="reflect")
    # Copied to the memory layout of the images: a compiled network would be compiled again for slices of `padded`.
    moved = (torch.empty_like(images).copy_(view) for view in (padded[..., :height, :width], padded[..., 2:, 2:]))
    down, up = (_mean_with_mirrored(network, view) for view in moved)
    return logits / 2 + (down + up) / 4


def _mean_with_mirrored(network: nn.Module, images: Tensor) -> Tensor:
    # Copied, because a network that replays a CUDA graph overwrites its previous output. In float32, because a mean in
    # bfloat16 keeps only two or three digits.
    logits = network(images).to(torch.float32, copy=True)
    return (logits + network(images.flip(-1)).float()) / 2


def _changed_if_unsure(network: nn.Module, images: Tensor) -> Tensor:
    logits = network(images).to(torch.float32, copy=True)
    first, second = logits.topk(2).values.unbind(1)
    unsure = (first - second).topk(-(-len(images) // UNSURE), largest=False).indices
    logits[unsure] = tta_logits(network, images[unsure], "flip_translate")
    return logits
