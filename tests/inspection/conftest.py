"""Measure receptive fields by back-propagation, to hold computed ones against them; start a browser."""

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from tests.browser import Browser, browser

Box = tuple[int, int, int, int]


@pytest.fixture(scope="package")
def tab() -> Iterator[Browser]:
    """A tab of a headless Chromium, for tests that need a browser."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, browser(Path(folder)) as started:
        yield started


@pytest.fixture
def measure() -> Callable[..., Tensor]:
    """Measures a receptive field: see `measure_receptive_field`."""
    return measure_receptive_field


@pytest.fixture
def measure_box() -> Callable[..., Box | None]:
    """Returns the box around a measured field."""
    return lambda *arguments: extent(measure_receptive_field(*arguments))


def measure_receptive_field(
    network: nn.Module, layer: str, image_shape: tuple[int, int, int], position: tuple[int, int] | None = None
) -> Tensor:
    """Find the pixels that one position of a layer depends on, by back-propagation from it.

    So that no pixel is missed by chance, every weight is set to a positive value, norms are left out, and max-poolings
    sum their windows. If a network subtracts or multiplies its own values, the measured field may be too small. The
    network itself is not changed.

    Args:
        network: takes images (N, C, H, W).
        layer: name of a module as in `named_modules`. If it is called several times, its first call counts.
        image_shape: (C, H, W).
        position: row and column of the layer's output; None for the middle. Not used if the output is no map.

    Returns:
        bool (H, W): true for each pixel with an influence.

    Raises:
        KeyError: if there is no such layer, or it is not called.
    """
    module = dict(network.named_modules())[layer]
    outputs: list[Tensor] = []

    def keep(_: nn.Module, __: Any, output: Any) -> None:
        tensor = output[0] if isinstance(output, tuple | list) else output
        outputs.append(tensor.clone())  # what follows may overwrite it
        raise _Reached

    modes = {m: m.training for m in network.modules()}
    handle = module.register_forward_hook(keep)
    image = torch.ones(1, *image_shape, dtype=torch.float64, requires_grad=True)
    try:
        with torch.enable_grad(), _EveryPixelCounts(), contextlib.suppress(_Reached):
            functional_call(network.eval(), _positive_weights(network), (image,))
    finally:
        handle.remove()
        for m, training in modes.items():
            m.training = training
    if not outputs:
        raise KeyError(f"{layer} is not called")
    values = outputs[0]
    if values.ndim == 4:
        row, column = position or (values.shape[2] // 2, values.shape[3] // 2)
        values = values[:, :, row, column]
    if not values.requires_grad:
        return torch.zeros(image_shape[1:], dtype=torch.bool)
    return (torch.autograd.grad(values.sum(), image)[0][0] != 0).any(0)


def extent(pixels: Tensor) -> Box | None:
    """Return the smallest box around all true pixels of (H, W): top, left, bottom, right, the last two inside."""
    rows, columns = (pixels.any(dim).nonzero().flatten().tolist() for dim in (1, 0))
    return (rows[0], columns[0], rows[-1], columns[-1]) if rows else None


def _positive_weights(network: nn.Module) -> dict[str, Tensor]:
    """Return weights that average their inputs, so that values neither vanish nor saturate activation functions."""
    state: dict[str, Tensor] = {}
    for name, value in network.named_parameters():
        mean = value.shape[0] / value.numel() if value.ndim > 1 else 0.1
        state[name] = torch.full(value.shape, mean, dtype=torch.float64)
    for name, value in network.named_buffers():
        state[name] = value.double() if value.is_floating_point() else value
    return state


class _Reached(Exception):
    """The layer was called, so the rest of the network need not run."""


class _EveryPixelCounts(TorchFunctionMode):
    """Skips norms, and lets every max-pooling sum its windows."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _NORMS:
            return args[0] if args else kwargs["input"]
        if func in (torch.max_pool2d, functional.max_pool2d) and not kwargs.get("return_indices"):
            kwargs.pop("return_indices", None)
            return _sum_windows(*args, **kwargs)
        if func is functional.adaptive_max_pool2d:
            return functional.adaptive_avg_pool2d(*args[:2])
        return func(*args, **kwargs)


# Modules call the functions of torch.nn.functional. The mode sees these, and not what they call in turn.
_NORMS = {
    *(torch.batch_norm, torch.layer_norm, torch.group_norm, torch.instance_norm),
    *(functional.batch_norm, functional.layer_norm, functional.group_norm, functional.instance_norm),
}


def _sum_windows(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> Tensor:
    """Sum the windows of which `torch.max_pool2d` with these arguments takes the largest values."""
    pooled = functional.max_pool2d_with_indices(
        input.detach(), kernel_size, stride or kernel_size, padding, dilation, ceil_mode
    )[0]
    kernel = [kernel_size] * 2 if isinstance(kernel_size, int) else list(kernel_size)
    channels = input.shape[1]
    ones = torch.ones(channels, 1, *kernel, dtype=input.dtype) / (kernel[0] * kernel[1])
    beyond = 2 * max(kernel) if ceil_mode else 0  # windows may reach over the lower and right border
    padded = functional.pad(input, (0, beyond, 0, beyond))
    sums = torch.conv2d(padded, ones, None, stride or kernel_size, padding, dilation, channels)
    return sums[:, :, : pooled.shape[2], : pooled.shape[3]]
