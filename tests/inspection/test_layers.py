from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional

from cnnlab.inspection.cost import measure_cost
from cnnlab.inspection.layers import LayerTable, tabulate
from cnnlab.models.article import ArticleNet
from cnnlab.models.resnet import ResNet
from cnnlab.models.resnet_cifar import CifarResNet

# Networks of torchvision, and what each tests.
TORCHVISION: dict[str, dict[str, Any]] = {
    "mobilenet_v3_small": {},  # depthwise, squeeze-and-excitation
    "densenet121": {},  # concatenation
    "convnext_tiny": {},  # channels last
    "vit_b_16": {"image_size": 64},  # attention, parameters of modules with sub-modules
    "inception_v3": {"init_weights": False},  # rectangular windows, a head that only training uses
    "googlenet": {"init_weights": False},  # ceil_mode
    "shufflenet_v2_x0_5": {},  # channels are shuffled
    "efficientnet_b0": {},
    "swin_t": {},  # windows that are rolled: their fields are unknown
}


def layers(table: LayerTable, name: str) -> list[Any]:
    return [layer for layer in table.layers if layer.name == name]


@pytest.mark.parametrize("name", TORCHVISION)
def test_the_rows_of_any_network_add_up(name: str) -> None:
    with torch.device("meta"):
        network = getattr(torchvision.models, name)(**TORCHVISION[name])
    size = 75 if name == "inception_v3" else 64
    table = tabulate(network, (3, size, size))
    assert sum(layer.parameters for layer in table.layers) == table.parameters
    assert table.parameters == sum(p.numel() for p in network.parameters())
    assert table.macs == measure_cost(network, (3, size, size)).macs
    outputs = [layer for layer in table.layers if layer.output]
    assert outputs[-1].output == (1000,)
    if name != "swin_t":
        assert all(layer.field for layer in outputs)


def test_on_the_cpu_the_table_is_the_same() -> None:
    tables = []
    for device in ("meta", "cpu"):
        with torch.device(device):
            network = torchvision.models.VisionTransformer(32, 8, 2, 2, 32, 64, num_classes=10)
        tables.append(tabulate(network, (3, 32, 32)))
        assert tables[-1].macs == measure_cost(network, (3, 32, 32)).macs
    assert tables[0] == tables[1]


def test_the_article_net() -> None:
    table = tabulate(ArticleNet(), (3, 32, 32))
    convolution, relu, pooling = table.layers[:3]
    assert (convolution.name, convolution.kind, convolution.output) == ("features.0", "Conv2d", (64, 31, 31))
    window = convolution.window
    assert window is not None
    assert (window.kernel, window.stride, window.padding) == ((4, 4), (1, 1), (1, 1))
    assert (convolution.parameters, convolution.macs) == (3136, 64 * 31**2 * 48)
    assert convolution.activation_bytes == relu.activation_bytes == 4 * 64 * 31**2
    assert convolution.compression == 3 * 32**2 / (64 * 31**2)
    assert pooling.window is not None
    assert (pooling.window.kernel, pooling.window.stride, pooling.macs) == ((3, 3), (2, 2), 0)
    assert table.layers[-1].output == (10,)
    assert table.layers[-1].compression == 307.2
    assert (table.parameters, table.trainable_parameters, table.weighted_layers) == (2_997_642, 2_997_642, 8)
    assert table.activation_bytes == sum(layer.activation_bytes for layer in table.layers)
    assert table.last_map is not None
    assert (table.last_map.name, table.smallest_map) == ("features.12", (2, 2))


def test_a_layer_that_computes_nothing_takes_no_memory() -> None:
    network = nn.Sequential(nn.Identity(), nn.Dropout(), nn.Flatten(), nn.Linear(48, 2))
    assert [layer.activation_bytes for layer in tabulate(network, (3, 4, 4)).layers] == [0, 0, 0, 8]


def test_shortcuts_have_rows_of_their_own() -> None:
    table = tabulate(CifarResNet(8), (3, 32, 32))
    assert [row.kind for row in layers(table, "layer1.0")] == ["add"]
    assert [row.kind for row in layers(table, "layer2.0")] == ["pad", "add"]
    assert layers(table, "layer2.0")[-1].output == (32, 16, 16)


def test_the_end_of_the_features_is_before_the_global_pooling() -> None:
    table = tabulate(ResNet(18), (3, 32, 32))
    assert table.last_map is not None
    assert table.last_map.name == "layer4.1.activation"
    assert table.smallest_map == (4, 4)


class NormWithParts(nn.Module):
    """Holds parameters beside a sub-module, as timm's norms with an activation do."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4, 1, 1))
        self.activation = nn.ReLU()

    def forward(self, images: Tensor) -> Tensor:
        return self.activation(images * self.weight)


def test_rows_without_output_do_not_end_the_features() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), NormWithParts(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    table = tabulate(network, (3, 8, 8))
    assert [row.kind for row in table.layers[:3]] == ["Conv2d", "Parameter", "mul"]
    assert table.last_map is not None
    assert table.last_map.name == "1.activation"


class Shared(nn.Module):
    """Calls a module twice and another never, has a frozen one, and parameters beside them."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1, bias=False)
        self.scale = nn.Parameter(torch.ones(3, 1, 1))
        self.spare = nn.ModuleList([nn.Linear(5, 5), nn.Linear(192, 4)])
        self.spare[1].requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        return self.spare[1]((self.conv(self.conv(images)) * self.scale).flatten(1))


def test_parameters_are_counted_once_and_macs_at_every_call() -> None:
    network = Shared()
    table = tabulate(network, (3, 8, 8))
    first, second = layers(table, "conv")
    assert (first.parameters, second.parameters) == (81, 0)
    assert first.macs == second.macs == 81 * 64
    assert [(row.kind, row.parameters) for row in layers(table, "scale")] == [("Parameter", 3)]
    unused = table.layers[-1]
    assert (unused.name, unused.kind, unused.parameters) == ("spare.0", "Linear, not called", 30)
    assert (unused.output, unused.compression, unused.field) == (None, None, None)
    assert (table.parameters, table.trainable_parameters) == (81 + 3 + 30 + 772, 81 + 3 + 30)
    assert [row.kind for row in layers(table, "forward")] == ["mul"]


class Functions(nn.Module):
    """Computes everything with functions."""

    def __init__(self):
        super().__init__()
        self.filters = nn.Parameter(torch.zeros(6, 1, 3, 5))
        self.matrix = nn.Parameter(torch.zeros(10, 6))

    def forward(self, images: Tensor) -> Tensor:
        x = functional.conv2d(images, self.filters, stride=(2, 1), padding=(1, 0), dilation=(1, 2), groups=3)
        x = functional.max_pool2d(functional.relu(x), 2)
        return functional.linear(x.mean((2, 3)), self.matrix)


def test_a_network_of_functions_has_a_row_for_each() -> None:
    network = Functions()
    table = tabulate(network, (3, 16, 16))
    kinds = ["Parameter", "Parameter", "convolution", "relu", "max_pool2d", "mean", "matmul"]
    assert [row.kind for row in table.layers] == kinds
    window = table.layers[2].window
    assert window is not None
    assert (window.kernel, window.stride, window.padding) == ((3, 5), (2, 1), (1, 0))
    assert (window.dilation, window.groups) == ((1, 2), 3)
    assert table.layers[2].macs == 6 * 15 * 8 * 8
    assert table.macs == measure_cost(network, (3, 16, 16)).macs
    assert sum(row.parameters for row in table.layers) == table.parameters == 90 + 60


def test_a_module_that_uses_the_weights_of_its_parts_is_one_layer() -> None:
    class Classifier(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(3, 1, batch_first=True)

        def forward(self, images: Tensor) -> Tensor:
            x = images.flatten(2).transpose(1, 2)
            return self.attention(x, x, x)[0].mean(1)

    network = Classifier()
    table = tabulate(network, (3, 4, 4))
    row = layers(table, "attention")[0]
    assert (row.kind, row.parameters) == ("MultiheadAttention", table.parameters)
    assert row.macs == table.macs == measure_cost(network, (3, 4, 4)).macs == 16 * 3 * 12 + 2 * 16 * 16 * 3


def test_images_of_a_wrong_size_are_refused() -> None:
    with pytest.raises(ValueError, match="images of 3x8x8"):
        tabulate(ArticleNet(), (3, 8, 8))


def test_the_network_is_left_as_it_was() -> None:
    network = ArticleNet()
    tabulate(network, (3, 32, 32))
    assert all(module.training for module in network.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
