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
    """Compute a Grad-CAM map for each class: float32 (classes, h, w), 0 or more, in the layer's size, on the CPU.

    Each map of the layer is weighted by how much the class's logit rises with it. The weighted maps are summed, and
    negative values are set to zero (Selvaraju et al. 2017, "Grad-CAM: visual explanations from deep networks via
    gradient-based localization").

    Args:
        network: in evaluation mode.
        layer: name of a module, as in `named_modules`, that is called once.
        image: normalized, (1, C, H, W), on the network's device.
    """
    cam = LayerGradCam(network, network.get_submodule(layer))
    images = image.expand(len(classes), -1, -1, -1).contiguous()
    target = torch.tensor(classes, device=image.device)
    with torch.enable_grad():
        maps = cam.attribute(images, target=target, relu_attributions=True)
    assert isinstance(maps, Tensor)
    return maps[:, 0].detach().float().cpu()


def spread_over_image(maps: Tensor, field: ReceptiveField | None, height: int, width: int) -> Tensor:
    """Enlarge maps, float32 (N, h, w), to the image's size, (N, height, width), with interpolation.

    Each value is placed at the middle of its receptive field. Simply stretching the map would misplace it, because
    networks without padding lose the border of the image. Pixels near the border repeat the outermost values. If the
    field is unknown, or the same for all, the maps are stretched.
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
