"""Convolutions of small images laid side by side: the same sums, faster where a processor has matrix tiles."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.grad import conv2d_weight

# Pixels of an output's row up to which it pays, as measured with torch 2.14 and batches of 256 and 500 images.
ROW_OF_OUTPUTS = 6  # for the outputs and all gradients
ROW_OF_GRADIENTS = 8  # for the gradients of the filters alone; rows of 15 gained nothing
MOST_IMAGES = 32  # in a row; more of them gained nothing either


class SideBySideConv2d(nn.Conv2d):
    """A convolution that computes with rows of many images, where images are small and numbers bfloat16.

    A processor's matrix tiles (AMX) take 32 numbers in bfloat16 at once, and torch's convolution is several times
    slower with rows of a few pixels than with long ones, above all for the gradients of the filters: it seems to fill
    tiles from one row of one image. Here images lie side by side, with zeros between them. Results differ from those
    of `nn.Conv2d` by rounding; what does not gain is convolved by it.
    """

    def forward(self, input: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, out_channels, H', W')."""
        row = (input.shape[-1] + 2 * _padding(self)[1] - self.kernel_size[1]) // self.stride[1] + 1
        if row > ROW_OF_GRADIENTS or not _gains(input):
            return super().forward(input)
        bias = None if self.bias is None else self.bias.bfloat16()
        convolve = _convolve_rows if row <= ROW_OF_OUTPUTS else _ConvolutionWithRowsForGradients.apply
        return convolve(input.bfloat16(), self.weight.bfloat16(), bias, self.stride, _padding(self))


def side_by_side(network: nn.Module) -> None:
    """Makes the convolutions of a network that can be computed so, wherever they are in it, `SideBySideConv2d`."""
    for module in network.modules():
        if type(module) is nn.Conv2d and _can_be_computed_so(module):
            module.__class__ = SideBySideConv2d


def _can_be_computed_so(layer: nn.Conv2d) -> bool:
    if layer.padding_mode != "zeros" or layer.groups != 1 or layer.dilation != (1, 1) or isinstance(layer.padding, str):
        return False
    if layer.kernel_size == layer.stride == (1, 1):
        return False  # a product of matrices, whatever the rows are
    # Then as many filters fit into a row of images as into the images one by one.
    return 2 * layer.padding[1] < layer.kernel_size[1] <= 2 * layer.padding[1] + layer.stride[1]


def _padding(layer: nn.Conv2d) -> tuple[int, ...]:
    assert not isinstance(layer.padding, str)
    return layer.padding


def _gains(input: Tensor) -> bool:
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else input.dtype
    trains = torch.is_grad_enabled()  # what is evaluated is evaluated as by a network that was loaded
    return trains and input.ndim == 4 and input.device.type == "cpu" and dtype == torch.bfloat16


def _convolve_rows(
    input: Tensor, weight: Tensor, bias: Tensor | None, stride: tuple[int, ...], padding: tuple[int, ...]
) -> Tensor:
    row = (input.shape[3] + 2 * padding[1] - weight.shape[3]) // stride[1] + 1
    width = _width(input, row, stride, padding)
    output = functional.conv2d(_rows(input, width * stride[1]), weight, bias, stride, padding)
    images = output.permute(0, 2, 3, 1).unflatten(2, (-1, width))[:, :, :, :row]
    return images.transpose(1, 2).flatten(0, 1).contiguous().permute(0, 3, 1, 2)


class _ConvolutionWithRowsForGradients(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, input: Tensor, weight: Tensor, bias: Tensor | None, stride: tuple[int, ...], padding: tuple[int, ...]
    ) -> Tensor:
        ctx.save_for_backward(input, weight)
        ctx.stride, ctx.padding = stride, padding
        return functional.conv2d(input, weight, bias, stride, padding)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        input, weight = ctx.saved_tensors
        of_input = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            of_input = torch.ops.aten.convolution_backward(
                gradient, input, weight, None, ctx.stride, ctx.padding, (1, 1), False, (0, 0), 1, (True, False, False)
            )[0]
        if ctx.needs_input_grad[1]:
            width = _width(input, gradient.shape[3], ctx.stride, ctx.padding)
            rows = _rows(input, width * ctx.stride[1])
            of_weight = conv2d_weight(rows, weight.shape, _rows(gradient, width), ctx.stride, ctx.padding)
        if ctx.needs_input_grad[2]:
            of_bias = gradient.sum((0, 2, 3))
        return of_input, of_weight, of_bias, None, None


def _width(input: Tensor, row: int, stride: tuple[int, ...], padding: tuple[int, ...]) -> int:
    """Outputs that an image's place in a row has: those of its own, and those that its padding has room for."""
    return max(row, -(-(input.shape[3] + padding[1]) // stride[1]))


def _rows(images: Tensor, width: int) -> Tensor:
    """(N, C, H, W) to (N / n, C, H, n * width), zeros to the right of each image: the padding of the next one."""
    together = next(count for count in range(MOST_IMAGES, 0, -1) if len(images) % count == 0)
    _, channels, height, pixels = images.shape
    rows = images.new_zeros(len(images) // together, height, together, width, channels)
    rows[:, :, :, :pixels] = images.permute(0, 2, 3, 1).unflatten(0, (-1, together)).transpose(1, 2)
    return rows.flatten(2, 3).permute(0, 3, 1, 2)
