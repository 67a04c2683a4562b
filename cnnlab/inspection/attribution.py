"""Compute class activation maps: which parts of an image are evidence for a class."""

from dataclasses import dataclass

import torch
from captum.attr import LayerGradCam
from torch import Tensor, nn

from cnnlab.inspection.receptive_field import ReceptiveField


@dataclass(frozen=True)
class ClassMap:
    """Parts of an image that are evidence for a class."""

    name: str  # of the class
    confidence: float  # the network's probability for the class
    values: Tensor  # float32 (h, w), 0 or more, in the size of the layer's maps


def class_activation(network: nn.Module, layer: str, image: Tensor, classes: list[int]) -> Tensor:
    """Compute a Grad-CAM map for each class.

    Each map of the layer is weighted by how much the class's logit rises with it. The weighted maps are summed, and
    negative values are set to zero (Selvaraju et al. 2017, "Grad-CAM: visual explanations from deep networks via
    gradient-based localization").

    Args:
        network: in evaluation mode.
        layer: name of the module whose maps are used, as in `named_modules`; it must be called once.
        image: normalized, (1, C, H, W), on the network's device.
        classes: their numbers.

    Returns:
        float32 (classes, h, w), 0 or more, in the size of the layer's maps, on the CPU.
    """
    cam = LayerGradCam(network, network.get_submodule(layer))
    images = image.expand(len(classes), -1, -1, -1).contiguous()
    target = torch.tensor(classes, device=image.device)
    with torch.enable_grad():
        maps = cam.attribute(images, target=target, relu_attributions=True)
    assert isinstance(maps, Tensor)
    return maps[:, 0].detach().float().cpu()


def spread_over_image(maps: Tensor, field: ReceptiveField | None, height: int, width: int) -> Tensor:
    """Enlarge maps to the size of the image, with interpolation.

    Each value is placed at the middle of its receptive field. Simply stretching the map would misplace it, because
    networks without padding lose the border of the image.

    Args:
        maps: float32 (N, h, w).
        field: receptive field of the values. If it is unknown, or the same for all, the maps are stretched.
        height: of the image, in pixels.
        width: of the image, in pixels.

    Returns:
        float32 (N, height, width). Pixels near the border repeat the outermost values.
    """
    grids = []
    for axis, (length, pixels) in enumerate(((maps.shape[1], height), (maps.shape[2], width))):
        step = field.step[axis] if field else None
        places = torch.arange(pixels, dtype=torch.float32)
        if field and step:
            index = (places - field.start[axis] - (field.size[axis] - 1) / 2) / step
        else:
            index = (places + 0.5) * length / pixels - 0.5
        grids.append(2 * index / max(length - 1, 1) - 1)
    grid = torch.stack(torch.meshgrid(grids[1], grids[0], indexing="xy"), dim=-1)
    placed = nn.functional.grid_sample(
        maps[:, None], grid.expand(len(maps), -1, -1, -1), padding_mode="border", align_corners=True
    )
    return placed[:, 0]
