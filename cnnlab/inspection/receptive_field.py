"""Receptive fields: which pixels of the image one value of a layer can depend on, computed and measured."""

import contextlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from cnnlab.inspection.receptive_field_algebra import Field, Pixels


@dataclass(frozen=True)
class ReceptiveField:
    """Of a layer's values, theoretical: it is not cut at the image's border. All in pixels, height before width.

    Attributes:
        size: of one value's field. Where the values of a layer differ, as after adaptive pooling or a concatenation of
            branches, the largest.
        start: the first pixel of the field of position (0, 0); negative where padding is seen.
        step: how far the fields of neighbouring positions lie apart; 0 where all positions see the same, None where
            they are not evenly spaced.
    """

    size: Pixels
    start: Pixels
    step: tuple[int | None, int | None]

    @classmethod
    def of(cls, field: Field) -> "ReceptiveField":
        """A field as one size, start and step."""
        steps = []
        for axis in (0, 1):
            moving = [dim for dim in field.dims if any(f.size > 1 and (f.step[axis] or f.span[axis]) for f in dim)]
            alone = len(moving) == 1 and sum(f.size > 1 for f in moving[0]) == 1
            only = next((f for dim in moving for f in dim if f.size > 1), None)
            steps.append(0 if only is None else only.step[axis] if alone and only.even else None)
        size = (field.last[0] - field.first[0] + 1, field.last[1] - field.first[1] + 1)
        return cls(size, field.first, (steps[0], steps[1]))

    def exceeds(self, height: int, width: int) -> bool:
        """Whether it is larger than an image of that size."""
        return self.size[0] > height or self.size[1] > width

    def box(self, row: int, column: int, height: int, width: int) -> tuple[int, int, int, int] | None:
        """The field of one position, cut at the border of an image of height x width: top, left, bottom, right.

        Bottom and right are the last row and column inside. None where positions are not evenly spaced.
        """
        edges = []
        for index, start, step, size, length in zip(
            (row, column), self.start, self.step, self.size, (height, width), strict=True
        ):
            if step is None:
                return None
            first = start + index * step
            edges.append((max(first, 0), min(first + size, length) - 1))
        return edges[0][0], edges[1][0], edges[0][1], edges[1][1]


def measure_receptive_field(
    network: nn.Module, layer: str, image_shape: tuple[int, int, int], position: tuple[int, int] | None = None
) -> Tensor:
    """Which pixels one position of a layer depends on, found by back-propagation from it.

    So that no pixel is missed by chance, every weight is set to a positive value, norms are left out, and max-poolings
    sum their windows. That leaves layers without a derivative of their own alone, so for networks that subtract or
    multiply their own values the measured field may be too small. The network itself is not changed.

    Args:
        network: takes images (N, C, H, W).
        layer: the name of a module as `named_modules` has it; of one that is called several times, the first call.
        image_shape: (C, H, W).
        position: row and column of the layer's output; None for the middle. Of an output that is no map, all values.

    Returns:
        (H, W), true where a pixel has an influence. All of it is false where the layer does not see the image.

    Raises:
        KeyError: when there is no such layer, or it was not called.
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
    gradient = torch.autograd.grad(values.sum(), image, allow_unused=True)[0]
    return torch.zeros(image_shape[1:], dtype=torch.bool) if gradient is None else (gradient[0] != 0).any(0)


def extent(pixels: Tensor) -> tuple[int, int, int, int] | None:
    """The smallest box that holds all true pixels of (H, W): top, left, bottom, right, the last two inside."""
    rows, columns = (pixels.any(dim).nonzero().flatten().tolist() for dim in (1, 0))
    return (rows[0], columns[0], rows[-1], columns[-1]) if rows else None


def _positive_weights(network: nn.Module) -> dict[str, Tensor]:
    """Weights that take means, so that values neither vanish nor saturate what they go through."""
    state: dict[str, Tensor] = {}
    for name, value in network.named_parameters():
        mean = value.shape[0] / value.numel() if value.ndim > 1 else 0.1
        state[name] = torch.full(value.shape, mean, dtype=torch.float64)
    for name, value in network.named_buffers():
        state[name] = value.double() if value.is_floating_point() else value
    return state


class _Reached(Exception):
    """The layer has been called: the rest of the network need not run."""


class _EveryPixelCounts(TorchFunctionMode):
    """Leaves norms out, and lets a max-pooling sum its window."""

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


# Modules call those of torch.nn.functional, which the mode sees instead of what they call in their turn.
_NORMS = {
    *(torch.batch_norm, torch.layer_norm, torch.group_norm, torch.instance_norm),
    *(functional.batch_norm, functional.layer_norm, functional.group_norm, functional.instance_norm),
}


def _sum_windows(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> Tensor:
    """The sums of the windows that `torch.max_pool2d` with these arguments takes the largest values of."""
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
