"""What a network costs: parameters, and multiplications for one image."""

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from cnnlab.instantiate import first_line

# What networks raise for images of a size that they cannot take.
MISFITS = (RuntimeError, AssertionError, ValueError)
LARGEST_TRIED = 512  # pixels, in search of a size that works


@dataclass(frozen=True)
class Cost:
    """Of a network on images of one shape.

    Attributes:
        parameters: trainable ones.
        macs: multiply-accumulate operations of convolutions and matrix products for one image.
        outputs: length of its logits.
    """

    parameters: int
    macs: int
    outputs: int


def measure_cost(network: nn.Module, image_shape: tuple[int, int, int]) -> Cost:
    """Counts while one empty image runs through the network.

    Args:
        network: images (N, C, H, W) to logits (N, classes).
        image_shape: (C, H, W).

    Raises:
        ValueError: when such images do not fit the network; it names the square ones that do.
    """
    with _evaluating(network):
        try:
            counter = FlopCounterMode(display=False)
            with counter:
                logits = network(torch.zeros(1, *image_shape))
        except MISFITS as error:
            shape = "x".join(str(side) for side in image_shape)
            message = f"images of {shape} (channels, height, width) do not fit the network ({first_line(error)})"
            raise ValueError(message + _fitting_sizes(network, image_shape)) from None
    if not isinstance(logits, torch.Tensor) or logits.ndim != 2:
        raise ValueError("the network must return one tensor of logits, (images, classes)")
    parameters = sum(p.numel() for p in network.parameters() if p.requires_grad)
    return Cost(parameters, counter.get_total_flops() // 2, logits.shape[1])


def _fitting_sizes(network: nn.Module, image_shape: tuple[int, int, int]) -> str:
    """The end of a message: the smallest square images that fit, and the largest where the asked ones are too large."""

    def fits(size: int) -> bool:
        try:
            network(torch.zeros(1, image_shape[0], size, size))
        except MISFITS:
            return False
        return True

    asked = max(image_shape[1:])
    smallest = next((size for size in range(1, LARGEST_TRIED + 1) if fits(size)), None)
    if smallest is None:
        return ""
    if smallest > asked:
        return f"; the smallest size that works is {smallest} pixels"
    largest = next(size for size in itertools.count(smallest) if not fits(size + 1))
    return (
        f"; sizes that work: {smallest} to {largest} pixels" if largest > smallest else f"; it takes {smallest} pixels"
    )


@contextlib.contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; every module's own mode comes back at the end."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes.items():
            module.training = training
