"""Receptive fields of networks that do more than slide windows: they are the smallest box, or unknown."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from cnnlab.inspection.layers import tabulate
from tests.helpers import Head


class Attention(nn.Module):
    """Puts a class token before patches of 4x4 pixels, and applies attention to all of them."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, stride=4)
        self.token = nn.Parameter(torch.zeros(1, 1, 8))
        self.norm = nn.LayerNorm(8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 10)

    def forward(self, images: Tensor) -> Tensor:
        x = self.norm(torch.cat([self.token, self.patches(images).flatten(2).transpose(1, 2)], dim=1))
        return self.head((x + self.attention(x, x, x)[0])[:, 0])


class Gate(nn.Module):
    """Scales each channel by a function of its mean: squeeze-and-excitation."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.gate = nn.Conv2d(4, 4, 1)
        self.last = nn.Conv2d(4, 4, 3)

    def forward(self, images: Tensor) -> Tensor:
        x = self.conv(images)
        x = x * self.gate(x.mean((2, 3), keepdim=True)).sigmoid()
        return self.last(x)


class Overwriting(nn.Module):
    """Writes one half of a map over the other."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.last = nn.Conv2d(4, 4, 3)

    def forward(self, images: Tensor) -> Tensor:
        x = self.conv(images)
        x[:, :, :4] = x[:, :, 4:].clone()
        return self.last(x)


class EarlyGate(nn.Module):
    """Scales a map that sees padding by a gate that sees none."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3)
        self.last = nn.Conv2d(3, 4, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.last(self.conv(functional.pad(images, (0, 2, 0, 2))) * images.mean((2, 3), keepdim=True))


class Swapped(nn.Module):
    """Exchanges the upper and the lower half of the image."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.conv(torch.cat([images[:, :, 4:], images[:, :, :4]], dim=2))


class Rolled(nn.Module):
    """Moves the image by two columns, and what leaves it comes in at the other side."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.conv(images.roll(2, 3))


class SpaceToDepth(nn.Module):
    """Turns blocks of 2x2 pixels into channels."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(12, 4, 3)

    def forward(self, images: Tensor) -> Tensor:
        n, c, h, w = images.shape
        x = images.view(n, c, h // 2, 2, w // 2, 2).permute(0, 1, 3, 5, 2, 4)
        return self.conv(x.reshape(n, 4 * c, h // 2, w // 2))


class TwoOrders(nn.Module):
    """Adds pixels in the order of rows to pixels in the order of columns."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, images: Tensor) -> Tensor:
        x = images.flatten(2) + images.transpose(2, 3).flatten(2)
        return self.conv(x.unflatten(2, images.shape[2:]))


def fields_of(network: nn.Module, size: int) -> dict[str, tuple[int, int] | None]:
    table = tabulate(network, (3, size, size))
    return {layer.name: layer.field and layer.field.size for layer in table.layers}


def test_an_attention_sees_the_whole_image() -> None:
    fields = fields_of(Attention(), 16)
    assert fields["patches"] == fields["norm"] == (4, 4)
    assert fields["attention"] == fields["head"] == (16, 16)


def test_behind_a_gate_every_value_sees_the_whole_image() -> None:
    fields = fields_of(Head(Gate()), 16)
    assert fields["features.conv"] == (3, 3)
    assert fields["features.last"] == (18, 18)  # with a pixel of padding on each side


@pytest.mark.parametrize(
    "network", [Swapped(), Rolled(), SpaceToDepth(), TwoOrders(), EarlyGate()], ids=lambda it: type(it).__name__
)
def test_a_field_that_differs_from_value_to_value_has_the_size_of_the_largest(network: nn.Module, measure_box) -> None:
    layer = next(row for row in tabulate(Head(network), (3, 8, 8)).layers if row.name == "features.conv")
    assert layer.field is not None
    assert layer.sides is not None
    boxes = [measure_box(network, "conv", (3, 8, 8), place) for place in np.ndindex(layer.sides)]
    assert layer.field.size == tuple(max(box[end + 2] - box[end] + 1 for box in boxes) for end in (0, 1))


def test_padding_around_values_of_a_gate_counts() -> None:
    assert fields_of(Head(EarlyGate()), 8)["features.last"] == (10, 10)  # the last values see two pixels of padding


@pytest.mark.parametrize(
    "network",
    [
        Overwriting(),
        nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"),
        nn.Sequential(nn.AvgPool2d(2), nn.Upsample(scale_factor=2), nn.Conv2d(3, 4, 3)),
        nn.Sequential(nn.ConvTranspose2d(3, 4, 2, stride=2), nn.Conv2d(4, 4, 3)),
        nn.Sequential(nn.ChannelShuffle(3), nn.Conv2d(3, 4, 3)),
    ],
    ids=lambda network: type(network).__name__,
)
def test_an_unknown_field_is_not_guessed(network: nn.Module) -> None:
    table = tabulate(Head(network), (3, 8, 8))
    assert next(layer for layer in reversed(table.layers) if layer.kind == "Conv2d").field is None
    assert table.layers[-1].field is None
    exotic = ("Upsample", "ConvTranspose2d", "ChannelShuffle")
    assert not any(layer.field for layer in table.layers if layer.kind in exotic)


def test_a_written_tensor_is_known_and_an_older_view_of_it_is_not() -> None:
    class Written(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)
            self.after, self.view = nn.Identity(), nn.Identity()

        def forward(self, images: Tensor) -> Tensor:
            x = images.clone()
            view = x[:, :, ::2]
            x += self.conv(images)
            return self.after(x).mean((2, 3)) + self.view(view).mean((2, 3))

    fields = fields_of(Written(), 8)
    assert fields["after"] == (3, 3)
    assert fields["view"] is None
