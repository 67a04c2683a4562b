"""What a network costs: parameters, and multiplications for one image."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from cnnlab.instantiate import first_line


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
        ValueError: when such images do not fit the network.
    """
    modes = {module: module.training for module in network.modules()}
    counter = FlopCounterMode(display=False)
    try:
        with counter, torch.no_grad():
            logits = network.eval()(torch.zeros(1, *image_shape))
    except RuntimeError as error:
        shape = "x".join(str(side) for side in image_shape)
        message = f"images of {shape} (channels, height, width) do not fit the network ({first_line(error)})"
        raise ValueError(message) from None
    finally:
        for module, training in modes.items():
            module.training = training
    if not isinstance(logits, torch.Tensor) or logits.ndim != 2:
        raise ValueError("the network must return one tensor of logits, (images, classes)")
    parameters = sum(p.numel() for p in network.parameters() if p.requires_grad)
    return Cost(parameters, counter.get_total_flops() // 2, logits.shape[1])
