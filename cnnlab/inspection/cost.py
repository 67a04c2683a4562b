"""Count the parameters of a network, and its multiplications for one image."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from cnnlab.instantiate import first_line

# Errors that networks raise for images of a wrong size.
MISFITS = (RuntimeError, AssertionError, ValueError)
LARGEST_TRIED = 512  # pixels, in the search for a size that works


@dataclass(frozen=True)
class Cost:
    """Cost of a network for images of one shape."""

    parameters: int  # number of trainable parameters
    macs: int  # multiply-accumulate operations of convolutions and matrix products for one image
    outputs: int  # number of logits


class QuickMode(TorchDispatchMode):
    """Sees every operation that torch computes while it is active.

    torch's own modes import its compiler first, which takes two seconds.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False


class MacCounter(QuickMode):
    """Counts the multiply-accumulate operations of convolutions and matrix products, by torch's formulas."""

    macs = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, and count it."""
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        if formula := flop_registry.get(func._overloadpacket):
            self.macs += formula(*args, **kwargs, out_val=output) // 2
        return output


def measure_cost(network: nn.Module, image_shape: tuple[int, int, int]) -> Cost:
    """Run one empty image (C, H, W) through the network, which returns logits (N, classes), and count.

    Raises:
        ValueError: if such images do not fit the network. The message names the sizes that do.
    """
    counter = MacCounter()
    try:
        with counter:
            logits = run_image(network, empty_image(network, image_shape))
    except MISFITS as error:
        with _evaluating(network):
            raise ValueError(misfit(image_shape, error) + _fitting_sizes(network, image_shape)) from None
    if not (isinstance(logits, Tensor) and logits.ndim == 2 and logits.is_floating_point()):
        kind = type(logits).__name__
        if isinstance(logits, Tensor):
            kind = f"{logits.dtype} {tuple(logits.shape)} for one image".removeprefix("torch.")
        raise ValueError(f"the network must return logits (images, classes), got {kind}")
    parameters = sum(p.numel() for p in network.parameters() if p.requires_grad)
    return Cost(parameters, counter.macs, logits.shape[1])


def run_image(network: nn.Module, image: Tensor) -> Any:
    """Return the network's output for images (N, C, H, W) in evaluation mode, computed so that counters see everything.

    Raises one of `MISFITS` if the images do not fit the network.
    """
    with _evaluating(network):
        return network(image)


def empty_image(network: nn.Module, image_shape: tuple[int, int, int]) -> Tensor:
    """Return an image (1, C, H, W) of zeros on the device of the network's weights."""
    device = next((parameter.device for parameter in network.parameters()), None)
    return torch.zeros(1, *image_shape, device=device)


def misfit(image_shape: tuple[int, int, int], error: Exception) -> str:
    """Return a message for images that do not fit the network."""
    shape = "x".join(str(side) for side in image_shape)
    return f"images of {shape} (channels, height, width) do not fit the network ({first_line(error)})"


def _fitting_sizes(network: nn.Module, image_shape: tuple[int, int, int]) -> str:
    """Return the end of a message: the sizes of square images that fit, or nothing if none is found."""

    def fits(size: int) -> bool:
        try:
            network(empty_image(network, (image_shape[0], size, size)))
        except MISFITS:
            return False
        return True

    asked = max(image_shape[1:])
    smallest = next((size for size in range(1, LARGEST_TRIED + 1) if fits(size)), None)
    if smallest is None:
        return ""
    if smallest > asked:
        return f"; the smallest size that works is {smallest} pixels"
    largest = next((size for size in range(smallest, asked) if not fits(size + 1)), asked)
    return (
        f"; sizes that work: {smallest} to {largest} pixels" if largest > smallest else f"; it takes {smallest} pixels"
    )


@contextlib.contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Switch to evaluation mode without gradients, and restore every module's own mode at the end."""
    modes = {module: module.training for module in network.modules()}
    fused_attention = torch.backends.mha.get_fastpath_enabled()
    network.eval()
    try:
        # Counters do not see into the fast path of a transformer layer, nor always into fused attention.
        torch.backends.mha.set_fastpath_enabled(False)
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused_attention)
        for module, training in modes.items():
            module.training = training
