from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cnnlab.errors import RequestError
from cnnlab.instantiate import build
from cnnlab.training.muon import Muon, orthogonalized
from cnnlab.training.optimizers import build_optimizer


def network() -> nn.Sequential:
    """Return a network with two hidden layers of one shape and one of another, a norm and biases."""
    torch.manual_seed(0)
    hidden = [nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.Conv2d(8, 16, 1)]
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        *hidden,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 4),
    ).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


HIDDEN = ("2.weight", "3.weight", "4.weight")


@pytest.fixture(autouse=True)
def in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the same results on every processor."""
    monkeypatch.setattr("cnnlab.training.muon.auto_precision", lambda device: "32-true")


def train(net: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 3, start: int = 0) -> None:
    for step in range(start, start + steps):
        generator = torch.Generator().manual_seed(step)
        images = torch.randn(16, 3, 6, 6, generator=generator)
        labels = torch.randint(0, 4, (16,), generator=generator)
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(images), labels).backward()
        optimizer.step()


def weights(net: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in net.named_parameters()}


@pytest.mark.parametrize("shape", [(3, 20, 50), (2, 50, 20), (1, 16, 16)])
def test_singular_values_come_close_to_one_and_directions_stay(shape: tuple[int, int, int]) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 100
    result = orthogonalized(matrices)
    values = torch.linalg.svdvals(result)
    assert 0.6 < values.min() < values.max() < 1.25
    u, _, v = torch.linalg.svd(matrices, full_matrices=False)
    diagonal = u.mT @ result @ v.mT
    torch.testing.assert_close(diagonal, torch.diag_embed(diagonal.diagonal(dim1=1, dim2=2)), rtol=0, atol=1e-4)


def test_bfloat16_gives_nearly_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    matrices = torch.randn(2, 20, 50, generator=torch.Generator().manual_seed(0))
    exact = orthogonalized(matrices)
    monkeypatch.setattr("cnnlab.training.muon.auto_precision", lambda device: "bf16-mixed")
    rough = orthogonalized(matrices)
    assert rough.dtype == torch.float32
    assert 0 < (rough - exact).norm() / exact.norm() < 0.05


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch has no Muon yet")
def test_hidden_matrices_move_as_with_torchs_muon() -> None:
    """Compare with torch, which averages gradients instead of adding them up: the orthogonalized steps are equal."""
    shapes = ((12, 30), (12, 30), (30, 12))
    torch.manual_seed(0)
    ours, theirs = ([nn.Parameter(torch.ones(shape)) for shape in shapes] for _ in range(2))
    options: dict[str, Any] = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.05}
    optimizers = (Muon(ours, **options), torch.optim.Muon(theirs, **options))
    for _ in range(4):
        for one, other in zip(ours, theirs, strict=True):
            one.grad = torch.randn_like(one)
            other.grad = one.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=0.02, atol=0.01)  # torch's computes in bfloat16


def test_first_and_last_layer_and_vectors_move_as_with_sgd() -> None:
    net, reference = network(), network()
    train(net, build_optimizer(partial(Muon, lr=0.0, sgd_lr=0.1, sgd_momentum=0.8, sgd_weight_decay=0.01), net))
    others = [p for name, p in reference.named_parameters() if name not in HIDDEN]
    train(reference, torch.optim.SGD(others, lr=0.1, momentum=0.8, nesterov=True, weight_decay=0.01))
    for name, value in weights(reference).items():
        assert torch.equal(weights(net)[name], value), name


@pytest.mark.parametrize("nesterov", [True, False])
def test_filters_move_along_the_orthogonalized_momentum_as_matrices(nesterov: bool) -> None:
    net = network()
    make = partial(Muon, lr=0.1, momentum=0.6, nesterov=nesterov, weight_decay=0.5, sgd_lr=0.0)
    optimizer = build_optimizer(make, net)
    before, momenta = weights(net), {name: torch.zeros(()) for name in HIDDEN}
    for step in range(3):
        train(net, optimizer, steps=1, start=step)
        for name in HIDDEN:
            gradient = net.get_parameter(name).grad
            assert gradient is not None
            momenta[name] = 0.6 * momenta[name] + gradient
            direction = gradient + 0.6 * momenta[name] if nesterov else momenta[name]
            update = orthogonalized(direction.flatten(1)[None])[0].view_as(direction)
            lr = 0.1 * (2**0.5 if name == "4.weight" else 1)  # 16 x 8: taller than wide
            expected = before[name] * (1 - 0.1 * 0.5) - lr * update
            torch.testing.assert_close(net.get_parameter(name).detach(), expected, rtol=1e-4, atol=1e-5)
        before = weights(net)


def test_weights_are_normalized_before_the_step() -> None:
    net = network()
    train(net, build_optimizer(partial(Muon, lr=0.0, sgd_lr=0.0, normalize_weights=True), net), steps=1)
    for name, value in weights(net).items():
        old = dict(network().named_parameters())[name].detach()
        scale = len(value) ** 0.5 / old.norm() if name in HIDDEN else 1
        torch.testing.assert_close(value, old * scale)


def test_weights_of_zero_stay_finite() -> None:
    weight = nn.Parameter(torch.zeros(4, 3, 3, 3))
    weight.grad = torch.zeros_like(weight)
    Muon([weight], normalize_weights=True).step()
    assert torch.equal(weight, torch.zeros_like(weight))


def test_weights_that_are_frozen_or_without_gradient_do_not_change() -> None:
    net = network()
    net[2].weight.requires_grad_(False)  # pyright: ignore[reportAttributeAccessIssue]
    before = weights(net)
    optimizer = build_optimizer(partial(Muon, weight_decay=0.5, sgd_weight_decay=0.5), net)
    optimizer.step()
    train(net, optimizer, steps=1)
    assert torch.equal(weights(net)["2.weight"], before["2.weight"])
    assert not torch.equal(weights(net)["3.weight"], before["3.weight"])


def test_a_loaded_state_continues_exactly() -> None:
    def make(net: nn.Module) -> torch.optim.Optimizer:
        return build_optimizer(partial(Muon, normalize_weights=True), net, bias_lr_factor=8.0)

    whole, parts = network(), network()
    train(whole, make(whole), steps=5)
    first = make(parts)
    train(parts, first, steps=2)
    resumed = network()
    resumed.load_state_dict(parts.state_dict())
    second = make(resumed)
    second.load_state_dict(first.state_dict())
    train(resumed, second, steps=3, start=2)
    for name, value in weights(whole).items():
        assert torch.equal(weights(resumed)[name], value), name


def test_the_loss_falls() -> None:
    net, images = network(), torch.randn(16, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(16) % 4
    optimizer = build_optimizer(partial(Muon, lr=0.05, sgd_lr=0.1), net)
    losses = []

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(images), labels)
        loss.backward()
        return loss

    for _ in range(30):
        losses.append(optimizer.step(closure).item())  # pyright: ignore
    assert losses[-1] < losses[0] / 3


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("lr", -1.0, "lr must be 0 or more, got -1.0"),
        ("sgd_weight_decay", -1.0, "sgd_weight_decay must be 0 or more, got -1.0"),
        ("momentum", 1.0, "momentum must be at least 0 and below 1, got 1.0"),
        ("sgd_momentum", -0.1, "sgd_momentum must be at least 0 and below 1, got -0.1"),
        ("ns_steps", 0, "ns_steps must be 1 or more, got 0"),
    ],
)
def test_values_out_of_range_are_refused(name: str, value: float, message: str) -> None:
    with pytest.raises(RequestError, match=f"^optimizer.{message}$"):
        build({"_target_": "cnnlab.training.muon.Muon", "_partial_": True, name: value}, "optimizer")
