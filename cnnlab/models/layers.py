"""Layers that are options of several networks, by the names that their configurations use."""

from collections.abc import Callable
from math import gcd
from typing import Literal

from torch import nn

Activation = Literal["relu", "tanh", "sigmoid", "gelu", "silu", "leaky_relu", "elu"]
Pooling = Literal["max", "avg"]
Normalization = Literal["none", "batch", "group", "layer", "instance"]

_ACTIVATIONS: dict[Activation, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
}

_NORMALIZATIONS: dict[Normalization, Callable[[int], nn.Module]] = {
    "none": lambda channels: nn.Identity(),
    "batch": nn.BatchNorm2d,
    # Groups of about 16 channels: Wu and He 2018, "Group normalization", table 3.
    "group": lambda channels: nn.GroupNorm(gcd(channels, max(1, channels // 16)), channels),
    "layer": lambda channels: nn.GroupNorm(1, channels),
    "instance": lambda channels: nn.InstanceNorm2d(channels, affine=True),
}


def activation_layer(name: Activation, inplace: bool = False) -> nn.Module:
    """A fresh activation module of that name.

    Args:
        name: which.
        inplace: whether `relu` writes over its input, which saves memory; the others never do.
    """
    return nn.ReLU(inplace=True) if inplace and name == "relu" else _ACTIVATIONS[name]()


def normalization_layer(name: Normalization, channels: int) -> nn.Module:
    """A module that normalizes maps (N, channels, H, W), with a learned scale and offset per channel.

    Args:
        name: `batch` over the batch's images (Ioffe and Szegedy 2015); the others within an image: `group` over groups
            of about 16 channels, `layer` over all channels, `instance` over each channel; `none` does nothing.
        channels: of the maps.
    """
    return _NORMALIZATIONS[name](channels)


def normalization_layers(name: Normalization, channels: int) -> list[nn.Module]:
    """The same for a sequence of layers: one module, or none."""
    return [] if name == "none" else [normalization_layer(name, channels)]


def dropout_layers(probability: float) -> list[nn.Module]:
    """A dropout for a sequence of layers, or none where its probability is 0."""
    return [nn.Dropout(probability)] if probability else []


def pooling_layer(name: Pooling, kernel_size: int, stride: int) -> nn.Module:
    """A max or average pooling over windows of `kernel_size` pixels, `stride` pixels apart, without padding."""
    return (nn.MaxPool2d if name == "max" else nn.AvgPool2d)(kernel_size, stride)


def scaled(channels: int, width: float) -> int:
    """Channels times a width, rounded, at least 1.

    Raises:
        ValueError: for a width that is not above 0.
    """
    if width <= 0:
        raise ValueError(f"width must be above 0, got {width}")
    return max(1, round(channels * width))
