"""Max pooling before the activation instead of after it: the same network, with fewer activations to compute."""

from itertools import pairwise
from typing import Any

from torch import nn

# Functions that never fall, so that the largest of their values is the value of the largest number.
_RISING = (nn.ReLU, nn.Tanh, nn.Sigmoid, nn.LeakyReLU, nn.ELU)


class PoolFirst(nn.Sequential):
    """A sequence of layers in which a max pooling that follows an activation is computed before it.

    With windows of 2x2 pixels a quarter of the activations is left. Layers keep their places and names. ReLU gives the
    same numbers and gradients bit for bit; where others round two numbers of a window to one value, the gradient may go
    to the other of the two.
    """

    def forward(self, input: Any) -> Any:
        """The last layer's output for the first layer's input."""
        for layer in _in_cheaper_order(list(self)):
            input = layer(input)
        return input


def pool_first(network: nn.Module) -> None:
    """Makes the sequences of a network, wherever they are in it, `PoolFirst`, in place."""
    for module in network.modules():
        if type(module) is nn.Sequential:  # a class of its own may have a forward of its own
            module.__class__ = PoolFirst


def _in_cheaper_order(layers: list[nn.Module]) -> list[nn.Module]:
    # A sequence's first layer stays: one that works in place changes a tensor that others may see.
    for place, (layer, following) in enumerate(pairwise(layers[1:]), start=1):
        if _never_falls(layer) and type(following) is nn.MaxPool2d and not following.return_indices:
            layers[place], layers[place + 1] = following, layer
    return layers


def _never_falls(layer: nn.Module) -> bool:
    return type(layer) in _RISING and getattr(layer, "negative_slope", 0) >= 0 and getattr(layer, "alpha", 0) >= 0
