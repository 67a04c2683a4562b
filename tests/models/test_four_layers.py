from typing import Any

import pytest
import torch
from torch import nn

from cnnlab.models.four_layers import FourLayers


def shapes_of(network: nn.Module) -> list[tuple[int, ...]]:
    """Return the shapes of the maps after each halving."""
    maps, shapes = torch.zeros(1, 3, 32, 32), []
    for layer in network.features:  # pyright: ignore
        maps = layer(maps)
        if isinstance(layer, nn.MaxPool2d | nn.AvgPool2d) or (isinstance(layer, nn.Conv2d) and layer.stride == (2, 2)):
            shapes.append(tuple(maps.shape[1:]))
    return shapes


def test_parameters_and_shapes_equal_the_documented_ones() -> None:
    network = FourLayers()
    assert sum(p.numel() for p in network.parameters()) == 89_578
    assert shapes_of(network) == [(32, 16, 16), (32, 8, 8), (64, 4, 4)]


@pytest.mark.parametrize(
    ("options", "sizes"),
    [
        ({"downsampling": "stride"}, [16, 8, 4]),
        ({"kernel_size": 3}, [16, 8, 4]),
        ({"kernel_size": 3, "padding": "none"}, [15, 6, 2]),
        ({"kernel_size": 3, "padding": "none", "downsampling": "stride"}, [15, 7, 3]),
        ({"pooling": "avg", "normalization": "batch"}, [16, 8, 4]),
    ],
)
def test_options_decide_the_size_of_the_maps_and_train(assert_trains, options: dict[str, Any], sizes: list[int]):
    torch.manual_seed(0)
    network = FourLayers(**options)
    assert [shape[-1] for shape in shapes_of(network.eval())] == sizes
    assert_trains(network)


@pytest.mark.parametrize("size", [28, 33, 64])
def test_other_channels_classes_and_sizes_work(size: int) -> None:
    network = FourLayers(in_channels=1, num_classes=7, image_size=size)
    assert network(torch.zeros(2, 1, size, size)).shape == (2, 7)


@pytest.mark.parametrize("options", [{"kernel_size": 4}, {"kernel_size": 0}, {"padding": "none"}, {"image_size": 4}])
def test_options_that_leave_no_pixels_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="kernel_size"):
        FourLayers(**options)


def test_weights_can_start_as_those_of_alexnet() -> None:
    torch.manual_seed(0)
    network = FourLayers(initialization="alexnet")
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert [round(layer.weight.std().item(), 3) for layer in layers] == [0.01] * 4
    assert [layer.bias.unique().tolist() for layer in layers if layer.bias is not None] == [[0], [1], [0], [0]]
