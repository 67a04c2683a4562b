import pytest
import torch
from torch import nn

from cnnlab.inference.attacks import REACH, STEPS, perturb
from cnnlab.inference.trained import TrainedNetwork, load


@pytest.fixture
def net(save) -> TrainedNetwork:
    net = load(save(), "cpu", "32-true")
    net.network.double()  # the sign of a gradient near 0 must not hang on rounding
    return net


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


LABELS = torch.tensor([0, 1, 2, 0])
EPSILON = 8 / 255


def loss_gradient(net: TrainedNetwork, images: torch.Tensor) -> torch.Tensor:
    images = images.clone().requires_grad_()
    normalized = (images - net.mean[:, None, None]) / net.std[:, None, None]
    nn.functional.cross_entropy(net.network(normalized), LABELS, reduction="sum").backward()
    assert images.grad is not None
    return images.grad


def test_one_step_goes_along_the_sign_of_the_gradient(net, images):
    expected = (images + EPSILON * loss_gradient(net, images).sign()).clamp(0, 1)
    torch.testing.assert_close(perturb(net, images, LABELS, "fgsm", EPSILON, seed=0), expected)


def test_many_steps_are_those_of_a_loop_by_hand(net, images):
    found = perturb(net, images, LABELS, "pgd", EPSILON, seed=3)
    torch.manual_seed(3)
    start = images + EPSILON * (2 * torch.rand_like(images) - 1)
    changed = start.clamp(0, 1)
    for _ in range(STEPS):
        changed = changed + REACH * EPSILON / STEPS * loss_gradient(net, changed).sign()
        changed = images + (changed - images).clamp(-EPSILON, EPSILON)
        changed = changed.clamp(0, 1)
    torch.testing.assert_close(found, changed)


@pytest.mark.parametrize("attack", ["fgsm", "pgd"])
def test_the_loss_grows_and_values_stay_within_bounds(net, images, attack):
    changed = perturb(net, images, LABELS, attack, EPSILON, seed=0)
    assert float((changed - images).abs().max()) <= EPSILON + 1e-6
    assert float(changed.min()) >= 0 and float(changed.max()) <= 1
    assert not changed.requires_grad and not net.network.training

    def loss(images: torch.Tensor) -> float:
        normalized = (images - net.mean[:, None, None]) / net.std[:, None, None]
        return float(nn.functional.cross_entropy(net.network(normalized), LABELS))

    assert loss(changed) > loss(images)
