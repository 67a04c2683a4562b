"""Hold computed receptive fields against measured ones: the pixels that get a gradient from one output value."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from cnnlab.inspection.layers import Layer, LayerTable, tabulate
from cnnlab.models.alexnet import AlexNet
from cnnlab.models.article import ArticleNet
from cnnlab.models.lenet import LeNet5
from cnnlab.models.resnet import Bottleneck, ResNet
from cnnlab.models.resnet_cifar import CifarResNet
from cnnlab.models.vgg import VGG
from tests.helpers import Head


class Branches(nn.Module):
    """A wide, a tall and a small window over one map, concatenated, and a window over that."""

    def __init__(self):
        super().__init__()
        self.wide = nn.Conv2d(3, 4, (1, 7), padding=(0, 3))
        self.tall = nn.Conv2d(3, 4, (5, 1), padding=(2, 0))
        self.small = nn.Conv2d(3, 4, 1)
        self.last = nn.Conv2d(12, 4, 3, stride=(1, 2))

    def forward(self, images: Tensor) -> Tensor:
        return self.last(torch.cat([self.wide(images), self.tall(images), self.small(images)], dim=1))


class Functional(nn.Module):
    """Calls one layer twice, with functions in between, takes every second pixel, and adds a shortcut."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.last = nn.Conv2d(3, 4, 3)

    def forward(self, images: Tensor) -> Tensor:
        x = functional.relu(self.conv(self.conv(images)))
        x = x[:, :, ::2, 1::2] + functional.max_pool2d(x, 2)
        x = functional.avg_pool2d(functional.pad(x, (2, 0, 1, 0)), 3, stride=1)
        return self.last(x)


class Shuffled(nn.Module):
    """Exchanges groups of channels between two grouped convolutions, as ShuffleNet does."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 8, 3, padding=1, groups=2)

    def forward(self, images: Tensor) -> Tensor:
        left, right = self.first(images).chunk(2, dim=1)
        x = torch.stack([left, right.relu()], dim=1).transpose(1, 2).flatten(1, 2)
        return self.second(x)


class ChannelsLast(nn.Module):
    """Puts channels last for a norm and a linear layer, as ConvNeXt does."""

    def __init__(self):
        super().__init__()
        self.depthwise = nn.Conv2d(3, 3, 5, padding=2, groups=3)
        self.norm = nn.LayerNorm(3)
        self.linear = nn.Linear(3, 3)
        self.last = nn.Conv2d(3, 4, 3, stride=2)

    def forward(self, images: Tensor) -> Tensor:
        x = self.linear(self.norm(self.depthwise(images).permute(0, 2, 3, 1)))
        return self.last(images + x.permute(0, 3, 1, 2))


class NegativeDimensions(nn.Module):
    """Counts dimensions from the last one."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.last = nn.Conv2d(8, 4, 3)

    def forward(self, images: Tensor) -> Tensor:
        x = self.conv(images.narrow(-1, 3, 12).transpose(-1, -2)).transpose(-1, -2)
        x = x.unsqueeze(-3).squeeze(-3).split([2, 8], dim=-1)[1]
        return self.last(torch.cat([x, x], dim=-3))


def stack(*layers: nn.Module) -> nn.Module:
    return Head(nn.Sequential(*layers))


# Network (narrow, because the width does not matter), image size, and the layers to test; None for all convolutions
# and poolings.
NETWORKS: dict[str, tuple[Callable[[], nn.Module], int, list[str] | None]] = {
    "article": (lambda: ArticleNet(width=0.1), 32, None),
    "lenet5": (LeNet5, 32, None),
    "lenet5, averages": (lambda: LeNet5(activation="tanh", pooling="avg"), 32, None),
    "alexnet": (
        lambda: AlexNet(normalization="local_response", width=0.1),
        32,
        [f"features.{i}" for i in (0, 2, 4, 8, 14)],
    ),
    "alexnet, 64": (lambda: AlexNet(width=0.1), 64, ["features.0", "features.12"]),
    "vgg11": (lambda: VGG("A", width=0.1), 32, ["features.0", "features.3", "features.11", "features.14"]),
    "resnet18": (
        lambda: ResNet(18, width=0.1),
        32,
        ["layer1.1", "layer2.0.downsample.0", "layer3.0.conv2", "layer4.1"],
    ),
    "resnet18, imagenet": (
        lambda: ResNet(18, stem="imagenet", width=0.1),
        64,
        ["maxpool", "layer1.0", "layer2.1.bn2"],
    ),
    "resnet20": (lambda: CifarResNet(20), 32, ["layer1.2", "layer2.0.conv1", "layer2.0.bn2", "layer2.0", "layer3.2"]),
    "bottleneck": (lambda: stack(Bottleneck(3, 4), Bottleneck(16, 4, 2), Bottleneck(16, 4)), 24, None),
    "bottlenecks": (lambda: stack(Bottleneck(3, 4), Bottleneck(16, 4, 2)), 24, ["features.0", "features.1"]),
    "dilation": (lambda: stack(nn.Conv2d(3, 4, 3, dilation=3), nn.Conv2d(4, 4, 3, dilation=(1, 2))), 32, None),
    "strides": (lambda: stack(nn.Conv2d(3, 4, 5, (3, 1), 2), nn.Conv2d(4, 4, (2, 3), (1, 2), (0, 1))), 33, None),
    "rectangles": (lambda: stack(nn.Conv2d(3, 4, (2, 5), padding=(1, 0)), nn.MaxPool2d((3, 2), (1, 2))), 20, None),
    "ceiling": (lambda: stack(nn.MaxPool2d(3, 2, ceil_mode=True), nn.Conv2d(3, 4, 3, padding=1)), 20, None),
    "depthwise": (lambda: stack(nn.Conv2d(3, 6, 3, groups=3), nn.Conv2d(6, 4, 1), nn.Conv2d(4, 4, 3, 2)), 20, None),
    "same padding": (lambda: stack(nn.Conv2d(3, 4, 4, padding="same"), nn.Conv2d(4, 4, 3, padding=1)), 20, None),
    "reflected": (lambda: stack(nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), nn.MaxPool2d(2)), 20, None),
    "to a coarser grid": (lambda: stack(nn.Conv2d(3, 4, 3, padding=1), nn.AdaptiveAvgPool2d(5)), 20, None),
    "to one": (lambda: stack(nn.Conv2d(3, 4, 3), nn.AdaptiveMaxPool2d(1), nn.Conv2d(4, 4, 1)), 20, None),
    "branches": (lambda: Head(Branches()), 20, None),
    "functional": (lambda: Head(Functional()), 30, ["features.last", "features"]),
    "shuffled": (lambda: Head(Shuffled()), 24, ["features.first", "features.second"]),
    "negative dimensions": (lambda: Head(NegativeDimensions()), 20, ["features.last"]),
    "channels last": (lambda: Head(ChannelsLast()), 24, ["features.depthwise", "features.last"]),
}


def rows(table: LayerTable, names: list[str] | None) -> dict[str, Layer]:
    """Return rows by the name of their module: the first if it is called twice, the last of a block."""
    maps = [layer for layer in table.layers if layer.sides]
    if names is None:
        return {layer.name: layer for layer in reversed(maps) if layer.window or "Pool" in layer.kind}
    return {name: next(row for row in reversed(maps) if f"{row.name}.".startswith(f"{name}.")) for name in names}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_computed_field_is_the_measured_one(name: str, measure_box) -> None:
    make, size, names = NETWORKS[name]
    network = make()
    looked_at = rows(tabulate(network, (3, size, size)), names)
    assert looked_at
    for module, layer in looked_at.items():
        assert layer.field is not None, layer.name
        assert layer.output is not None
        row, column = layer.output[1] // 2, layer.output[2] // 2
        assert layer.field.box(row, column, size, size) == measure_box(network, module, (3, size, size)), layer


@pytest.mark.parametrize("position", [(0, 0), (3, 5), (7, 1)])
def test_every_position_has_its_own_field(position: tuple[int, int], measure_box) -> None:
    network = LeNet5()
    layer = next(layer for layer in tabulate(network, (3, 32, 32)).layers if layer.name == "features.3")
    assert layer.field is not None
    assert layer.field.box(*position, 32, 32) == measure_box(network, "features.3", (3, 32, 32), position)


def test_a_rectangular_image(measure_box) -> None:
    network = stack(nn.Conv2d(3, 4, 3, stride=2), nn.Conv2d(4, 4, 5, padding=2))
    layer = tabulate(network, (3, 20, 40)).layers[1]
    assert layer.field is not None
    assert layer.field.box(4, 9, 20, 40) == measure_box(network, "features.1", (3, 20, 40))


@pytest.mark.parametrize(
    ("network", "layer", "size"),
    [
        (lambda: VGG("D", stem="imagenet"), "features.43", 212),
        (lambda: ResNet(18, stem="imagenet"), "layer4.1.conv2", 435),
        (lambda: ResNet(50, stem="imagenet"), "layer4.2.conv3", 427),
        (lambda: AlexNet(stem="imagenet"), "features.12", 195),
    ],
)
def test_published_fields(network: Callable[[], nn.Module], layer: str, size: int) -> None:
    """Araujo et al. 2019, table 1: AlexNet 195, VGG-16 212; ResNet-50 has 483 there, with its strides elsewhere."""
    with torch.device("meta"):
        table = tabulate(network(), (3, 224, 224))
    found = next(row.field for row in table.layers if row.name == layer)
    assert found is not None
    assert found.size == (size, size)
    assert found.step == (32, 32)
    assert found.exceeds(224, 224) == (size > 224)


def test_holes_in_a_dilated_field_are_measured_as_holes(measure) -> None:
    pixels = measure(stack(nn.Conv2d(3, 4, 2, dilation=3)), "features.0", (3, 9, 9), (1, 2))
    assert pixels.nonzero().tolist() == [[1, 2], [1, 5], [4, 2], [4, 5]]


def test_measuring_leaves_the_network_as_it_was(measure) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.MaxPool2d(2), nn.Flatten(), nn.LazyLinear(2))
    network(torch.zeros(2, 3, 10, 10))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    measure(network, "2", (3, 10, 10))
    assert all(module.training for module in network.modules())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not any(module._forward_hooks for module in network.modules())


def test_a_layer_that_does_not_exist_or_is_not_called_is_named(measure) -> None:
    network = Head(nn.Conv2d(3, 4, 3))
    network.spare = nn.Linear(2, 2)
    for layer in ("spare", "nothing"):
        with pytest.raises(KeyError, match=layer):
            measure(network, layer, (3, 8, 8))


def test_a_layer_that_does_not_see_the_image_has_no_field(measure_box) -> None:
    class Blind(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, images: Tensor) -> Tensor:
            return self.conv(torch.ones(1, 3, 8, 8, dtype=images.dtype, device=images.device)).mean((2, 3))

    network = nn.Sequential(Blind())
    assert measure_box(network, "0.conv", (3, 8, 8)) is None
    assert all(layer.field is None for layer in tabulate(network, (3, 8, 8)).layers)
