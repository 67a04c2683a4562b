from typing import get_args

import pytest
import torch
from torch import nn

from cnnlab.models.layers import Activation, Pooling, activation_layer, pooling_layer


@pytest.mark.parametrize("name", get_args(Activation))
def test_every_activation_equals_the_function_of_its_name(name: Activation) -> None:
    values = torch.linspace(-3, 3, 50)
    function = getattr(torch, name, None) or getattr(nn.functional, name)
    torch.testing.assert_close(activation_layer(name)(values), function(values))


def test_every_call_creates_a_new_module() -> None:
    assert activation_layer("relu") is not activation_layer("relu")


@pytest.mark.parametrize(
    ("name", "expected"), [("max", [[5.0, 7.0], [13.0, 15.0]]), ("avg", [[2.5, 4.5], [10.5, 12.5]])]
)
def test_pooling(name: Pooling, expected: list[list[float]]) -> None:
    pooled = pooling_layer(name, kernel_size=2, stride=2)(torch.arange(16.0).reshape(1, 4, 4))
    assert pooled[0].tolist() == expected


def test_pooling_windows_may_overlap() -> None:
    pooled = pooling_layer("max", kernel_size=3, stride=2)(torch.arange(25.0).reshape(1, 5, 5))
    assert pooled[0].tolist() == [[12, 14], [22, 24]]
