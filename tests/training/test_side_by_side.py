import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from cnnlab.training.side_by_side import SideBySideConv2d, side_by_side

BF16 = 0.02  # how far two kernels of bfloat16 may be apart, relative to the norm


class WidthsOfBackward(TorchDispatchMode):
    """Record the input width of each backward pass that computes gradients of filters."""

    def __init__(self) -> None:
        super().__init__()
        self.widths: list[int] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.convolution_backward.default and args[-1][1]:
            self.widths.append(args[1].shape[3])
        return func(*args, **(kwargs or {}))


def pair(*arguments: Any, **others: Any) -> tuple[nn.Conv2d, nn.Conv2d]:
    """Return the same convolution twice: torch's and ours."""
    torch.manual_seed(0)
    usual = nn.Conv2d(*arguments, **others)
    faster = copy.deepcopy(usual)
    side_by_side(faster)
    assert type(faster) is SideBySideConv2d
    return usual, faster


def passes(layer: nn.Module, images: Tensor, mixed: bool = True) -> tuple[list[Tensor], list[int]]:
    """Return output and gradients, and the input widths from which the filters' gradients were computed."""
    images = images.clone().requires_grad_()
    with WidthsOfBackward() as noted:
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            output = layer(images)
        output.backward(torch.linspace(-1, 1, output.numel()).view_as(output).to(output.dtype))
    assert images.grad is not None
    return [output, images.grad, *(weights.grad for weights in layer.parameters() if weights.grad is not None)], (
        noted.widths
    )


def batch(number: int, channels: int, height: int, width: int) -> Tensor:
    return torch.randn(number, channels, height, width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("width", [2, 4, 6, 7, 8])
@pytest.mark.parametrize(
    "window",
    [
        {"kernel_size": 3, "padding": 1},
        {"kernel_size": 5, "padding": 2},
        {"kernel_size": 2, "stride": 2},
        {"kernel_size": 3, "padding": 1, "stride": 2},
        {"kernel_size": 1, "stride": 2},
        {"kernel_size": (3, 1), "padding": (1, 0), "stride": (1, 2)},
        {"kernel_size": (1, 3), "padding": (0, 1)},
        {"kernel_size": 4, "padding": 1, "stride": 2},
    ],
)
def test_outputs_and_gradients_equal_torchs(window: dict[str, Any], width: int, bias: bool):
    usual, faster = pair(3, 4, bias=bias, **window)
    images = batch(12, 3, 5, width)
    expected, alone = passes(usual, images)
    got, together = passes(faster, images)
    assert len(got) == (4 if bias else 3)
    for one, other in zip(expected, got, strict=True):
        assert one.dtype == other.dtype
        assert one.shape == other.shape
        assert (one - other).norm() <= BF16 * one.norm()
    assert alone == [width]
    assert len(together) == 1
    assert together[0] >= 12 * width


@pytest.mark.parametrize(("number", "together"), [(1, 1), (31, 31), (37, 1), (50, 25), (64, 32)])
def test_a_row_holds_as_many_images_as_divide_the_batch(number: int, together: int):
    usual, faster = pair(2, 3, 3, padding=1)
    images = batch(number, 2, 4, 4)
    expected, _ = passes(usual, images)
    got, widths = passes(faster, images)
    assert widths == [together * 5]
    for one, other in zip(expected, got, strict=True):
        assert (one - other).norm() <= BF16 * one.norm()


@pytest.mark.parametrize("width", [4, 8])
@pytest.mark.parametrize("number", [32, 64])
def test_outputs_have_the_memory_layout_of_torchs(number: int, width: int):
    usual, faster = (layer.to(memory_format=torch.channels_last) for layer in pair(2, 3, 3, padding=1))  # pyright: ignore[reportCallIssue]
    images = batch(number, 2, 4, width).contiguous(memory_format=torch.channels_last)
    (expected, gradient, *_), _ = passes(usual, images)
    (got, other, *_), _ = passes(faster, images)
    assert got.stride() == expected.stride()
    assert other.stride() == gradient.stride()


@pytest.mark.parametrize("width", [4, 8])
def test_an_image_does_not_see_its_neighbours(width: int):
    _, faster = pair(2, 3, 3, padding=1)
    images = batch(6, 2, width, width)
    (before, *_), _ = passes(faster, images)
    images[3] = 1e4
    (after, *_), _ = passes(faster, images)
    others = [0, 1, 2, 4, 5]
    assert torch.equal(before[others], after[others])
    assert not torch.equal(before[3], after[3])


@pytest.mark.parametrize(
    ("width", "mixed"), [pytest.param(4, False, id="float32"), pytest.param(9, True, id="a longer row")]
)
def test_inputs_that_do_not_gain_are_computed_by_torch(width: int, mixed: bool):
    usual, faster = pair(2, 3, 3, padding=1)
    images = batch(4, 2, width, width)
    expected, _ = passes(usual, images, mixed)
    got, widths = passes(faster, images, mixed)
    assert widths == [width]
    for one, other in zip(expected, got, strict=True):
        assert torch.equal(one, other)


def test_bfloat16_without_autocast():
    usual, faster = pair(2, 3, 3, padding=1, dtype=torch.bfloat16)
    images = batch(4, 2, 4, 4).bfloat16()
    expected, _ = passes(usual, images, mixed=False)
    got, widths = passes(faster, images, mixed=False)
    assert widths == [20]
    for one, other in zip(expected, got, strict=True):
        assert (one - other).norm() <= BF16 * one.norm()


def test_evaluation_equals_that_of_a_loaded_network_bit_for_bit():
    usual, faster = pair(2, 3, 3, padding=1)
    images = batch(4, 2, 4, 4)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(usual(images), faster(images))


def test_frozen_filters_get_no_gradient():
    for width in (4, 8):
        _, faster = pair(2, 3, 3, padding=1, bias=False)
        faster.weight.requires_grad_(False)
        (_, of_images), widths = passes(faster, batch(4, 2, width, width))
        assert of_images.abs().sum() > 0
        assert widths == []


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 4, 3, groups=2),
        nn.Conv2d(4, 4, 3, dilation=2),
        nn.Conv2d(4, 4, 3, padding="same"),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(4, 4, 1),
        nn.Conv2d(4, 4, 3),
        nn.Conv2d(4, 4, 3, padding=2),
        nn.ConvTranspose2d(4, 4, 3),
        nn.LazyConv2d(4, 3),
    ],
)
def test_unsuitable_convolutions_are_not_changed(layer: nn.Module):
    kind = type(layer)
    side_by_side(nn.Sequential(nn.Sequential(layer)))
    assert type(layer) is kind


def test_weights_keep_their_names():
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Sequential(nn.Conv2d(4, 4, 3, padding=1)))
    names = list(network.state_dict())
    side_by_side(network)
    assert list(network.state_dict()) == names
