from functools import partial

import pytest
import torch
from torch import nn

from cnnlab.errors import RequestError
from cnnlab.training.muon import Muon
from cnnlab.training.optimizers import build_optimizer, fused_on_gpu, parameter_groups
from cnnlab.training.schedules import triangle


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


def test_one_group_holds_all_trainable_parameters() -> None:
    net = network()
    net[0].weight.requires_grad_(False)
    (group,) = parameter_groups(net, decay_norms_and_biases=True)
    assert group.keys() == {"params"}
    assert [id(p) for p in group["params"]] == [id(p) for p in net.parameters() if p.requires_grad]


def test_norms_and_biases_can_be_exempt_from_decay() -> None:
    net = network()
    decayed, spared = parameter_groups(net, decay_norms_and_biases=False)
    assert [id(p) for p in decayed["params"]] == [id(net[0].weight), id(net[3].weight)]
    assert {id(p) for p in spared["params"]} == {id(net[0].bias), id(net[1].weight), id(net[1].bias), id(net[3].bias)}
    optimizer = torch.optim.SGD([decayed, spared], lr=0.1, weight_decay=0.5)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.5, 0.0]


def test_a_step_without_gradient_shrinks_only_filters_and_matrices() -> None:
    net = network()
    before = [p.detach().clone() for p in net.parameters()]
    optimizer = torch.optim.SGD(parameter_groups(net, decay_norms_and_biases=False), lr=0.1, weight_decay=0.5)
    for p in net.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    for p, old in zip(net.parameters(), before, strict=True):
        torch.testing.assert_close(p.detach(), old * 0.95 if p.ndim >= 2 else old)


def test_a_network_without_vectors_has_one_group() -> None:
    assert len(parameter_groups(nn.Linear(2, 2, bias=False), decay_norms_and_biases=False)) == 1


def names(net: nn.Module, group: dict) -> list[str]:
    return [name for name, p in net.named_parameters() if any(p is member for member in group["params"])]


def deep() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


def test_hidden_layers_are_separate_from_the_first_the_last_and_vectors() -> None:
    net = deep()
    hidden, ends, vectors = parameter_groups(net, decay_norms_and_biases=True, separate_hidden=True)
    assert [group["hidden"] for group in (hidden, ends, vectors)] == [True, False, False]
    assert names(net, hidden) == ["1.weight"]
    assert names(net, ends) == ["0.weight", "4.weight"]
    assert names(net, vectors) == ["0.bias", "1.bias", "2.weight", "2.bias", "4.bias"]
    assert "weight_decay" not in vectors


def test_a_frozen_first_layer_is_still_the_first_layer() -> None:
    net = deep()
    net[0].weight.requires_grad_(False)
    hidden, ends, _ = parameter_groups(net, decay_norms_and_biases=True, separate_hidden=True)
    assert names(net, hidden) == ["1.weight"]
    assert names(net, ends) == ["4.weight"]


def test_vectors_learn_faster_and_decay_as_before() -> None:
    net = network()
    optimizer = build_optimizer(partial(torch.optim.SGD, lr=0.1, weight_decay=0.02), net, bias_lr_factor=8.0)
    matrices, vectors = optimizer.param_groups
    assert (matrices["lr"], matrices["weight_decay"]) == (0.1, 0.02)
    assert (vectors["lr"], vectors["weight_decay"]) == pytest.approx((0.8, 0.0025))
    assert [p.ndim for p in vectors["params"]] == [1] * 4


@pytest.mark.parametrize("make", [torch.optim.SGD, torch.optim.AdamW, torch.optim.RMSprop, torch.optim.Adagrad, Muon])
@pytest.mark.parametrize("decay", [True, False])
@pytest.mark.parametrize("factor", [1.0, 4.0])
def test_every_optimizer_takes_the_groups_and_a_schedule_scales_them_all(make, decay: bool, factor: float) -> None:
    net = network()
    optimizer = build_optimizer(partial(make, lr=0.01), net, decay, factor)
    peaks = [group["lr"] for group in optimizer.param_groups]
    schedule = triangle(optimizer, 10, warmup=0.0)
    for step in range(10):
        rates = [group["lr"] for group in optimizer.param_groups]
        assert rates == pytest.approx([peak * (1 - step / 10) for peak in peaks])
        net(torch.randn(2, 3, 3, 3)).sum().backward()
        optimizer.step()
        schedule.step()


@pytest.mark.parametrize(
    ("make", "kind", "precision", "fused"),
    [
        (partial(torch.optim.SGD, lr=0.1), "cuda", "bf16-mixed", True),
        (partial(torch.optim.AdamW, lr=0.1), "cuda", "32-true", True),
        (partial(torch.optim.SGD, lr=0.1), "cpu", "bf16-mixed", None),
        (partial(torch.optim.SGD, lr=0.1), "cuda", "16-mixed", None),
        (partial(torch.optim.SGD, lr=0.1, fused=False), "cuda", "32-true", False),
        (partial(torch.optim.SGD, lr=0.1, foreach=True), "cuda", "32-true", None),
        (partial(torch.optim.RMSprop, lr=0.1), "cuda", "32-true", None),  # has no such kernel
        (partial(Muon, lr=0.1), "cuda", "32-true", None),
    ],
)
def test_a_gpu_gets_a_fused_optimizer_if_there_is_one(make, kind, precision, fused) -> None:
    chosen = fused_on_gpu(make, torch.device(kind), precision)
    assert getattr(chosen, "keywords", {}).get("fused") is fused
    build_optimizer(chosen, network())


def test_fused_gradients_cannot_be_clipped_in_16_mixed() -> None:
    factory = partial(torch.optim.SGD, lr=0.1, fused=True)
    with pytest.raises(RequestError, match=r"optimizer\.fused: .* clipped in 16-mixed"):
        fused_on_gpu(factory, torch.device("cuda"), "16-mixed", clips=1.0)
    assert fused_on_gpu(factory, torch.device("cuda"), "bf16-mixed", clips=1.0) is factory


@pytest.mark.parametrize(("saved", "own"), [(None, True), (True, None)])
def test_a_checkpoint_of_another_device_does_not_choose_the_kernels(saved: bool | None, own: bool | None) -> None:
    nets = [nn.Linear(3, 2), nn.Linear(3, 2)]
    before, after = (
        build_optimizer(partial(torch.optim.Adam, lr=0.1, fused=fused), net)
        for net, fused in zip(nets, (saved, own), strict=True)
    )
    nets[0](torch.ones(1, 3)).sum().backward()
    before.step()
    after.load_state_dict(before.state_dict())
    assert after.param_groups[0]["fused"] is own
    assert all(
        torch.equal(a["exp_avg"], b["exp_avg"])
        for a, b in zip(before.state.values(), after.state.values(), strict=True)
    )


@pytest.mark.parametrize("make", [partial(torch.optim.AdamW, lr=0.1), partial(torch.optim.SGD, lr=0.1), partial(Muon)])
def test_rates_fall_towards_the_input_and_weight_decay_stays(make) -> None:
    net = deep()
    plain = build_optimizer(make, net, decay_norms_and_biases=False, bias_lr_factor=2.0)
    optimizer = build_optimizer(make, net, False, 2.0, layer_decay=0.5, head={"4.weight", "4.bias"})
    before = {name: group for group in plain.param_groups for name in names(net, group)}
    factors = {"0": 0.25, "1": 0.5, "2": 0.5, "4": 1.0}
    for group in optimizer.param_groups:
        for name in names(net, group):
            assert group["lr"] == pytest.approx(before[name]["lr"] * factors[name[0]])
            assert group["weight_decay"] == before[name]["weight_decay"]
    assert {name for group in optimizer.param_groups for name in names(net, group)} == before.keys()
    assert names(net, optimizer.param_groups[0]) == ["4.weight"]
