from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from cnnlab.build.network import build_network
from cnnlab.libraries import timm_network, torchvision_network
from cnnlab.training.layer_order import head_names, layer_factors


@pytest.mark.parametrize(
    ("name", "head"),
    [("squeezenet1_1", "classifier.1"), ("resnet18", "fc"), ("vit_b_16", "heads.head"), ("inception_v3", "fc")],
)
def test_the_head_of_torchvisions_networks(name: str, head: str) -> None:
    with torch.device("meta"):
        network = torchvision_network(name, num_classes=7)
    assert head_names(network, 7) == {f"{head}.weight", f"{head}.bias"}


def test_timm_names_its_heads() -> None:
    with torch.device("meta"):
        network = timm_network("deit_tiny_distilled_patch16_224", num_classes=7, image_size=32)
    assert head_names(network, 7) == {"head.weight", "head.bias", "head_dist.weight", "head_dist.bias"}


def test_without_a_layer_of_as_many_outputs_the_head_is_the_last() -> None:
    assert head_names(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 3), nn.LayerNorm(3)), 4) == {"1.weight", "1.bias"}


def test_rates_fall_with_every_layer_towards_the_input() -> None:
    layers = nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(4, 2)
    network = nn.Sequential(*layers)
    factors = layer_factors(network, 0.5, head_names(network, 2))
    by_layer = {0: 0.25, 1: 0.25, 2: 0.5, 4: 1.0}
    assert factors == {name: by_layer[int(name[0])] for name, _ in network.named_parameters()}


SHIPPED = sorted(
    f.stem for f in Path("conf/model").glob("*.yaml") if not {"name:", "defaults:"} & {*f.read_text().split()}
)
LIBRARIES = (
    *("torchvision resnet18", "torchvision vit_b_16", "torchvision densenet121", "torchvision efficientnet_b0"),
    *("timm test_vit", "timm test_convnext", "timm test_efficientnet", "timm convnext_atto", "timm levit_128s"),
)


@pytest.mark.parametrize("network", [*SHIPPED, *LIBRARIES])
def test_every_network_has_a_head_and_layers_in_order(network: str) -> None:
    file, _, name = network.partition(" ")
    model = yaml.safe_load(Path(f"conf/model/{file}.yaml").read_text()) | ({"name": name} if name else {})
    with torch.device("meta"):
        net = build_network(model, 7, 224 if name else 32)
    head = head_names(net, 7)
    factors = layer_factors(net, 0.75, head)
    body = [factors[name] for name, _ in net.named_parameters() if name not in head]
    assert head and body == sorted(body)
    assert factors.keys() == {name for name, _ in net.named_parameters()}
    assert body[-1] == 0.75 and 0.75**12 <= body[0] < 0.75**2
