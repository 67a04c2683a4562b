import pytest
import torch
from torch import nn

from cnnlab.libraries import timm_network, torchvision_network
from cnnlab.training.layer_order import head_names


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


def test_without_a_layer_of_as_many_outputs_there_is_no_head() -> None:
    assert head_names(nn.Sequential(nn.Linear(2, 3)), 4) == set()
