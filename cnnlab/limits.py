"""Check numbers against intervals such as `[0, 1)`, and texts against choices such as `min|max`.

An argument of cnnlab is annotated with its interval: `decay: BelowOne`. Those of other packages, and of networks, which
need nothing of cnnlab, are listed here.
"""

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal

from cnnlab.errors import RequestError

Count = Annotated[int, "[1, inf)"]
Pixels = Annotated[int, "[1, 10000]"]  # of a side; more would not fit into memory
Whole = Annotated[int, "[0, inf)"]
Positive = Annotated[float, "(0, inf)"]
NotNegative = Annotated[float, "[0, inf)"]
Share = Annotated[float, "[0, 1]"]
BelowOne = Annotated[float, "[0, 1)"]
Attack = Literal["none", "fgsm", "pgd"]
Device = Annotated[str, "auto|cpu|cuda|cuda:[0-9]|mps"]
AboveZero = Annotated[float, "(0, 1]"]
Between = Annotated[float, "(0, 1)"]
Folds = Annotated[int, "[2, inf)"]

COUNT, POSITIVE, NOT_NEGATIVE, SHARE, BELOW_ONE = "[1, inf)", "(0, inf)", "[0, inf)", "[0, 1]", "[0, 1)"
# Intervals of arguments, by the beginning of the names of functions and classes. Their own checks are incomplete.
NETWORK = {
    **dict.fromkeys(("width", "whitening_eps"), POSITIVE),
    **dict.fromkeys(("dropout", "drop_rate", "drop_path_rate"), SHARE),
    "kernel_size": COUNT,
    "norm_momentum": "(0, 1]",
}
OPTIMIZER = {
    **dict.fromkeys(("lr", "weight_decay", "eps", "lr_decay", "initial_accumulator_value", "lambd"), NOT_NEGATIVE),
    **dict.fromkeys(("momentum", "betas", "rho", "momentum_decay"), BELOW_ONE),
    **dict.fromkeys(("dampening", "alpha"), SHARE),
    **dict.fromkeys(("ns_steps", "max_iter", "history_size"), COUNT),
}
SCHEDULE = {
    **dict.fromkeys(("step_size", "T_max", "T_0", "T_mult", "total_iters"), COUNT),
    **dict.fromkeys(("gamma", "max_lr", "base_lr", "div_factor", "final_div_factor"), POSITIVE),
    **dict.fromkeys(("eta_min", "min_lr", "patience", "cooldown"), NOT_NEGATIVE),
    **dict.fromkeys(("pct_start", "start_factor", "end_factor"), SHARE),
}
CALLBACK = {
    **dict.fromkeys(("patience", "min_delta", "every_n_epochs", "every_n_train_steps", "refresh_rate"), NOT_NEGATIVE),
    **dict.fromkeys(("swa_lrs", "min_lr", "max_lr"), POSITIVE),
    **dict.fromkeys(("num_training_steps", "annealing_epochs", "max_trials"), COUNT),
    "save_top_k": "[-1, inf)",
    "mode": "min|max",
    "decay": SHARE,
}
OTHERS: Mapping[str, Mapping[str, str]] = {
    "cnnlab.models.": NETWORK,
    "cnnlab.libraries.": NETWORK,
    "torch.optim.lr_scheduler.": SCHEDULE,
    "torch.optim.": OPTIMIZER,
    "timm.optim.": OPTIMIZER,
    "torch.nn.": {"label_smoothing": SHARE, "p": SHARE},
    "timm.loss.": {"smoothing": SHARE},
    "lightning.pytorch.callbacks.": CALLBACK,
}


def check_fold(fold: int | None, folds: int | None, protocol: str | None) -> None:
    """Raise a RequestError unless `fold` is a number from 1 to `folds` and the protocol holds images out."""
    if folds is None and fold is None:
        return
    if folds is None or fold is None:
        raise RequestError("data.fold and data.folds belong together; folds=5 trains a run for each of five folds")
    if not 1 <= fold <= folds:
        raise RequestError(f"data.fold must be a number from 1 to data.folds={folds}, got {fold}")
    if protocol == "article":
        raise RequestError("data.folds: protocol=article validates with the test images; use protocol=holdout")


def limits_of(target: Any) -> Mapping[str, str]:
    """Return the intervals of the arguments of a function or class of another package, by its dotted name."""
    return next((limits for start, limits in OTHERS.items() if str(target).startswith(start)), {})


def read_seconds(time: Any) -> float | None:
    """Return the seconds of a time such as 00:05:00 or, with days, 00:00:05:00; None if it has another form."""
    if not isinstance(time, str) or not re.fullmatch(r"(\d+:)?\d+:\d\d:\d\d", time):
        return None
    days, hours, minutes, seconds = ([0] + [int(part) for part in time.split(":")])[-4:]
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)


def outside(value: Any, interval: str) -> str | None:
    """Return what a number, or each number of a list, must be if it lies outside of an interval, else None.

    An interval may also be a list of choices for a text.
    """
    if "|" in interval:
        choices = interval.split("|")
        known = not isinstance(value, str) or any(fnmatchcase(value, choice) for choice in choices)
        return None if known else f"one of {', '.join(choices)}"
    found = re.fullmatch(r"([\[(])(\S+), (\S+)([\])])", interval)
    assert found, interval
    first, low, high, last = found.groups()
    numbers = [part for part in (value if isinstance(value, list | tuple) else [value]) if type(part) in (int, float)]
    above = all(float(low) < number or (first == "[" and number == float(low)) for number in numbers)
    below = all(number < float(high) or (last == "]" and number == float(high)) for number in numbers)
    if above and below:
        return None
    if high == "inf":
        return f"{low} or more" if first == "[" else f"above {low}"
    return {
        "[]": f"from {low} to {high}",
        "[)": f"at least {low} and below {high}",
        "(]": f"above {low} and at most {high}",
        "()": f"between {low} and {high}",
    }[first + last]
