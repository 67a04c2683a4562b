from typing import get_args

import pytest
import torch
import torchvision
from torch import Tensor, nn

from cnnlab.models.layers import Activation, Pooling
from cnnlab.models.vgg import STAGES, VGG, Configuration

slow = pytest.mark.slow

PARAMETERS = {"A": 9_231_114, "B": 9_416_010, "D": 14_728_266, "E": 20_040_522}
DEPTHS = {"A": 11, "B": 13, "D": 16, "E": 19}


@pytest.mark.parametrize("configuration", STAGES)
def test_parameters_equal_the_published_ones(configuration: Configuration) -> None:
    with torch.device("meta"):
        network = VGG(configuration)
        plain = VGG(configuration, batch_norm=False)
    assert sum(p.numel() for p in network.parameters()) == PARAMETERS[configuration]
    norms = sum(p.numel() for m in network.modules() if isinstance(m, nn.BatchNorm2d) for p in m.parameters())
    assert sum(p.numel() for p in plain.parameters()) == PARAMETERS[configuration] - norms


@pytest.mark.parametrize("configuration", STAGES)
def test_the_imagenet_form_has_the_depth_of_the_paper(configuration: Configuration) -> None:
    with torch.device("meta"):
        network = VGG(configuration, stem="imagenet")
    assert sum(isinstance(m, nn.Conv2d | nn.Linear) for m in network.modules()) == DEPTHS[configuration]


# The shallowest; the others with `make test-all`, for they have 130 million parameters each.
@pytest.mark.parametrize("batch_norm", [True, pytest.param(False, marks=slow)])
@pytest.mark.parametrize("configuration", ["A", *(pytest.param(c, marks=slow) for c in "BDE")])
def test_the_imagenet_form_equals_torchvisions(
    assert_same_network, configuration: Configuration, batch_norm: bool
) -> None:
    torch.manual_seed(0)
    name = f"vgg{DEPTHS[configuration]}" + ("_bn" if batch_norm else "")
    theirs = getattr(torchvision.models, name)(init_weights=False)
    with torch.device("meta"):
        ours = VGG(configuration, num_classes=1000, batch_norm=batch_norm, stem="imagenet")
    assert_same_network(ours, theirs)


def test_stages_have_the_documented_shapes() -> None:
    network, shapes = VGG("A").eval(), []

    def note(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        shapes.append(tuple(output.shape[1:]))

    for layer in network.features:
        if isinstance(layer, nn.MaxPool2d):
            layer.register_forward_hook(note)
    network(torch.zeros(1, 3, 32, 32))
    assert shapes == [(64, 16, 16), (128, 8, 8), (256, 4, 4), (512, 2, 2), (512, 1, 1)]


def test_other_channels_classes_and_larger_sizes_work() -> None:
    network = VGG("A", in_channels=1, num_classes=7).eval()
    for size in (32, 48):
        assert network(torch.zeros(2, 1, size, size)).shape == (2, 7)


@pytest.mark.parametrize("activation", get_args(Activation))
@pytest.mark.parametrize("pooling", get_args(Pooling))
def test_every_option_trains(assert_trains, activation: Activation, pooling: Pooling) -> None:
    torch.manual_seed(0)
    assert_trains(VGG("A", activation=activation, pooling=pooling), 16)


def test_weights_start_as_in_torchvision() -> None:
    torch.manual_seed(0)
    network = VGG("A", stem="imagenet")
    convolution = network.get_parameter("features.22.weight")
    assert convolution.std().item() == pytest.approx((2 / (512 * 9)) ** 0.5, rel=0.01)
    assert network.get_parameter("classifier.0.weight").std().item() == pytest.approx(0.01, rel=0.01)
    assert not network.get_parameter("features.22.bias").any()
