from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from cnnlab.inspection.activations import FUNCTIONS, ActivationUse, watch_activations
from cnnlab.models.lenet_1998 import LeNet5Of1998


def watched(network: nn.Module, *batches: Tensor) -> tuple[ActivationUse, ...]:
    return watch_activations(network.eval(), batches)[0]


def by_hand(weights: list[float], activation: nn.Module) -> nn.Sequential:
    """Return a network with a unit for each weight, for images of a single value."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(1, len(weights), bias=False), activation)
    with torch.no_grad():
        network[1].weight.copy_(torch.tensor(weights)[:, None])  # pyright: ignore
    return network


def values(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float32)[:, None, None, None]


@pytest.mark.parametrize("inplace", [False, True])
def test_a_unit_is_dead_if_it_is_zero_for_every_image_of_every_batch(inplace: bool) -> None:
    network = by_hand([1.0, -1.0, -2.0, 0.0], nn.ReLU(inplace))
    (use,) = watched(network, values(1, 2), values(3))
    assert (use.function, use.quiet, use.units, use.quiet_units) == ("ReLU", "dead", 4, 3)
    assert use.quiet_share == 0.75
    (use,) = watched(network, values(1, 2), values(-3))
    assert use.quiet_units == 1  # the last batch woke the others
    assert use.quiet_share == pytest.approx(2 * 0.75 / 3 + 0.5 / 3)


@pytest.mark.parametrize(("activation", "quiet"), [(nn.Tanh(), 2), (nn.Sigmoid(), 1)])
def test_saturated_units(activation: nn.Module, quiet: int) -> None:
    (use,) = watched(by_hand([0.1, 2.0, -9.0], activation), values(1, 1.1))
    assert (use.quiet, use.quiet_units) == ("saturated", quiet)


def test_a_channel_is_dead_if_all_its_positions_are() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU())
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([1.0, -1.0])[:, None, None, None])  # pyright: ignore
        network[0].bias.zero_()  # pyright: ignore
    images = torch.ones(3, 1, 2, 2)
    images[:, :, 0, 0] = -1
    (use,) = watched(network, images)
    assert (use.units, use.quiet_units, use.channels, use.quiet_channels) == (8, 4, 2, 0)
    (use,) = watched(network, images.abs())
    assert (use.quiet_units, use.quiet_channels) == (4, 1)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "ReLU": functional.relu_,
    "ReLU6": nn.ReLU6(),
    "tanh": torch.tanh,
    "sigmoid": Tensor.sigmoid,
    "hard sigmoid": functional.hardsigmoid,
    "GELU": nn.GELU("tanh"),
    "SiLU": nn.SiLU(inplace=True),
    "leaky ReLU": nn.LeakyReLU(0.3),
    "ELU": nn.ELU(),
    "CELU": functional.celu,
    "Mish": functional.mish,
    "softplus": nn.Softplus(),
    "hard swish": functional.hardswish,
}


class Applied(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, images: Tensor) -> Tensor:
        return self.function(images.clone())


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_modules_and_functions_are_watched_with_their_own_curves(name: str) -> None:
    assert set(ACTIVATIONS) == {title for title, _ in FUNCTIONS.values()}
    (use,) = watched(Applied(ACTIVATIONS[name]), torch.linspace(-8, 8, 64)[:, None, None, None])
    assert use.function == name
    middles = (use.inputs[1:] + use.inputs[:-1]) / 2
    torch.testing.assert_close(use.apply(middles), ACTIVATIONS[name](middles.clone()))


def test_other_functions_are_ignored() -> None:
    assert not watched(nn.Sequential(nn.Hardtanh(), nn.Softmax(dim=1), nn.Identity()), torch.randn(2, 3, 4, 4))


def test_a_histogram_counts_the_inputs() -> None:
    images = torch.randn(2000, 1, 1, 1, generator=torch.Generator().manual_seed(0))
    (use,) = watched(Applied(torch.tanh), images[:1000], images[1000:])
    assert 0.99 * 2000 < use.counts.sum() <= 2000
    assert len(use.inputs) == len(use.counts) + 1
    assert use.inputs[0] < -2
    assert use.inputs[-1] > 2
    below = use.counts[use.inputs[1:] <= 0].sum()
    assert below == pytest.approx(float((images < 0).sum()), rel=0.1)


def test_uses_are_named_and_in_order() -> None:
    uses = watched(LeNet5Of1998(in_channels=3), torch.randn(2, 3, 32, 32))
    assert [use.name for use in uses] == [f"layers.{name}_squash" for name in ("C1", "S2", "C3", "S4", "C5", "F6")]
    assert uses[-1].channels is None
