"""Test the options that several networks share: activation, pooling, normalization, dropout and width."""

import inspect
from typing import Any, get_args

import pytest
import torch
from torch import nn

from cnnlab.models.alexnet import AlexNet
from cnnlab.models.article import ArticleNet
from cnnlab.models.four_layers import FourLayers
from cnnlab.models.layers import Activation, Normalization
from cnnlab.models.lenet import LeNet5
from cnnlab.models.resnet import ResNet
from cnnlab.models.resnet9 import ResNet9
from cnnlab.models.resnet_cifar import CifarResNet
from cnnlab.models.speednet import SpeedNet
from cnnlab.models.vgg import VGG

NETWORKS: dict[str, tuple[type[nn.Module], dict[str, Any]]] = {
    "article": (ArticleNet, {}),
    "lenet5": (LeNet5, {}),
    "four_layers": (FourLayers, {}),
    "alexnet": (AlexNet, {}),
    "vgg11": (VGG, {"configuration": "A"}),
    "resnet18": (ResNet, {"depth": 18}),
    "resnet50": (ResNet, {"depth": 50}),
    "resnet20": (CifarResNet, {"depth": 20}),
    "resnet9": (ResNet9, {}),
    "speednet": (SpeedNet, {}),
}
ACTIVATIONS = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
}
NORMS = (nn.BatchNorm2d, nn.GroupNorm, nn.InstanceNorm2d)


def make(name: str, **options: Any) -> nn.Module:
    network, own = NETWORKS[name]
    with torch.device("meta"):
        return network(**own, **options)


def with_option(option: str) -> list[str]:
    return [name for name, (network, _) in NETWORKS.items() if option in inspect.signature(network).parameters]


def count(network: nn.Module, kind: Any) -> int:
    return sum(isinstance(module, kind) for module in network.modules())


def test_networks_have_the_expected_options() -> None:
    assert set(with_option("activation")) == set(with_option("width")) == set(NETWORKS)
    assert with_option("pooling") == ["article", "lenet5", "four_layers", "alexnet", "vgg11"]
    assert with_option("normalization") == [
        "article",
        "lenet5",
        "four_layers",
        "alexnet",
        "resnet18",
        "resnet50",
        "resnet20",
        "resnet9",
    ]
    assert with_option("dropout") == ["article", "lenet5", "alexnet", "vgg11"]


@pytest.mark.parametrize("name", with_option("activation"))
def test_the_activation_is_the_only_one_in_the_network(name: str) -> None:
    assert set(ACTIVATIONS) == set(get_args(Activation))
    everywhere = count(make(name), nn.ReLU if name != "speednet" else nn.GELU)
    assert everywhere > 0
    for activation, kind in ACTIVATIONS.items():
        network = make(name, activation=activation)
        assert count(network, kind) == count(network, tuple(ACTIVATIONS.values())) == everywhere


@pytest.mark.parametrize("name", with_option("pooling"))
def test_pooling_is_replaced_everywhere(name: str) -> None:
    largest, average = make(name), make(name, pooling="avg")
    assert count(largest, nn.MaxPool2d) == count(average, nn.AvgPool2d) > 0
    assert count(average, nn.MaxPool2d) == 0


@pytest.mark.parametrize("name", with_option("normalization"))
def test_a_norm_follows_every_convolution(name: str) -> None:
    for normalization in get_args(Normalization):
        network = make(name, normalization=normalization)
        convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
        norms = count(network, NORMS)
        assert norms == (0 if normalization == "none" else len(convolutions)), normalization
        assert all(c.bias is not None for c in convolutions if normalization == "none")


@pytest.mark.parametrize("name", with_option("normalization"))
def test_batch_norms_normalize_their_maps(name: str) -> None:
    torch.manual_seed(0)
    network, own = NETWORKS[name]
    net = network(**own, normalization="batch", width=0.25)
    outputs = []
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_hook(lambda m, i, o: outputs.append(o.detach().clone()))
    net(torch.randn(8, 3, 32, 32) * 5 + 3)
    for output in outputs:
        torch.testing.assert_close(output.mean((0, 2, 3)), torch.zeros(output.shape[1]), atol=1e-3, rtol=0)


@pytest.mark.parametrize("name", with_option("dropout"))
def test_dropout_is_random_only_in_training(name: str) -> None:
    torch.manual_seed(0)
    network, own = NETWORKS[name]
    stem: dict[str, Any] = {"stem": "imagenet", "width": 0.1} if name == "vgg11" else {"width": 0.25}
    net = network(**own, **stem, dropout=0.9)
    images = torch.randn(2, 3, 32, 32)
    net.eval()
    assert torch.equal(net(images), net(images))
    for module in net.modules():
        module.train(isinstance(module, nn.Dropout))
    assert not torch.equal(net(images), net(images))


@pytest.mark.parametrize("name", with_option("width"))
def test_width_scales_every_layer(name: str) -> None:
    parameters = [sum(p.numel() for p in make(name, width=width).parameters()) for width in (0.5, 1.0, 2.0)]
    for narrow, wide in zip(parameters, parameters[1:], strict=False):
        assert 2.9 < wide / narrow < 4.1  # quadratic but for the ends, which meet the images and the classes
    with pytest.raises(ValueError, match="width must be above 0, got -1"):
        make(name, width=-1)


@pytest.mark.parametrize("name", ["article", "lenet5", "alexnet", "resnet9"])
def test_weights_start_as_torchs_defaults(name: str) -> None:
    torch.manual_seed(0)
    network, own = NETWORKS[name]
    for layer in network(**own).modules():
        if isinstance(layer, nn.Conv2d | nn.Linear) and layer.weight.numel() > 2000:
            fan_in = layer.weight[0].numel()  # uniform in plus or minus 1 / sqrt(fan_in)
            assert layer.weight.std().item() == pytest.approx((3 * fan_in) ** -0.5, rel=0.05)
            assert layer.weight.abs().max().item() <= fan_in**-0.5


CHANGED = [(name, "activation", "silu") for name in with_option("activation") if name != "speednet"]
CHANGED += [(name, "normalization", kind) for name in with_option("normalization") for kind in ("group", "instance")]


@pytest.mark.parametrize(("name", "option", "value"), CHANGED)
def test_every_parameter_is_trained(assert_trains, name: str, option: str, value: str) -> None:
    torch.manual_seed(0)
    network, own = NETWORKS[name]
    assert_trains(network(**own, **{option: value}, width=0.5))
