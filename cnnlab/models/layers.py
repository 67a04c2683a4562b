"""Create the layers that several networks offer as options, by the names used in configurations.

Networks name their arguments alike, and document only what is special: `in_channels`, channels of the images;
`num_classes`, number of logits; `activation`, after every layer with weights except the last; `pooling`;
`normalization`, between a convolution and its activation; `dropout`, probability in [0, 1] of zeroing an input of the
first and second linear layer; `width`, above 0, factor on all channels and on hidden linear layers.
"""

from collections.abc import Callable
from math import gcd
from typing import Any, Literal

from torch import nn

Activation = Literal["relu", "tanh", "sigmoid", "gelu", "silu", "leaky_relu", "elu"]
Pooling = Literal["max", "avg"]
Normalization = Literal["none", "batch", "group", "layer", "instance"]
Stem = Literal["cifar", "imagenet"]  # form of a network for 32 or 224 pixels

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
    """Return a new activation module; `inplace` lets `relu` (no other) overwrite its input, which saves memory."""
    return nn.ReLU(inplace=True) if inplace and name == "relu" else _ACTIVATIONS[name]()


def normalization_layer(name: Normalization, channels: int) -> nn.Module:
    """Return a module that normalizes maps (N, channels, H, W), with a learned scale and offset per channel.

    `batch` normalizes over the images of a batch (Ioffe and Szegedy 2015); the others within each image: `group` over
    groups of about 16 channels, `layer` over all channels, `instance` over each channel. `none` does nothing.
    """
    return _NORMALIZATIONS[name](channels)


def convolution_layers(
    in_channels: int,
    channels: int,
    kernel_size: int,
    activation: Activation,
    normalization: Normalization = "none",
    **options: Any,
) -> list[nn.Module]:
    """Return a convolution, its normalization (if any) and its activation.

    The filters have `kernel_size` pixels in height and width; `options` are further arguments of `nn.Conv2d`.
    """
    norms = [] if normalization == "none" else [normalization_layer(normalization, channels)]
    return [nn.Conv2d(in_channels, channels, kernel_size, **options), *norms, activation_layer(activation)]


def dropout_layers(probability: float) -> list[nn.Module]:
    """Return a dropout for a sequence of layers, or no layer if the probability is 0."""
    return [nn.Dropout(probability)] if probability else []


def pooling_layer(name: Pooling, kernel_size: int, stride: int) -> nn.Module:
    """Return a max or average pooling over square windows; sizes in pixels, no padding."""
    return (nn.MaxPool2d if name == "max" else nn.AvgPool2d)(kernel_size, stride)


def scaled(channels: int, width: float) -> int:
    """Return channels times width, rounded, at least 1, or raise a ValueError if the width is not above 0."""
    if width <= 0:
        raise ValueError(f"width must be above 0, got {width}")
    return max(1, round(channels * width))
