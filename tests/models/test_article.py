from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from cnnlab.models.article import ArticleNet
from cnnlab.models.layers import Activation


def test_parameters_equal_the_guides() -> None:
    assert sum(p.numel() for p in ArticleNet().parameters()) == 2_997_642


def test_shapes_equal_the_documented_ones() -> None:
    network, shapes = ArticleNet(), []

    def note(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        shapes.append(tuple(output.shape[1:]))

    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d | nn.Linear):
            layer.register_forward_hook(note)
    network(torch.zeros(2, 3, 32, 32))
    maps = [(64, 31, 31), (64, 15, 15), (192, 14, 14), (192, 6, 6), (384, 6, 6), (256, 6, 6), (256, 6, 6), (256, 2, 2)]
    assert shapes == [*maps, (512,), (256,), (10,)]


@pytest.mark.parametrize("size", [26, 32, 33])
def test_other_channels_classes_and_sizes_work(size: int) -> None:
    assert ArticleNet(in_channels=1, num_classes=7)(torch.zeros(2, 1, size, size)).shape == (2, 7)


@pytest.mark.parametrize("size", [25, 34])
def test_other_sizes_do_not_fit(size: int) -> None:
    with pytest.raises(RuntimeError):
        ArticleNet()(torch.zeros(1, 3, size, size))


@pytest.mark.parametrize("activation", get_args(Activation))
def test_every_activation_trains(assert_trains, activation: Activation) -> None:
    torch.manual_seed(0)
    assert_trains(ArticleNet(activation=activation))


def test_dropout_works_only_in_training() -> None:
    torch.manual_seed(0)
    images = torch.randn(2, 3, 32, 32)
    network = ArticleNet(dropout=0.5)
    assert not torch.equal(network(images), network(images))
    network.eval()
    assert torch.equal(network(images), network(images))
    network = ArticleNet(dropout=0.0)
    assert torch.equal(network(images), network(images))
