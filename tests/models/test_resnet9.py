import pytest
import torch
from torch import nn

from cnnlab.models.resnet9 import ResidualBlock, ResNet9


def test_parameters_and_layers() -> None:
    network = ResNet9()
    assert sum(p.numel() for p in network.parameters()) == 6_573_120
    assert sum(isinstance(m, nn.Conv2d | nn.Linear) for m in network.modules()) == 9


def test_shapes_equal_the_documented_ones() -> None:
    network = ResNet9().eval()
    x = network.stem(torch.zeros(1, 3, 32, 32))
    shapes = [x.shape[1:]]
    for layer in (network.layer1, network.layer2, network.layer3):
        x = layer(x)
        shapes.append(x.shape[1:])
    assert shapes == [(64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4)]


def test_a_block_with_a_zero_residual_is_its_shortcut() -> None:
    block = ResidualBlock(4, "relu", "batch").eval()
    norm = block.conv2[1]
    assert isinstance(norm, nn.BatchNorm2d)
    nn.init.zeros_(norm.weight)
    x = torch.rand(2, 4, 8, 8)
    torch.testing.assert_close(block(x), x)


@pytest.mark.parametrize("normalization", ["batch", "group", "layer", "instance", "none"])
def test_every_parameter_is_trained(assert_trains, normalization) -> None:
    torch.manual_seed(0)
    assert_trains(ResNet9(width=0.25, normalization=normalization))


def test_other_channels_classes_and_sizes_work() -> None:
    network = ResNet9(in_channels=1, num_classes=7, width=0.25, activation="gelu").eval()
    for size in (8, 28, 64):
        assert network(torch.zeros(2, 1, size, size)).shape == (2, 7)
    assert not any(isinstance(m, nn.ReLU) for m in network.modules())
