import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import LRScheduler

from cnnlab.errors import RequestError
from cnnlab.instantiate import build
from cnnlab.training.schedules import constant, cosine, multistep, triangle

PEAK = 0.4


def rates(schedule: Callable[..., LRScheduler], steps: int) -> list[float]:
    """Return the rate of every step, and the rate after the last."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=PEAK)
    scheduler = schedule(optimizer, steps)
    found = []
    for _ in range(steps + 1):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def assert_refused(schedule: str, name: str, value: Any, message: str) -> None:
    config = {"_target_": f"cnnlab.training.schedules.{schedule}", "_partial_": True, name: value}
    with pytest.raises(RequestError, match=f"^schedule.{message}"):
        build(config, "schedule")


def test_constant_never_changes() -> None:
    assert rates(constant, 10) == [PEAK] * 11


def test_triangle_rises_to_the_peak_and_falls_to_the_end() -> None:
    found = rates(partial(triangle, warmup=0.2, final=0.1), 100)
    assert found[0] == pytest.approx(PEAK / 21)  # above zero: the first step is not wasted
    assert found[20] == pytest.approx(PEAK)
    assert found[60] == pytest.approx(PEAK * 0.55)
    assert found[100] == pytest.approx(PEAK * 0.1)
    rises = [b - a for a, b in zip(found, found[1:], strict=False)]
    assert rises[:20] == pytest.approx([PEAK / 21] * 20)
    assert rises[20:] == pytest.approx([-PEAK * 0.9 / 80] * 80)


def test_cosine_without_warmup_equals_torchs() -> None:
    def torchs(optimizer: torch.optim.Optimizer, steps: int) -> LRScheduler:
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)

    assert rates(cosine, 50) == pytest.approx(rates(torchs, 50), abs=1e-9)


def test_cosine_rises_to_the_peak_and_falls_to_the_end() -> None:
    found = rates(partial(cosine, warmup=0.3, final=0.01), 100)
    assert found[0] == pytest.approx(PEAK / 31)
    assert found[30] == pytest.approx(PEAK)
    assert found[65] == pytest.approx(PEAK * (0.01 + 0.99 / 2))
    assert found[82] == pytest.approx(PEAK * (0.01 + 0.99 * (1 + math.cos(math.pi * 52 / 70)) / 2))
    assert found[100] == pytest.approx(PEAK * 0.01)


def test_multistep_falls_at_its_shares_of_any_number_of_steps() -> None:
    for steps in (64, 640):
        found = rates(multistep, steps)
        assert found[: steps // 2] == pytest.approx([PEAK] * (steps // 2))
        assert found[steps // 2 : steps * 3 // 4] == pytest.approx([PEAK / 10] * (steps // 4))
        assert found[steps * 3 // 4 :] == pytest.approx([PEAK / 100] * (steps // 4 + 1))


def test_multistep_equals_torchs() -> None:
    def torchs(optimizer: torch.optim.Optimizer, steps: int) -> LRScheduler:
        return torch.optim.lr_scheduler.MultiStepLR(optimizer, [12, 20, 30], gamma=0.3)

    ours = partial(multistep, milestones=[0.3, 0.5, 0.75], gamma=0.3)
    assert rates(ours, 40) == pytest.approx(rates(torchs, 40))


def test_multistep_can_start_low() -> None:
    found = rates(partial(multistep, warmup=0.00625, warmup_factor=0.1), 6400)  # as in the paper for 110 layers
    assert found[:41] == pytest.approx([PEAK / 10] * 40 + [PEAK])


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("milestones", [0.5, 32000], "milestones must be between 0 and 1"),
        ("gamma", 0.0, "gamma must be above 0 and at most 1, got 0.0"),
        ("warmup", 1.0, "warmup must be at least 0 and below 1, got 1.0"),
        ("warmup_factor", 2.0, "warmup_factor must be above 0 and at most 1, got 2.0"),
    ],
)
def test_multistep_refuses_values_out_of_range(name: str, value: float, message: str) -> None:
    assert_refused("multistep", name, value, message)


def test_milestones_rise() -> None:
    with pytest.raises(ValueError, match="milestones must be rising shares of the steps"):
        rates(partial(multistep, milestones=[0.5, 0.4]), 10)


@pytest.mark.parametrize("schedule", [triangle, cosine])
@pytest.mark.parametrize("steps", [1, 2, 3, 7])
def test_short_trainings_stay_between_zero_and_the_peak(schedule: Callable[..., LRScheduler], steps: int) -> None:
    assert all(0 < rate <= PEAK for rate in rates(partial(schedule, warmup=0.2), steps)[:-1])


def test_steps_after_the_end_keep_the_last_rate() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=PEAK)
    scheduler = triangle(optimizer, 5, final=0.5)
    for _ in range(9):
        optimizer.step()
        scheduler.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(PEAK / 2)


def test_every_group_keeps_its_own_peak() -> None:
    groups = [{"params": [torch.zeros(1, requires_grad=True)], "lr": lr} for lr in (1.0, 10.0)]
    optimizer = torch.optim.SGD(groups)
    cosine(optimizer, 10, warmup=0.5)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([1 / 6, 10 / 6])


@pytest.mark.parametrize("schedule", ["triangle", "cosine"])
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("warmup", 1.0, "warmup must be at least 0 and below 1, got 1.0"),
        ("warmup", -0.1, "warmup must be at least 0 and below 1, got -0.1"),
        ("final", 1.5, "final must be from 0 to 1, got 1.5"),
        ("final", -1.0, "final must be from 0 to 1, got -1.0"),
    ],
)
def test_values_out_of_range_are_refused(schedule: str, name: str, value: float, message: str) -> None:
    assert_refused(schedule, name, value, message)
