import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn
from torch.nn import functional

from cnnlab.build.network import build_network
from cnnlab.config.paths import ROOT
from cnnlab.inspection.activations import watch_activations
from cnnlab.inspection.attribution import class_activation
from cnnlab.inspection.feature_maps import (
    find_chains,
    find_explaining,
    last_of_each_size,
    maps_of,
    shown_chains,
)
from cnnlab.inspection.layers import LayerTable, tabulate
from cnnlab.inspection.page.sizes import steps
from cnnlab.instantiate import import_target
from cnnlab.models.article import ArticleNet
from cnnlab.models.resnet import ResNet

MODELS = sorted({file.stem for file in (ROOT / "conf" / "model").glob("*.yaml")} - {"timm", "torchvision"})


def image(size: int = 32) -> Tensor:
    return torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))


def traced(network: nn.Module, size: int = 32) -> LayerTable:
    return tabulate(network.eval(), (3, size, size), image(size))


def composed(name: str) -> dict[str, Any]:
    config = yaml.safe_load(Path(ROOT / "conf" / "model" / f"{name}.yaml").read_text())
    for base in config.pop("defaults", []):
        config = composed(base) | config
    return config


@pytest.mark.parametrize("name", MODELS)
def test_every_network_of_the_zoo_has_maps_and_explanations(name: str) -> None:
    config = composed(name)
    if "width" in inspect.signature(import_target(config["_target_"], "model")).parameters:
        config["width"] = 0.125
    network = build_network(config, classes=10).eval()
    table = traced(network)
    chains = find_chains(table)
    assert 2 <= len(shown_chains(chains)) <= 6
    assert all(len(maps_of(layer)) == len(maps_of(chain.layers[0])) for chain in chains for layer in chain.layers)
    layers = last_of_each_size(table)
    assert len(layers) >= 3
    sides = [maps_of(layer).shape[1] for layer in layers]
    assert sides == sorted(sides, reverse=True)
    assert len(set(sides)) == len(sides)
    assert all(layer.field for layer in layers)
    explaining = find_explaining(network, table, chains)
    assert explaining is not None
    explained = class_activation(network, explaining.name, image(), [0, 1, 2])
    assert explained.shape == (3, *maps_of(explaining).shape[1:])
    uses, logits = watch_activations(network, [image()])
    assert uses
    assert all(use.units for use in uses)
    torch.testing.assert_close(logits, network(image()).detach(), rtol=1e-4, atol=1e-5)
    found = steps(table)
    assert found
    assert all(step.formula.endswith(f"= {step.layer.output[1]}") for step in found if step.layer.output)


def test_the_sizes_of_the_article_net() -> None:
    network = ArticleNet(width=0.25).eval()
    table = traced(network)
    layers = last_of_each_size(table)
    assert [(layer.name, layer.kind, layer.output) for layer in layers] == [
        ("features.1", "ReLU", (16, 31, 31)),
        ("features.2", "MaxPool2d", (16, 15, 15)),
        ("features.4", "ReLU", (48, 14, 14)),
        ("features.11", "ReLU", (64, 6, 6)),
        ("features.12", "MaxPool2d", (64, 2, 2)),
    ]
    assert layers[0].field is not None
    assert layers[0].field.size == (4, 4)
    explaining = find_explaining(network, table, find_chains(table))
    assert explaining is not None
    assert explaining.name == "features.11"  # of the last convolution, not of the pooling after it


def test_maps_inside_a_block_that_reduces_the_size_are_not_the_last_of_theirs() -> None:
    network = ResNet(depth=50, width=0.125).eval()
    layers = last_of_each_size(traced(network))
    assert [layer.name for layer in layers] == [
        *("layer1.2.activation", "layer2.3.activation", "layer3.5.activation", "layer4.2.activation")
    ]


def test_maps_are_kept_before_later_layers_overwrite_them() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Conv2d(4, 2, 3), nn.Flatten()
    ).eval()
    first = find_chains(traced(network, 10))[0]
    with torch.no_grad():
        convolved = network[0](image(10))
    torch.testing.assert_close(maps_of(first.layers[0]), convolved[0])
    torch.testing.assert_close(maps_of(first.layers[1]), convolved[0].relu())


def test_the_strongest_channels_and_the_silent_ones() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.ReLU(), nn.Flatten())
    with torch.no_grad():
        weights = torch.tensor([1.0, 0.0, 3.0, 2.0])
        network[0].weight.copy_(weights[:, None, None, None].expand(4, 3, 1, 1))  # pyright: ignore
    (chain,) = find_chains(traced(network, 8))
    assert [layer.kind for layer in chain.layers] == ["Conv2d", "ReLU"]
    assert chain.strongest(3) == [2, 3, 0]
    assert chain.silent_channels == 1


def test_a_block_ends_with_its_shortcut_and_many_chains_are_shown_by_size() -> None:
    chains = find_chains(traced(ResNet(depth=18, width=0.125)))
    assert len(chains) == 17  # those of the shortcuts are left out
    assert [layer.kind for layer in chains[-1].layers] == ["Conv2d", "BatchNorm2d", "add", "ReLU", "AdaptiveAvgPool2d"]
    shown = [chain.layers[0].name for chain in shown_chains(chains)]
    assert shown == ["conv1", "layer1.1.conv2", "layer2.1.conv2", "layer3.1.conv2", "layer4.1.conv2"]


class Patches(nn.Module):
    """Projects patches as a vision transformer does, and puts channels last."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Conv2d(3, 6, 4, stride=4)
        self.norm = nn.LayerNorm(6)
        self.head = nn.Linear(6, 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.norm(self.project(images).permute(0, 2, 3, 1)).mean(dim=(1, 2)))


def test_a_network_whose_only_convolution_is_the_first_layer_explains_no_class() -> None:
    table = traced(Patches())
    assert [layer.name for layer in last_of_each_size(table)] == ["project"]  # the norm's channels are last: no map
    assert find_explaining(Patches(), table, find_chains(table)) is None


def test_a_network_without_maps_has_none() -> None:
    table = traced(nn.Sequential(nn.Flatten(), nn.Linear(192, 10)), 8)
    assert (find_chains(table), last_of_each_size(table)) == ([], [])


class Functional(nn.Module):
    """Calls one activation module twice, and a convolution as a function."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, stride=2)
        self.activation = nn.ReLU()
        self.weight = nn.Parameter(torch.randn(5, 4, 2, 2))

    def forward(self, images: Tensor) -> Tensor:
        x = self.activation(self.conv2(self.activation(self.conv1(images))))
        return functional.conv2d(x, self.weight).relu().mean(dim=(2, 3))


def test_class_maps_come_from_the_output_of_a_module() -> None:
    network = Functional()
    chains = find_chains(table := traced(network, 12))
    assert [[layer.kind for layer in chain.layers] for chain in chains] == [
        *(["Conv2d", "ReLU"], ["Conv2d", "ReLU"], ["convolution", "relu"])
    ]
    assert find_explaining(network, table, chains) is None  # the last convolution's maps are no module's
    assert find_explaining(network, table, chains[:2]) is chains[1].layers[1]
    first = find_explaining(network, table, [chains[1], chains[0]])
    assert first is chains[0].layers[0]  # the activation is called again later


class Branches(nn.Module):
    """Two convolutions side by side, with a function after their channels are joined."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 2, 3), nn.Conv2d(3, 4, 3)

    def forward(self, images: Tensor) -> Tensor:
        return torch.cat([self.one(images), self.two(images)], dim=1).relu()


def test_class_maps_of_branches_come_from_all_of_them() -> None:
    network = nn.Sequential(Branches(), nn.Flatten(), nn.LazyLinear(5))
    network(image(8))
    explaining = find_explaining(network, table := traced(network, 8), find_chains(table))
    assert explaining is not None
    assert (explaining.name, explaining.kind, explaining.output) == ("0", "relu", (6, 6, 6))
    assert class_activation(network, "0", image(8), [1, 2]).shape == (2, 6, 6)
