"""Compute which parts of an image are evidence for a class: from the maps of a layer, and by covering parts."""

from dataclasses import dataclass

import torch
from captum.attr import LayerGradCam, Occlusion
from scipy.stats import spearmanr
from torch import Tensor, nn

from cnnlab.inspection.receptive_field import ReceptiveField

AT_ONCE = 16  # covered images that go through the network together


@dataclass(frozen=True)
class ClassMap:
    """Parts of an image that are evidence for a class."""

    name: str  # of the class
    confidence: float  # the network's probability for the class
    values: Tensor  # class activation map, float32 (h, w), 0 or more, in the size of the layer's maps
    occlusion: Tensor  # by how much the logit falls if the place is covered, float32 (H, W), in the size of the image


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


def occlusion(network: nn.Module, image: Tensor, classes: list[int]) -> Tensor:
    """Compute by how much the logit of each class falls if a part of the image is covered: float32 (classes, H, W).

    A grey square, a quarter of the image wide, is moved over it in steps of half its width; each pixel gets the mean of
    the squares that cover it (Zeiler and Fergus 2014, "Visualizing and understanding convolutional networks", section
    4.2). Negative values mean that the class gains.

    Args:
        network: in evaluation mode.
        image: normalized, (1, C, H, W), on the network's device. Its grey is 0.
    """
    channels, height, width = image.shape[1:]
    window = (channels, max(1, height // 4), max(1, width // 4))
    steps = (channels, max(1, height // 8), max(1, width // 8))
    with torch.no_grad():
        found = [
            Occlusion(network).attribute(image, window, steps, target=number, perturbations_per_eval=AT_ONCE)
            for number in classes
        ]
    return torch.cat([part.mean(dim=1) for part in found]).float().cpu()


def agreement(one: Tensor, other: Tensor) -> float | None:
    """Return the rank correlation (Spearman) of two maps of one size, or None if one of them has a single value."""
    if one.unique().numel() < 2 or other.unique().numel() < 2:
        return None
    return float(spearmanr(one.flatten().numpy(), other.flatten().numpy())[0])  # pyright: ignore[reportArgumentType]


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
