"""Networks from their settings (a model's configuration as plain values), and what they are made of."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from cnnlab.errors import RequestError
from cnnlab.inspection.cost import Cost, measure_cost
from cnnlab.inspection.layers import LayerTable, tabulate
from cnnlab.instantiate import build, check_arguments, explained, import_target

Settings = Mapping[str, Any]

CHANNELS = 3  # images are brought to RGB


def build_network(model: Settings, classes: int, image_size: int = 32, channels: int = CHANNELS) -> nn.Module:
    """The network, told of the images and the classes what its arguments want to know.

    Args:
        model: `_target_` and options.
        classes: given as `num_classes`.
        image_size: height and width in pixels, given as `image_size`.
        channels: of the images, given as `in_channels`.

    Raises:
        RequestError: when it cannot be made.
    """
    wanted = inspect.signature(import_target(model.get("_target_"), "model")).parameters
    known = {"in_channels": channels, "num_classes": classes, "image_size": image_size}
    network = build(model, "model", **{name: value for name, value in known.items() if name in wanted})
    if not isinstance(network, nn.Module):
        raise RequestError(f"model._target_: {model['_target_']} does not make a torch.nn.Module")
    return network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def check_fits(network: nn.Module, image_shape: tuple[int, int, int], classes: int) -> Cost:
    """What the network costs on images (C, H, W) of so many classes.

    Raises:
        RequestError: when images of that size do not fit it, or it names another number of classes.
    """
    with explained("model"):
        cost = measure_cost(network, image_shape)
        if cost.outputs != classes:
            raise ValueError(f"the network names {cost.outputs} classes, the data have {classes}")
    return cost


@dataclass(frozen=True)
class DescribedImages:
    """Images that need not exist, to describe a network for.

    Attributes:
        image_size: pixels a side.
        channels: 3 for colour.
        classes: that they belong to.
    """

    image_size: int
    channels: int
    classes: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.channels, self.image_size, self.image_size


def described_images(data: Any) -> DescribedImages:
    """The images that `data.*` speaks of.

    Raises:
        RequestError: for a value that is no whole number above zero.
    """
    if not isinstance(data, Mapping):
        raise RequestError("data must be data.image_size, data.channels and data.classes: nothing is loaded here")
    check_arguments(DescribedImages, data, "data")
    for key, value in data.items():
        if value < 1:
            raise RequestError(f"data.{key} must be 1 or more, got {value}")
    return DescribedImages(**data)


def tabulate_network(model: Settings, images: DescribedImages) -> LayerTable:
    """The layers of a network, which is made without its weights where that works.

    Raises:
        RequestError: when it cannot be made, or the images do not fit it.
    """

    def make() -> nn.Module:
        return build_network(model, images.classes, images.image_size, images.channels)

    try:
        with torch.device("meta"):
            network = make()
        table = tabulate(network, images.shape)
    except Exception:  # it computes with values; where the request is wrong, that is found again, and explained
        network = make()
        check_fits(network, images.shape, images.classes)
        return tabulate(network, images.shape)
    check_fits(network, images.shape, images.classes)
    return table


def map_sizes(model: Settings, images: DescribedImages) -> list[int]:
    """The height of the maps that convolutions and poolings give, one after the other; equal neighbours once.

    Raises:
        RequestError: as `tabulate_network`.
    """
    layers = tabulate_network(model, images).layers
    heights = [layer.output[1] for layer in layers if layer.window and layer.output and layer.is_map]
    return [height for place, height in enumerate(heights) if place == 0 or height != heights[place - 1]]
