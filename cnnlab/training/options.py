"""Check the keys of conf/trainer/*.yaml, without importing Lightning: a wrong value is answered at once."""

import itertools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

from cnnlab.arguments import check_arguments, fits
from cnnlab.declarations import Declaration, read_declaration
from cnnlab.errors import RequestError
from cnnlab.instantiate import read_options
from cnnlab.limits import Count, NotNegative, Positive, Whole, read_seconds

Compile = Literal["off", "default", "reduce-overhead", "max-autotune"]
# Arguments of Lightning's Trainer that cnnlab sets itself, and what to type instead.
SET_BY_CNNLAB = {
    "logger": "logger=NAME chooses one",
    "callbacks": "callbacks.NAME._target_=CLASS adds one",
    "default_root_dir": "hydra.run.dir=DIR chooses the folder",
    "enable_checkpointing": "every run keeps its best and its last epoch",
    "enable_model_summary": "cnnlab describe shows the layers",
    "barebones": "every run is recorded",
    "plugins": "trainer.precision and trainer.strategy choose them",
    "profiler": "trainer.profile=true measures the steps",
    "overfit_batches": "trainer.limit_train_batches=N makes the epochs short",
    "use_distributed_sampler": "processes always share every batch",
    "reload_dataloaders_every_n_epochs": "the data stay the same",
    "limit_predict_batches": "cnnlab predict takes limit=N",
    "model_registry": "the run directory holds the checkpoints",
}


@dataclass(frozen=True)
class TrainerOptions:
    """Hold the keys of `trainer` that cnnlab reads itself, or allows less values of than Lightning."""

    max_epochs: Positive | None  # null with a budget of time
    max_steps: int = -1
    max_time: str | dict[str, int] | None = None
    min_epochs: Whole | None = None
    min_steps: Whole | None = None
    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"] = "auto"
    num_nodes: Count = 1
    # Other strategies would shard the weights or start processes in ways that nothing here supports.
    strategy: Literal["auto", "ddp", "ddp_find_unused_parameters_true"] = "auto"
    # Includes Lightning's short names. In 16-true, small gradients would be zero: there is nothing to scale them.
    precision: Literal["auto", "32-true", "bf16-mixed", "bf16-true", "16-mixed", "32", "bf16", "16", 32, 16] = "auto"
    compile: Compile = "off"
    compile_step: bool = False
    tf32: bool = True
    profile: bool = False
    accumulate_grad_batches: Count = 1
    gradient_clip_val: NotNegative | None = None
    gradient_clip_algorithm: Literal["norm", "value"] | None = None
    check_val_every_n_epoch: Count | None = 1
    num_sanity_val_steps: Annotated[int, "[-1, inf)"] | None = 0
    log_every_n_steps: Whole | None = None
    limit_train_batches: Positive | None = None
    limit_val_batches: NotNegative | None = None
    limit_test_batches: Positive | None = None
    fast_dev_run: bool | Whole = False
    devices: Any = "auto"

    def __post_init__(self) -> None:
        check_devices(self.devices)
        if self.max_steps < 1 and self.max_steps != -1:
            raise ValueError(f"max_steps must be 1 or more, or -1 for no limit, got {self.max_steps}")
        if isinstance(self.max_time, str) and not re.fullmatch(r"(?=.*[1-9])\d+:\d\d:\d\d:\d\d", self.max_time):
            raise ValueError(f"max_time must be days:hours:minutes:seconds, such as 00:00:05:00, got {self.max_time!r}")
        for name in ("limit_train_batches", "limit_val_batches", "limit_test_batches"):
            limit = getattr(self, name)
            if limit is not None and limit > 1 and limit % 1:
                raise ValueError(f"{name} must be a number of batches or a fraction up to 1, got {limit}")
        if self.max_epochs and (self.min_epochs or 0) > self.max_epochs:
            raise ValueError(f"min_epochs must be at most max_epochs, {self.max_epochs:g}, got {self.min_epochs}")
        if self.max_steps != -1 and (self.min_steps or 0) > self.max_steps:
            raise ValueError(f"min_steps must be at most max_steps, {self.max_steps}, got {self.min_steps}")
        if self.max_epochs and (self.check_val_every_n_epoch or 1) > math.ceil(self.max_epochs):
            most = f"at most max_epochs, {self.max_epochs:g}, or there is no validation"
            raise ValueError(f"check_val_every_n_epoch must be {most}; got {self.check_val_every_n_epoch}")


def check_trainer(options: Mapping[str, Any]) -> None:
    """Check names, types and values of the keys of `trainer`, which are arguments of Lightning's Trainer and our own.

    Raises:
        RequestError: if one is wrong; the message names it.
    """
    for name in options:
        if name in SET_BY_CNNLAB:
            raise RequestError(f"trainer.{name} is set by cnnlab: {SET_BY_CNNLAB[name]}")
    own = {field.name for field in fields(TrainerOptions)}
    if lightnings := read_declaration("lightning.Trainer"):
        names = tuple(name for name in {*own, *lightnings.names} if name not in SET_BY_CNNLAB)
        others = {name: value for name, value in options.items() if name not in own}
        check_arguments(Declaration(names, lightnings.open_ended, lightnings.hint), others, "trainer")
    read_options(TrainerOptions, {name: value for name, value in options.items() if name in own}, "trainer")


def read_budget(budget: Any) -> float | list[list[int]] | None:
    """Return the seconds of `budget`, or the plan that it holds in their place; None if there is none.

    Raises:
        RequestError: if it is neither.
    """
    if budget is None:
        return None
    seconds = read_seconds(budget) if isinstance(budget, str) else budget
    if isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 < seconds < math.inf:
        return float(seconds)
    if not isinstance(budget, list):
        raise RequestError(f"budget must be hours:minutes:seconds, such as 00:05:00, or seconds, got {budget!r}")
    valid = bool(budget) and fits(budget, list[list[int]]) and all(len(p) == 2 and p[0] < p[1] for p in budget)
    firsts = [pair[0] for pair in budget] if valid else []
    reached = valid and all(later[0] < earlier[1] for earlier, later in itertools.pairwise(budget))
    if not reached or firsts != sorted(set(firsts)) or firsts[0] != 0:
        raise RequestError(f"budget must be a time, or the plan in a record (summary.json), got {budget!r}")
    return budget


def check_devices(devices: Any) -> None:
    """Raise a ValueError if `devices` has no known form. Lightning raises a different kind of error for each."""
    forms = r"\[\d+(, \d+)*\]" if isinstance(devices, list) else r"auto|-1|[1-9]\d{0,3}|\d+(,\d+)+"
    if not re.fullmatch(forms, str(devices)):
        raise ValueError(f"devices must be a number, a list such as [0, 2], or auto, got {devices!r}")
