import copy

import pytest
import torch
from torch import Tensor, nn

from cnnlab.training.pool_first import PoolFirst, pool_first


def network(activation: nn.Module, pooling: nn.Module) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), activation, pooling, nn.Sequential(nn.Conv2d(4, 2, 3), nn.Flatten())
    )


def passes(network: nn.Module, images: Tensor) -> list[Tensor]:
    """Return the output and the gradients of the images and all parameters."""
    images = images.clone().requires_grad_()
    output = network(images)
    output.square().sum().backward()
    return [output, *(tensor.grad for tensor in (images, *network.parameters()) if tensor.grad is not None)]


def activations(network: nn.Module, activation: nn.Module, images: Tensor) -> int:
    """Return how many numbers an activation computes per image."""
    counts = []
    handle = activation.register_forward_hook(lambda module, inputs, output: counts.append(output[0].numel()))
    network(images)
    handle.remove()
    return sum(counts)


@pytest.fixture
def images() -> Tensor:
    return torch.randn(5, 3, 15, 15, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "pooling", [nn.MaxPool2d(2), nn.MaxPool2d(3, 2, padding=1), nn.MaxPool2d(3, 2, ceil_mode=True)]
)
def test_relu_gives_the_same_bits_from_fewer_activations(pooling: nn.Module, images: Tensor):
    torch.manual_seed(0)
    usual = network(nn.ReLU(), pooling)
    norm = usual[1]
    assert isinstance(norm, nn.BatchNorm2d)
    norm.bias.data -= 1  # gives windows without a value above 0
    faster = copy.deepcopy(usual)
    pool_first(faster)
    for one, other in zip(passes(usual, images), passes(faster, images), strict=True):
        assert torch.equal(one, other)
    before, after = (activations(net, net[2], images) for net in (usual, faster))
    assert before == 4 * 13 * 13
    assert after < before / 3


@pytest.mark.parametrize("activation", [nn.Tanh(), nn.Sigmoid(), nn.LeakyReLU(), nn.ELU(), nn.ReLU(inplace=True)])
def test_other_activations_that_never_decrease(activation: nn.Module, images: Tensor):
    torch.manual_seed(0)
    usual = network(activation, nn.MaxPool2d(2))
    faster = copy.deepcopy(usual)
    pool_first(faster)
    for one, other in zip(passes(usual, images), passes(faster, images), strict=True):
        torch.testing.assert_close(one, other)
    assert activations(faster, faster[2], images) == 4 * 6 * 6


@pytest.mark.parametrize(
    ("activation", "pooling"),
    [
        (nn.GELU(), nn.MaxPool2d(2)),
        (nn.SiLU(), nn.MaxPool2d(2)),
        (nn.LeakyReLU(-0.5), nn.MaxPool2d(2)),
        (nn.ELU(-1.0), nn.MaxPool2d(2)),
        (nn.ReLU(), nn.AvgPool2d(2)),
    ],
)
def test_the_order_stays_if_another_would_change_the_result(activation: nn.Module, pooling: nn.Module, images: Tensor):
    torch.manual_seed(0)
    usual = network(activation, pooling)
    faster = copy.deepcopy(usual)
    pool_first(faster)
    assert torch.equal(usual(images), faster(images))
    assert activations(faster, faster[2], images) == 4 * 13 * 13


def test_layers_keep_their_positions_and_names(images: Tensor):
    usual = network(nn.ReLU(), nn.MaxPool2d(2)).eval()
    faster = copy.deepcopy(usual)
    pool_first(faster)
    assert list(faster.state_dict()) == list(usual.state_dict())
    assert [type(layer) for layer in faster][:4] == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.MaxPool2d]
    assert torch.equal(usual[:3](images), faster[:3](images))  # a slice that ends between activation and pooling


def test_a_first_layer_that_overwrites_its_input_still_does(images: Tensor):
    network = nn.Sequential(nn.ReLU(inplace=True), nn.MaxPool2d(2))
    pool_first(network)
    network(images)
    assert (images >= 0).all()


def test_a_subclass_of_sequential_is_not_changed():
    class Twice(nn.Sequential):
        def forward(self, input: Tensor) -> Tensor:
            return super().forward(super().forward(input))

    network = nn.Sequential(Twice(nn.ReLU()), nn.Sequential(nn.ReLU()))
    pool_first(network)
    assert [type(module) for module in network.modules() if isinstance(module, nn.Sequential)] == [
        PoolFirst,
        Twice,
        PoolFirst,
    ]
