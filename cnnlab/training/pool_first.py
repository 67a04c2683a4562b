"""Compute max pooling before the activation instead of after it: the same results from fewer activations."""

from itertools import pairwise
from typing import Any

from torch import nn

# Activations that never decrease, so that the largest input gives the largest output.
_MONOTONIC = (nn.ReLU, nn.Tanh, nn.Sigmoid, nn.LeakyReLU, nn.ELU)


class PoolFirst(nn.Sequential):
    """Run layers in order, but a max pooling before the activation in front of it.

    With windows of 2x2 pixels, only a quarter of the activations is computed. Layers keep their positions and names.
    For ReLU, outputs and gradients are equal bit for bit. Other activations may round two inputs of a window to one
    output; then the gradient may go to the other input.
    """

    def forward(self, input: Any) -> Any:
        """Map the first layer's input to the last layer's output."""
        for layer in _pooling_first(list(self)):
            input = layer(input)
        return input


def pool_first(network: nn.Module) -> None:
    """Turn every `nn.Sequential` in a network into `PoolFirst`, in place."""
    for module in network.modules():
        if type(module) is nn.Sequential:  # a subclass may have a forward of its own
            module.__class__ = PoolFirst


def _pooling_first(layers: list[nn.Module]) -> list[nn.Module]:
    # The first layer stays: an in-place activation changes the input of the sequence, which others may read.
    for position, (layer, following) in enumerate(pairwise(layers[1:]), start=1):
        if _never_decreases(layer) and type(following) is nn.MaxPool2d and not following.return_indices:
            layers[position], layers[position + 1] = following, layer
    return layers


def _never_decreases(layer: nn.Module) -> bool:
    return type(layer) in _MONOTONIC and getattr(layer, "negative_slope", 0) >= 0 and getattr(layer, "alpha", 0) >= 0
