from typing import get_args

import pytest
import torch
import torchvision
from torch import nn

from cnnlab.models.alexnet import AlexNet
from cnnlab.models.layers import Activation


def test_parameters_equal_the_documented_ones() -> None:
    with torch.device("meta"):
        forms = AlexNet(), AlexNet(num_classes=1000, stem="imagenet")
    assert [sum(p.numel() for p in form.parameters()) for form in forms] == [28_714_826, 61_100_840]


def test_the_imagenet_form_equals_torchvisions(assert_same_network) -> None:
    torch.manual_seed(0)
    theirs = torchvision.models.alexnet()
    with torch.device("meta"):
        ours = AlexNet(num_classes=1000, stem="imagenet")
    assert_same_network(ours, theirs)


def test_features_have_the_documented_shapes() -> None:
    assert AlexNet().features(torch.zeros(1, 3, 32, 32)).shape == (1, 256, 3, 3)
    assert AlexNet(stem="imagenet").features(torch.zeros(1, 3, 224, 224)).shape == (1, 256, 6, 6)


@pytest.mark.parametrize("activation", get_args(Activation))
def test_every_activation_trains(assert_trains, activation: Activation) -> None:
    torch.manual_seed(0)
    assert_trains(AlexNet(activation=activation))


def test_other_channels_classes_and_sizes_work() -> None:
    network = AlexNet(in_channels=1, num_classes=7).eval()
    for size in (28, 32, 64):
        assert network(torch.zeros(2, 1, size, size)).shape == (2, 7)


def test_local_response_norm_equals_the_papers_formula() -> None:
    norms = [
        module
        for module in AlexNet(normalization="local_response").features
        if isinstance(module, nn.LocalResponseNorm)
    ]
    assert len(norms) == 2
    a = torch.rand(1, 8, 2, 2) * 30
    squares = torch.nn.functional.pad(a**2, (0, 0, 0, 0, 2, 2))
    neighbours = torch.stack([squares[:, i : i + 8] for i in range(5)]).sum(0)
    torch.testing.assert_close(norms[0](a), a / (2 + 1e-4 * neighbours) ** 0.75)
