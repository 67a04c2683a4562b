"""Computed receptive fields are held against measured ones: which pixels get a gradient from one output value."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from cnnlab.inspection.layers import Layer, LayerTable, tabulate
from cnnlab.inspection.receptive_field import extent, measure_receptive_field
from cnnlab.models.alexnet import AlexNet
from cnnlab.models.article import ArticleNet
from cnnlab.models.lenet import LeNet5
from cnnlab.models.resnet import Bottleneck, ResNet
from cnnlab.models.resnet_cifar import CifarResNet
from cnnlab.models.vgg import VGG


class Head(nn.Module):
    """Makes a classifier of features, which are all that the tests look at."""

    def __init__(self, features: nn.Module):
        super().__init__()
        self.features = features

    def forward(self, images: Tensor) -> Tensor:
        return self.features(images).mean((2, 3))


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
    """The same layer twice, functions between, every second pixel, and a shortcut."""

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
    """Every 2x2 pixels become channels, groups of channels change places; later a gap is filled by repetition."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(12, 8, 3, padding=1, groups=4)
        self.second = nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.up = nn.ConvTranspose2d(8, 4, 2, stride=2)

    def forward(self, images: Tensor) -> Tensor:
        n, c, h, w = images.shape
        x = images.view(n, c, h // 2, 2, w // 2, 2).permute(0, 1, 3, 5, 2, 4).reshape(n, 4 * c, h // 2, w // 2)
        x = self.first(x)
        x = x.view(n, 4, 2, h // 2, w // 2).transpose(1, 2).flatten(1, 2)
        return self.up(self.second(x))


def stack(*layers: nn.Module) -> nn.Module:
    return Head(nn.Sequential(*layers))


# Network (a narrow one: the width has no part in it), image size, and the layers that are looked at; None for all
# convolutions and poolings.
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
}


def rows(table: LayerTable, names: list[str] | None) -> dict[str, Layer]:
    """By the name of a module, the row of what it gives: of one that is called twice the first, of a block its last."""
    maps = [layer for layer in table.layers if layer.is_map]
    if names is None:
        return {layer.name: layer for layer in reversed(maps) if layer.window or "Pool" in layer.kind}
    return {name: next(row for row in reversed(maps) if f"{row.name}.".startswith(f"{name}.")) for name in names}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_computed_field_is_the_measured_one(name: str) -> None:
    make, size, names = NETWORKS[name]
    network = make()
    looked_at = rows(tabulate(network, (3, size, size)), names)
    assert looked_at
    for module, layer in looked_at.items():
        assert layer.field is not None, layer.name
        assert layer.output is not None
        row, column = layer.output[1] // 2, layer.output[2] // 2
        measured = extent(measure_receptive_field(network, module, (3, size, size)))
        assert layer.field.box(row, column, size, size) == measured, layer


@pytest.mark.parametrize("position", [(0, 0), (3, 5), (7, 1)])
def test_every_position_has_a_field_of_its_own_place(position: tuple[int, int]) -> None:
    network = LeNet5()
    layer = next(layer for layer in tabulate(network, (3, 32, 32)).layers if layer.name == "features.3")
    measured = measure_receptive_field(network, "features.3", (3, 32, 32), position)
    assert layer.field is not None
    assert layer.field.box(*position, 32, 32) == extent(measured)


def test_a_rectangular_image() -> None:
    network = stack(nn.Conv2d(3, 4, 3, stride=2), nn.Conv2d(4, 4, 5, padding=2))
    layer = tabulate(network, (3, 20, 40)).layers[1]
    assert layer.field is not None
    measured = measure_receptive_field(network, "features.1", (3, 20, 40))
    assert layer.field.box(4, 9, 20, 40) == extent(measured)


@pytest.mark.parametrize(
    ("network", "layer", "size"),
    [
        (lambda: VGG("D", stem="imagenet"), "features.43", 212),
        (lambda: ResNet(18, stem="imagenet"), "layer4.1.conv2", 435),
        (lambda: ResNet(50, stem="imagenet"), "layer4.2.conv3", 427),
        (lambda: AlexNet(stem="imagenet"), "features.12", 195),
    ],
)
def test_fields_that_are_known_from_elsewhere(network: Callable[[], nn.Module], layer: str, size: int) -> None:
    """Araujo et al. 2019, table 1, has AlexNet 195, VGG-16 212, and with its strides in other places ResNet-50 483."""
    with torch.device("meta"):
        table = tabulate(network(), (3, 224, 224))
    found = next(row.field for row in table.layers if row.name == layer)
    assert found is not None
    assert found.size == (size, size)
    assert found.step == (32, 32)
    assert found.exceeds(224, 224) == (size > 224)


def test_holes_in_a_dilated_field_are_measured_as_holes() -> None:
    pixels = measure_receptive_field(stack(nn.Conv2d(3, 4, 2, dilation=3)), "features.0", (3, 9, 9), (1, 2))
    assert pixels.nonzero().tolist() == [[1, 2], [1, 5], [4, 2], [4, 5]]


def test_measuring_leaves_the_network_as_it_was() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.MaxPool2d(2), nn.Flatten(), nn.LazyLinear(2))
    network(torch.zeros(2, 3, 10, 10))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    measure_receptive_field(network, "2", (3, 10, 10))
    assert all(module.training for module in network.modules())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not any(module._forward_hooks for module in network.modules())


def test_a_layer_that_does_not_exist_or_is_not_called_is_named() -> None:
    network = Head(nn.Conv2d(3, 4, 3))
    network.spare = nn.Linear(2, 2)
    for layer in ("spare", "nothing"):
        with pytest.raises(KeyError, match=layer):
            measure_receptive_field(network, layer, (3, 8, 8))


def test_no_pixel_has_no_extent() -> None:
    assert extent(torch.zeros(4, 5, dtype=torch.bool)) is None


# --- what is not a sliding window ------------------------------------------------------------------------------------


class Attention(nn.Module):
    """Patches of 4x4 pixels, a class token in front, one attention over all of them."""

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
    """Squeeze-and-excitation: the mean of each channel scales it."""

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
    """Writes one half of a map over the other; which values see what then is not followed."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.last = nn.Conv2d(4, 4, 3)

    def forward(self, images: Tensor) -> Tensor:
        x = self.conv(images)
        x[:, :, :4] = x[:, :, 4:].clone()
        return self.last(x)


class EarlyGate(nn.Module):
    """A gate that sees less than what it scales, in which padding is seen too."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3)
        self.last = nn.Conv2d(3, 4, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.last(self.conv(functional.pad(images, (0, 2, 0, 2))) * images.mean((2, 3), keepdim=True))


class Swapped(nn.Module):
    """The upper and the lower half change places."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.conv(torch.cat([images[:, :, 4:], images[:, :, :4]], dim=2))


class Rolled(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.conv(images.roll(2, 3))


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
    "network",
    [
        *(Overwriting(), EarlyGate(), Swapped(), Rolled()),
        nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"),
    ],
    ids=lambda network: type(network).__name__,
)
def test_what_is_not_understood_is_not_guessed(network: nn.Module) -> None:
    table = tabulate(Head(network), (3, 8, 8))
    assert next(layer for layer in reversed(table.layers) if layer.kind == "Conv2d").field is None
    assert table.layers[-1].field is None
    assert not any(layer.field for layer in table.layers if layer.kind in ("mul", "cat", "roll"))


def test_a_repeated_value_sees_what_it_repeats_and_has_no_even_step() -> None:
    network = stack(nn.Conv2d(3, 4, 4, stride=4), nn.ConvTranspose2d(4, 4, 2, stride=2))
    field = tabulate(network, (3, 16, 16)).layers[1].field
    assert field is not None
    assert (field.size, field.step, field.box(0, 0, 16, 16)) == ((4, 4), (None, None), None)
    for position, box in (((0, 1), (0, 0, 3, 3)), ((3, 6), (4, 12, 7, 15))):
        assert extent(measure_receptive_field(network, "features.1", (3, 16, 16), position)) == box


def test_a_window_over_an_upsampled_map_is_not_understood_but_the_map_is() -> None:
    network = stack(nn.AvgPool2d(4), nn.Upsample(scale_factor=2), nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1))
    assert [fields_of(network, 16)[f"features.{i}"] for i in range(4)] == [(4, 4), (4, 4), None, None]
