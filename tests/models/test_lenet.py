from typing import get_args

import pytest
import torch

from cnnlab.models.layers import Activation, Pooling
from cnnlab.models.lenet import LeNet5


@pytest.mark.parametrize(("channels", "parameters"), [(3, 62_006), (1, 61_706)])
def test_parameters_equal_the_published_ones(channels: int, parameters: int) -> None:
    assert sum(p.numel() for p in LeNet5(in_channels=channels).parameters()) == parameters


def test_other_channels_and_classes_work() -> None:
    assert LeNet5(in_channels=1, num_classes=7)(torch.zeros(2, 1, 32, 32)).shape == (2, 7)


def test_other_sizes_do_not_fit() -> None:
    with pytest.raises(RuntimeError):
        LeNet5()(torch.zeros(1, 3, 28, 28))


@pytest.mark.parametrize("pooling", get_args(Pooling))
@pytest.mark.parametrize("activation", get_args(Activation))
def test_every_option_trains(assert_trains, activation: Activation, pooling: Pooling) -> None:
    torch.manual_seed(0)
    assert_trains(LeNet5(activation=activation, pooling=pooling), 16)


def test_pooling_changes_what_the_network_computes() -> None:
    networks = {}
    for pooling in get_args(Pooling):
        torch.manual_seed(0)
        networks[pooling] = LeNet5(pooling=pooling)
    images = torch.randn(2, 3, 32, 32)
    assert not torch.allclose(networks["max"](images), networks["avg"](images))
