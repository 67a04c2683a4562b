import copy
import functools
import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim import SGD, Optimizer
from torch.optim import lr_scheduler as torchs

from cnnlab.errors import RequestError
from cnnlab.training.muon import Muon
from cnnlab.training.scheduling import Interval, Schedule, check_schedule

timm = pytest.importorskip("timm.scheduler")

STEPS, EPOCHS = 12, 4
METRICS = (0.5, 0.4, 0.45, 0.47, 0.3, 0.6, 0.6, 0.6, 0.2, 0.3, 0.4, 0.5)  # of a validation after each move

Make = Callable[[Optimizer, int], Any]


def falling(move: int) -> float:
    return 0.9**move


class Falling:
    def __init__(self, factor: float):
        self.factor = factor

    def __call__(self, move: int) -> float:
        return self.factor**move


def of_function(optimizer: Optimizer, total_steps: int, power: float) -> torchs.LRScheduler:
    return torchs.LambdaLR(optimizer, lambda step: (1 - step / (total_steps + 1)) ** power)


def part(scheduler: Any, **options: Any) -> Any:
    return functools.partial(scheduler, **options)


def sgd(lr: float = 0.1, **options: Any) -> SGD:
    """Return an optimizer with two groups, the second of twice the rate."""
    groups = [{"params": [torch.zeros(2, requires_grad=True)], "lr": factor * lr} for factor in (1, 2)]
    return SGD(groups, lr=lr, momentum=0.9, **options)


def rates(optimizer: Optimizer) -> list[float]:
    return [group["lr"] for group in optimizer.param_groups]


def move_ours(schedule: Schedule, metric: float) -> None:
    schedule.optimizer.step()
    schedule.after_step()
    if schedule.per_epoch:
        schedule.after_epoch({"val/loss": metric, "val/accuracy": metric})


def run_ours(factory: Any, moves: int = STEPS, interval: Interval | None = None, **lengths: int) -> list[list[float]]:
    """Return the rates of every move and the one after the last."""
    optimizer = sgd()
    schedule = Schedule(factory, optimizer, **{"steps": STEPS, "epochs": EPOCHS, **lengths}, interval=interval)
    found = [rates(optimizer)]
    for metric in METRICS[:moves]:
        move_ours(schedule, metric)
        found.append(rates(optimizer))
    return found


def run_by_hand(make: Make, length: int, moves: int) -> list[list[float]]:
    """Step the library's scheduler as its documentation says."""
    optimizer = sgd()
    scheduler = make(optimizer, length)
    found = [rates(optimizer)]
    for move, metric in enumerate(METRICS[:moves], start=1):
        optimizer.step()
        if isinstance(scheduler, torchs.ReduceLROnPlateau):
            scheduler.step(metric)
        elif isinstance(scheduler, torchs.LRScheduler | torchs.ChainedScheduler):
            scheduler.step()
        elif scheduler.t_in_epochs:
            scheduler.step(move, metric)
        else:
            scheduler.step_update(move)
        found.append(rates(optimizer))
    return found


# Each scheduler as a recipe names it, and as one would make it by hand for a training of n steps.
TORCHS: dict[str, tuple[Any, Make]] = {
    "StepLR": (part(torchs.StepLR, step_size=3), lambda o, n: torchs.StepLR(o, 3)),
    "MultiStepLR": (part(torchs.MultiStepLR, milestones=[2, 5]), lambda o, n: torchs.MultiStepLR(o, [2, 5])),
    "ExponentialLR": (part(torchs.ExponentialLR, gamma=0.8), lambda o, n: torchs.ExponentialLR(o, 0.8)),
    "ConstantLR": (part(torchs.ConstantLR), lambda o, n: torchs.ConstantLR(o, total_iters=n)),
    "LinearLR": (part(torchs.LinearLR), lambda o, n: torchs.LinearLR(o, total_iters=n)),
    "LinearLR, short": (part(torchs.LinearLR, total_iters=3), lambda o, n: torchs.LinearLR(o, total_iters=3)),
    "PolynomialLR": (part(torchs.PolynomialLR, power=2), lambda o, n: torchs.PolynomialLR(o, n, 2)),
    "CosineAnnealingLR": (part(torchs.CosineAnnealingLR), lambda o, n: torchs.CosineAnnealingLR(o, n)),
    "CosineAnnealingLR, again": (part(torchs.CosineAnnealingLR, T_max=3), lambda o, n: torchs.CosineAnnealingLR(o, 3)),
    "CosineAnnealingWarmRestarts": (
        part(torchs.CosineAnnealingWarmRestarts, T_0=2, T_mult=2),
        lambda o, n: torchs.CosineAnnealingWarmRestarts(o, 2, 2),
    ),
    "OneCycleLR": (part(torchs.OneCycleLR), lambda o, n: torchs.OneCycleLR(o, [0.1, 0.2], n)),
    "OneCycleLR, peak": (part(torchs.OneCycleLR, max_lr=0.3), lambda o, n: torchs.OneCycleLR(o, [0.3, 0.6], n)),
    "OneCycleLR, epochs": (
        part(torchs.OneCycleLR, epochs=5, steps_per_epoch=4),
        lambda o, n: torchs.OneCycleLR(o, [0.1, 0.2], 20),
    ),
    "CyclicLR": (
        part(torchs.CyclicLR, base_lr=0.01, max_lr=0.1, step_size_up=3, mode="exp_range", gamma=0.9),
        lambda o, n: torchs.CyclicLR(o, [0.01, 0.02], [0.1, 0.2], 3, mode="exp_range", gamma=0.9),
    ),
    "LambdaLR": (part(torchs.LambdaLR, lr_lambda=falling), lambda o, n: torchs.LambdaLR(o, falling)),
    "LambdaLR, object": (part(torchs.LambdaLR, lr_lambda=Falling(0.7)), lambda o, n: torchs.LambdaLR(o, Falling(0.7))),
    "MultiplicativeLR": (
        part(torchs.MultiplicativeLR, lr_lambda=falling),
        lambda o, n: torchs.MultiplicativeLR(o, falling),
    ),
    "SequentialLR": (
        part(
            torchs.SequentialLR,
            schedulers=[part(torchs.LinearLR, start_factor=0.1), part(torchs.CosineAnnealingLR)],
            milestones=[2],
        ),
        lambda o, n: torchs.SequentialLR(
            o, [torchs.LinearLR(o, 0.1, total_iters=2), torchs.CosineAnnealingLR(o, n - 2)], [2]
        ),
    ),
    "ChainedScheduler": (
        part(torchs.ChainedScheduler, schedulers=[part(torchs.LinearLR), part(torchs.ExponentialLR, gamma=0.9)]),
        lambda o, n: torchs.ChainedScheduler([torchs.LinearLR(o, total_iters=n), torchs.ExponentialLR(o, 0.9)]),
    ),
    "a function": (part(of_function, power=2), lambda o, n: of_function(o, n, 2)),
}
PLATEAUS: dict[str, tuple[Any, Make]] = {
    "ReduceLROnPlateau": (
        part(torchs.ReduceLROnPlateau, patience=1, cooldown=1),
        lambda o, n: torchs.ReduceLROnPlateau(o, patience=1, cooldown=1),
    ),
    "ReduceLROnPlateau, rising": (
        part(torchs.ReduceLROnPlateau, mode="max", patience=1),
        lambda o, n: torchs.ReduceLROnPlateau(o, "max", patience=1),
    ),
    "PlateauLRScheduler": (
        part(timm.PlateauLRScheduler, patience_t=1, cooldown_t=1, warmup_t=1, noise_range_t=[2, 6]),
        lambda o, n: timm.PlateauLRScheduler(o, patience_t=1, cooldown_t=1, warmup_t=1, noise_range_t=[2, 6]),
    ),
}
# timm's count epochs or steps, as `t_in_epochs` says.
TIMMS: dict[str, tuple[Any, Callable[[Optimizer, int, bool], Any]]] = {
    "CosineLRScheduler": (
        part(timm.CosineLRScheduler, warmup_t=2, warmup_lr_init=0.01, noise_range_t=[1, 3]),
        lambda o, n, e: timm.CosineLRScheduler(
            o, n, warmup_t=2, warmup_lr_init=0.01, noise_range_t=[1, 3], t_in_epochs=e
        ),
    ),
    "StepLRScheduler": (
        part(timm.StepLRScheduler, decay_t=2, decay_rate=0.5),
        lambda o, n, e: timm.StepLRScheduler(o, 2, 0.5, t_in_epochs=e),
    ),
    "MultiStepLRScheduler": (
        part(timm.MultiStepLRScheduler, decay_t=[1, 3], decay_rate=0.5),
        lambda o, n, e: timm.MultiStepLRScheduler(o, [1, 3], 0.5, t_in_epochs=e),
    ),
    "PolyLRScheduler": (part(timm.PolyLRScheduler), lambda o, n, e: timm.PolyLRScheduler(o, n, t_in_epochs=e)),
    "TanhLRScheduler": (part(timm.TanhLRScheduler), lambda o, n, e: timm.TanhLRScheduler(o, n, t_in_epochs=e)),
    "WSDLRScheduler": (
        part(timm.WSDLRScheduler, decay_t=2),
        lambda o, n, e: timm.WSDLRScheduler(o, n, 2, t_in_epochs=e),
    ),
}


@pytest.mark.parametrize("interval", ["step", "epoch"])
@pytest.mark.parametrize("name", TORCHS)
def test_rates_are_those_of_torchs_scheduler_stepped_by_hand(name: str, interval: Interval):
    factory, make = TORCHS[name]
    length = STEPS if interval == "step" else EPOCHS
    assert run_ours(factory, length, interval) == run_by_hand(make, length, length)


@pytest.mark.parametrize("name", PLATEAUS)
@pytest.mark.filterwarnings("ignore:PlateauLRScheduler is deprecated")
def test_a_scheduler_that_watches_a_figure_gets_it_after_every_epoch(name: str):
    factory, make = PLATEAUS[name]
    found = run_ours(factory)
    assert found == run_by_hand(make, EPOCHS, STEPS)
    assert len({tuple(pair) for pair in found}) > 2
    assert found == run_ours(factory, interval="epoch")


@pytest.mark.parametrize("interval", ["step", "epoch"])
@pytest.mark.parametrize("name", TIMMS)
def test_rates_are_those_of_timms_scheduler_stepped_by_hand(name: str, interval: Interval):
    factory, make = TIMMS[name]
    in_epochs = interval == "epoch"
    length = EPOCHS if in_epochs else STEPS
    by_hand = run_by_hand(lambda o, n: make(o, n, in_epochs), length, length)
    assert run_ours(factory, length, interval) == by_hand
    assert run_ours(part(factory, t_in_epochs=in_epochs), length) == by_hand


def test_a_watching_scheduler_stays_after_an_epoch_without_validation():
    optimizer = sgd()
    schedule = Schedule(part(torchs.ReduceLROnPlateau, patience=0), optimizer, STEPS, EPOCHS)
    schedule.after_epoch({"val/loss": 0.5, "val/accuracy": 0.1})
    for _ in range(3):
        schedule.after_epoch({})
    assert rates(optimizer) == [0.1, 0.2]
    schedule.after_epoch({"val/loss": 0.6, "val/accuracy": 0.2})
    assert rates(optimizer) == pytest.approx([0.01, 0.02])


@pytest.mark.parametrize("name", [*TORCHS, *PLATEAUS, *TIMMS])
@pytest.mark.filterwarnings("ignore:PlateauLRScheduler is deprecated")
def test_a_saved_schedule_continues_exactly(name: str):
    factory, _ = {**TORCHS, **PLATEAUS, **TIMMS}[name]
    whole = run_ours(factory)
    for stopped in (1, 5, 11):
        first, second = sgd(), sgd()
        schedule = Schedule(factory, first, STEPS, EPOCHS)
        for metric in METRICS[:stopped]:
            move_ours(schedule, metric)
        file = io.BytesIO()
        torch.save({"optimizer": first.state_dict(), "schedule": schedule.state_dict()}, file)
        saved = torch.load(io.BytesIO(file.getvalue()), weights_only=True)
        resumed = Schedule(copy.deepcopy(factory), second, STEPS, EPOCHS)
        second.load_state_dict(saved["optimizer"])
        resumed.load_state_dict(saved["schedule"])
        found = [rates(second)]
        for metric in METRICS[stopped:]:
            move_ours(resumed, metric)
            found.append(rates(second))
        assert found == whole[stopped:]


@pytest.mark.parametrize("name", TORCHS)
def test_a_run_that_is_made_longer_follows_the_longer_plan(name: str):
    factory, _ = TORCHS[name]
    first, second = sgd(lr=0.2), sgd()  # the first rate was searched
    shorter, longer = Schedule(factory, first, 8, EPOCHS), Schedule(factory, second, STEPS, EPOCHS)
    for metric in METRICS[:5]:
        move_ours(shorter, metric)
    second.load_state_dict(first.state_dict())
    longer.load_state_dict(shorter.state_dict())
    expected = sgd(lr=0.2)
    planned = Schedule(factory, expected, STEPS, EPOCHS)
    for metric in METRICS[:5]:
        move_ours(planned, metric)
    assert rates(second) == pytest.approx(rates(expected))
    for metric in METRICS[5:]:
        move_ours(longer, metric)
        move_ours(planned, metric)
    assert rates(second) == pytest.approx(rates(expected))
    assert longer.peak_lr == planned.peak_lr


def test_a_state_of_torchs_scheduler_alone_is_read():
    first, second = sgd(), sgd()
    alone = torchs.LambdaLR(first, falling)
    for _ in range(3):
        first.step()
        alone.step()
    schedule = Schedule(part(torchs.LambdaLR, lr_lambda=falling), second, STEPS, EPOCHS)
    second.load_state_dict(first.state_dict())
    schedule.load_state_dict(alone.state_dict())
    first.step()
    alone.step()
    move_ours(schedule, 0)
    assert rates(first) == rates(second)


def test_muon_keeps_the_ratio_of_its_rates():
    groups = [{"params": [torch.zeros(2, 2, requires_grad=True)], "hidden": hidden} for hidden in (True, False)]
    optimizer = Muon(groups, lr=0.24, sgd_lr=1.2)
    schedule = Schedule(part(torchs.OneCycleLR, max_lr=0.48), optimizer, STEPS, EPOCHS)
    assert schedule.peak_lr == 0.48
    for _ in range(STEPS):
        optimizer.step()
        assert rates(optimizer)[1] == pytest.approx(5 * rates(optimizer)[0])
        schedule.after_step()


@pytest.mark.parametrize(
    ("factory", "interval", "message"),
    [
        (
            part(torchs.StepLR),
            None,
            "schedule: missing a required argument: 'step_size'; the length of the training is",
        ),
        (part(torchs.StepLR, step_size=0), None, "schedule: ZeroDivisionError"),
        (part(torchs.OneCycleLR, total_steps=5), None, "schedule.total_steps must be at least 12, the length of the"),
        (part(torchs.OneCycleLR, pct_start=2.0), None, "schedule.pct_start: "),
        (part(torchs.OneCycleLR, max_lr=[1.0]), None, "schedule.max_lr must have the same length as"),
        (part(torchs.ReduceLROnPlateau), "step", "schedule: a scheduler that watches a figure moves once per epoch"),
        (part(timm.CosineLRScheduler, t_in_epochs=True), "step", "schedule.t_in_epochs contradicts schedule_interval"),
        (part(torchs.ExponentialLR, gamma=-1), None, "schedule: the learning rate of step 2 would be -0.1"),
        (part(torchs.MultiplicativeLR, lr_lambda=lambda n: 1e200), None, "schedule: the learning rate of step 3 would"),
        (part(torchs.LambdaLR, lr_lambda=lambda n: float("nan")), None, "the learning rate of step 1 would be nan"),
        (
            part(torchs.LambdaLR, lr_lambda=lambda n: [][0]),
            None,
            "IndexError: list index out of range (test_scheduling",
        ),
        (part(torchs.LambdaLR, lr_lambda=Falling(0.5), last_epoch=3), None, "schedule.last_epoch: KeyError: param"),
        (part(torchs.SequentialLR, schedulers=[part(torchs.StepLR)], milestones=[]), None, "'step_size'"),
        (part(torchs.SequentialLR, schedulers=["StepLR"], milestones=[]), None, "schedule: "),
        (part(lambda optimizer: 3), None, "schedule: _target_ makes int instead of a learning-rate scheduler"),
        (part(SGD), None, "schedule: "),
    ],
)
def test_a_schedule_that_cannot_be_carried_out_is_refused(factory: Any, interval: Interval | None, message: str):
    with pytest.raises(RequestError) as caught:
        check_schedule(factory, sgd(), STEPS, EPOCHS, interval)
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_state_that_no_checkpoint_can_hold_is_refused():
    falls = Falling(0.5)
    falls.helper = object()  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(RequestError, match="schedule: its state cannot be read from a checkpoint"):
        check_schedule(part(torchs.LambdaLR, lr_lambda=falls), sgd(), STEPS, EPOCHS)


def test_a_rehearsal_leaves_the_optimizer_as_it_is():
    optimizer = sgd()
    before = copy.deepcopy([{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups])
    check_schedule(part(torchs.OneCycleLR), optimizer, STEPS, EPOCHS)
    assert [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups] == before
