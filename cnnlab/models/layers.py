"""Layers that are options of several networks, by the names that their configurations use."""

from collections.abc import Callable
from typing import Literal

from torch import nn

Activation = Literal["relu", "tanh", "sigmoid", "gelu", "silu", "leaky_relu", "elu"]
Pooling = Literal["max", "avg"]

_ACTIVATIONS: dict[Activation, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
}


def activation_layer(name: Activation) -> nn.Module:
    """A fresh activation module of that name."""
    return _ACTIVATIONS[name]()


def pooling_layer(name: Pooling, kernel_size: int, stride: int) -> nn.Module:
    """A max or average pooling over windows of `kernel_size` pixels, `stride` pixels apart, without padding."""
    return (nn.MaxPool2d if name == "max" else nn.AvgPool2d)(kernel_size, stride)
