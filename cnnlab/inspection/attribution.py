"""Class activation maps: which parts of an image speak for a class."""

import torch
from captum.attr import LayerGradCam
from torch import Tensor, nn

from cnnlab.inspection.receptive_field import ReceptiveField


def class_activation(network: nn.Module, layer: str, image: Tensor, classes: list[int]) -> Tensor:
    """Grad-CAM (Selvaraju et al. 2017, "Grad-CAM: visual explanations from deep networks via gradient-based
    localization"): a layer's maps, each weighted by how much a class's logit rises with it, summed, cut off below zero.

    Args:
        network: in evaluation mode.
        layer: the module that gives the maps, called once, as `named_modules` has it.
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
    """Brings maps to the image's size: each value lies in the middle of what it sees, between them is interpolated.

    Networks without padding lose the image's border, so that stretching a map over the whole image would move it.

    Args:
        maps: float32 (N, h, w).
        field: of their values. Where it is not known, or the same for all, the maps are stretched.
        height: of the image, in pixels.
        width: of the image, in pixels.

    Returns:
        float32 (N, height, width); beyond the outermost middles the outermost values go on.
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
