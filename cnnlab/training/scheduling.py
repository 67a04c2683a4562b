"""Fit a learning-rate scheduler to a training: one of cnnlab, torch, timm, or the user's own."""

import copy
import inspect
import io
import itertools
import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CyclicLR, OneCycleLR, ReduceLROnPlateau

from cnnlab.instantiate import explained, first_line

Interval = Literal["step", "epoch"]
ScheduleFactory = Callable[..., Any]

LENGTHS = ("total_steps", "total_iters", "T_max", "t_initial")  # arguments for the length of the training
LONG = 1_000_000  # moves, if the length is not known yet
MOST_REHEARSED = 1000  # moves


class Schedule:
    """Moves a scheduler along a training: after every step or every epoch.

    The scheduler gets the length of the training in the argument that it has for it, one of `LENGTHS`, unless the
    factory sets it. torch's `max_lr` and `base_lr` are rates of the first parameter group, as the optimizer's `lr`
    is; other groups keep their ratio to it.

    Args:
        factory: creates the scheduler from the optimizer, such as `partial(StepLR, step_size=10)`. A scheduler has
            torch's method `step()`, or timm's `step(epoch, metric)` and `step_update(num_updates)`.
        optimizer: its rates are scheduled.
        steps, epochs: length of the whole training; None if not known yet.
        interval: when the scheduler moves; None for `epoch` if it watches a figure (ReduceLROnPlateau) or counts epochs
            (timm's `t_in_epochs: true`), else `step`.

    Raises:
        RequestError: if the scheduler cannot be made.
    """

    def __init__(
        self,
        factory: ScheduleFactory,
        optimizer: Optimizer,
        steps: int | None = None,
        epochs: int | None = None,
        interval: Interval | None = None,
    ):
        given = getattr(factory, "keywords", {})
        in_epochs = given.get("t_in_epochs")  # timm's word for the interval
        self.optimizer, self._factory = optimizer, factory
        self._groups = [{**group, "params": None} for group in optimizer.param_groups]
        self.peak_lr: float = self._groups[0]["lr"]  # highest planned rate of the first group
        self.per_epoch = bool(in_epochs) if interval is None else interval == "epoch"
        self.length = epochs if self.per_epoch else steps
        self._takes_length = bool({*LENGTHS} & {*inspect.signature(factory).parameters} - {*given})
        with explained("schedule", given, Exception):
            if in_epochs not in (None, self.per_epoch):
                raise ValueError(f"t_in_epochs contradicts schedule_interval={interval}")
            self.scheduler = _make(factory, optimizer, self.length, self.per_epoch)
            inner = getattr(self.scheduler, "lr_scheduler", self.scheduler)  # timm's plateau scheduler holds torch's
            self._plateau = inner if isinstance(inner, ReduceLROnPlateau) else None
            if self._plateau is not None and interval == "step":
                raise ValueError("a scheduler that watches a figure moves once per epoch: schedule_interval=epoch")
        if isinstance(self.scheduler, OneCycleLR | CyclicLR) and "max_lr" in given:
            highest = given["max_lr"]
            self.peak_lr = highest[0] if isinstance(highest, list) else highest
        self.per_epoch = self.per_epoch or self._plateau is not None
        self.watches: str | None = None  # metric whose validations move the scheduler
        if self._plateau is not None:
            self.watches = "val/accuracy" if self._plateau.mode == "max" else "val/loss"
        self._moves = 0

    def set_length(self, steps: int, epochs: int) -> None:
        """Begin anew with the length of the training, which was not known yet."""
        with explained("schedule", getattr(self._factory, "keywords", {}), Exception):
            self.length = epochs if self.per_epoch else steps
            self._plan_anew(0, 1.0)

    def after_step(self, share: float | None = None) -> None:
        """Move, unless the scheduler moves by epoch.

        If the length of the training is not fixed, `share` is how much of it is done. A scheduler that was told the
        length then moves as often as brings it there, which may be more than once or not at all.
        """
        if not self.per_epoch:
            self._move_to(share)

    def after_epoch(self, figures: Mapping[str, float], share: float | None = None) -> None:
        """Move, if the scheduler moves by epoch, by the figures of its validation, which are empty if it had none."""
        if self.per_epoch:
            self._move_to(share, figures.get(self.watches or ""))

    def _move_to(self, share: float | None, metric: float | None = None) -> None:
        if share is None or not self._takes_length or self.length is None:
            self.move(metric)
            return
        while self._moves < round(share * self.length):
            self.move(metric)

    def move(self, metric: float | None = None) -> None:
        """Set the rates of the next step or epoch; `metric` is the figure that the scheduler watches."""
        if self.watches and metric is None and self._plateau is self.scheduler:
            return
        self._moves += 1
        if hasattr(self.scheduler, "step_update"):  # timm's interface
            self.scheduler.step(self._moves, metric) if self.per_epoch else self.scheduler.step_update(self._moves)
        elif metric is not None:
            self.scheduler.step(metric)
        else:
            self.scheduler.step()

    def state_dict(self) -> dict[str, Any]:
        """Return the state that a resumed run continues from."""
        state = self.scheduler.state_dict()
        if self._plateau is not None and self._plateau is not self.scheduler:  # timm saves only a part
            state = {"inner": self._plateau.state_dict(), "restore_lr": self.scheduler.restore_lr}
        return {"length": self.length, "moves": self._moves, "peak_lr": self.peak_lr, "scheduler": state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state, after that of the optimizer. A run that was made longer follows the longer plan from there.

        Earlier versions saved the state of torch's scheduler alone.
        """
        own = state.get("scheduler", state)
        found_lr = state.get("peak_lr", own["base_lrs"][0] if "base_lrs" in own else self.peak_lr)
        if self._plateau is None and state.get("length", self.length) != self.length:
            self._plan_anew(state["moves"], found_lr / self.peak_lr if self.peak_lr else 1)
        elif self._plateau is not None and self._plateau is not self.scheduler:
            self._plateau.load_state_dict(own["inner"])
            self.scheduler.restore_lr = own["restore_lr"]
        else:
            self.scheduler.load_state_dict(own)
        self._moves = state.get("moves", own.get("last_epoch", 0))
        self.peak_lr = found_lr

    def _plan_anew(self, moves: int, factor: float) -> None:
        """Start a new scheduler and move it to where the run is; multiply its rates, which may have been searched."""
        for group, values in zip(self.optimizer.param_groups, self._groups, strict=True):
            parameters = group["params"]
            group.clear()
            group.update(values, params=parameters, lr=values["lr"] * factor)
        self.scheduler = _make(self._factory, self.optimizer, self.length, self.per_epoch)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the optimizer makes no steps meanwhile
            for _ in range(moves):
                self.move()


def check_schedule(
    factory: ScheduleFactory,
    optimizer: Optimizer,
    steps: int | None = None,
    epochs: int | None = None,
    interval: Interval | None = None,
) -> None:
    """Rehearse the first moves of a schedule on a copy of the optimizer's settings; arguments as in `Schedule`.

    Raises:
        RequestError: if the scheduler cannot be made, fails, sets a rate that is negative or not finite, or has a state
            that could not be read back from a checkpoint.
    """
    trial = copy.copy(optimizer)
    trial.param_groups = [dict(group) for group in optimizer.param_groups]
    with warnings.catch_warnings(), explained("schedule", getattr(factory, "keywords", {}), Exception):
        warnings.simplefilter("ignore")
        schedule = Schedule(factory, trial, steps, epochs, interval)
        for move in range(min(MOST_REHEARSED, schedule.length or MOST_REHEARSED)):
            for rate in (group["lr"] for group in trial.param_groups):
                if not (isinstance(rate, int | float) and 0 <= rate < math.inf):
                    unit = "epoch" if schedule.per_epoch else "step"
                    raise ValueError(f"the learning rate of {unit} {move + 1} would be {rate}")
            schedule.move(1.0 if schedule.watches else None)
        check_readable(schedule.state_dict())


def _make(factory: ScheduleFactory, optimizer: Optimizer, length: int | None, per_epoch: bool) -> Any:
    """Call a factory with the optimizer and what it takes of the training's length, by name."""
    given, parameters = getattr(factory, "keywords", {}), inspect.signature(factory).parameters
    arguments: dict[str, Any] = {name: length or LONG for name in LENGTHS if name in parameters and name not in given}
    if "steps_per_epoch" in given:  # with `epochs`, another way to give OneCycleLR its length
        arguments.pop("total_steps", None)
    if "t_in_epochs" in parameters:
        arguments["t_in_epochs"] = per_epoch
    if getattr(factory, "func", None) in (OneCycleLR, CyclicLR):
        arguments |= _rates_of_groups({"max_lr": optimizer.param_groups[0]["lr"], **given}, optimizer)
    if isinstance(parts := given.get("schedulers"), list):
        ends = [0, *given.get("milestones", ()), length or LONG]  # each part of a SequentialLR is as long as it runs
        lengths = [max(1, end - start) for start, end in itertools.pairwise(ends)]
        if len(lengths) != len(parts):
            lengths = [length or LONG] * len(parts)
        pairs = zip(parts, lengths, strict=True)
        arguments["schedulers"] = [_make(part, optimizer, size, per_epoch) for part, size in pairs]
    first = () if "optimizer" in parameters else (optimizer,)
    if not first:
        arguments["optimizer"] = optimizer
    try:
        inspect.signature(factory).bind(*first, **arguments)
    except TypeError as error:
        raise ValueError(f"{error}; the length of the training is passed as {', '.join(LENGTHS)}") from None
    scheduler = factory(*first, **arguments)
    if not all(callable(getattr(scheduler, name, None)) for name in ("step", "state_dict", "load_state_dict")):
        raise ValueError(f"_target_ makes {type(scheduler).__name__} instead of a learning-rate scheduler")
    if length and isinstance(scheduler, OneCycleLR) and scheduler.total_steps < length:
        raise ValueError(f"total_steps must be at least {length}, the length of the training")
    return scheduler


def _rates_of_groups(given: Mapping[str, Any], optimizer: Optimizer) -> dict[str, list[float]]:
    """Return the rates of every parameter group for `max_lr` and `base_lr` of the first one."""
    rates = [group["lr"] for group in optimizer.param_groups]
    numbers = {name: given[name] for name in ("max_lr", "base_lr") if isinstance(given.get(name), int | float)}
    return {name: [value * (rate / rates[0] if rates[0] else 1) for rate in rates] for name, value in numbers.items()}


def check_readable(state: dict[str, Any], name: str = "state") -> None:
    """Raise a ValueError if a checkpoint with this state could not be read: only tensors and plain values are."""
    file = io.BytesIO()
    try:
        torch.save(state, file)
        torch.load(io.BytesIO(file.getvalue()), weights_only=True)
    except Exception as error:  # pickle raises many types
        problem = f"its {name} cannot be read from a checkpoint, so the run could not be resumed"
        raise ValueError(f"{problem} ({first_line(error)})") from None
