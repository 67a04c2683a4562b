"""Read what a sweep varies: `seeds=5` and `folds=5` on the command line, and with `sweep:` in an experiment's file.

Values are written in the syntax of Hydra's command line.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import yaml
from hydra.core.override_parser.types import ChoiceSweep, Override, RangeSweep

from cnnlab.arguments import fits, misfit
from cnnlab.errors import RequestError

# Keys that stand for a sweep, with those that they become.
REPEATS = {"seeds": ("seed",), "folds": ("data.folds", "data.fold")}
# Flags of Hydra that print something instead of running the command.
SHOW_FLAGS = {"--help", "-h", "--hydra-help", "--cfg", "-c", "--info", "-i", "--shell-completion", "-sc"}

MOST_SEEDS = MOST_JOBS = 10_000


def expand_repeats(arguments: Sequence[str]) -> list[str]:
    """Replace `seeds=3` by `--multirun seed=0,1,2` in the command line of a command that takes sweeps.

    `folds=3` becomes `--multirun data.folds=3 data.fold=1,2,3`. With both, every seed is trained with every fold.

    Raises:
        RequestError: if `seeds` or `folds` has a wrong value, or if `seed` or `data.fold` is given too.
    """
    given = {key: value for key, _, value in (arg.partition("=") for arg in arguments) if key in REPEATS}
    others = [arg for arg in arguments if arg.partition("=")[0] not in REPEATS]
    if not given or SHOW_FLAGS & {arg.partition("=")[0] for arg in arguments}:
        return others
    expanded = ["--multirun", *others]
    for key, text in given.items():
        if clash := [arg for arg in others if arg.partition("=")[0] in REPEATS[key]]:
            raise RequestError(f"{key}: give either {key}= or {clash[0].partition('=')[0]}=")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            value = text
        expanded += [f"{name}={values}" for name, values in _repeats(key, value).items()]
    return expanded


def _repeats(key: str, value: Any) -> dict[str, str]:
    """Return the keys and values of a sweep that `seeds` or `folds` stands for."""
    if key == "seeds":
        return {"seed": join_values(list_seeds(value))}
    if not fits(value, int) or not 2 <= value <= MOST_SEEDS:
        raise RequestError(f"folds must be a number from 2 to {MOST_SEEDS:,}, got {value!r}")
    return {"data.folds": str(value), "data.fold": join_values(range(1, value + 1))}


def list_seeds(value: Any) -> list[int]:
    """Return the seeds: 0, 1 and 2 for the number 3, or the numbers of a list.

    Raises:
        RequestError: if the value is neither a number of seeds up to `MOST_SEEDS` nor a list of seeds.
    """
    if fits(value, int) and value > MOST_SEEDS:
        raise RequestError(f"seeds must be at most {MOST_SEEDS:,}, got {value}")
    seeds = list(range(value)) if fits(value, int) else value
    if not seeds or misfit(seeds, Annotated[list[int], "[0, inf)"]):
        raise RequestError(f"seeds must be a number of seeds such as 5, or a list such as [3,7], got {value!r}")
    return seeds


def check_number_of_jobs(overrides: Sequence[Override]) -> None:
    """Raise a RequestError for an impossible range, and for more than `MOST_JOBS` combinations of values."""
    counts = {override.key_or_group: _count_values(override) for override in overrides}  # the last one of a key counts
    if (jobs := math.prod(counts.values())) > MOST_JOBS:
        longest = max(counts, key=lambda key: counts[key])
        raise RequestError(f"{longest}: a sweep has at most {MOST_JOBS:,} jobs, this one would have {jobs:,}")


def _count_values(override: Override) -> int:
    """Return how many values an override gives to its key, without listing them."""
    values = override.value()
    if isinstance(values, ChoiceSweep):
        return len(values.list)
    if not isinstance(values, RangeSweep):
        return 1
    try:
        count = math.ceil(((values.stop or 0) - (values.start or 0)) / values.step)
    except (OverflowError, ValueError, ZeroDivisionError):
        count = 0
    if count < 1:
        raise RequestError(f"{override.input_line}: this range has no values, or no end")
    return count


def read_grids(sweep: Any, seeds: Any = None, folds: Any = None) -> list[dict[str, str]]:
    """Read the grids of an experiment's `sweep:`; every combination of a grid's values is a job.

    Args:
        sweep: a grid, which maps keys to values or lists of values, or a list of grids; None for only seeds and folds.
        seeds: a number or list of seeds for grids without seeds of their own, or None.
        folds: a number of folds for grids without folds of their own, or None.

    Returns:
        Grids with values in Hydra's syntax: [{"model": "lenet5,vgg11"}].

    Raises:
        RequestError: if the sweep has another form.
    """
    entries = sweep if isinstance(sweep, list) else [{} if sweep is None else sweep]
    if not entries or not all(isinstance(entry, dict) for entry in entries):
        raise RequestError("sweep must map keys to lists of values, or be a list of such maps")
    common = {key: value for key, value in (("seeds", seeds), ("folds", folds)) if value is not None}
    return [_read_grid({**entry, **{key: common[key] for key in common if key not in entry}}) for entry in entries]


def _read_grid(entry: Mapping[Any, Any]) -> dict[str, str]:
    found = {}
    for key, values in entry.items():
        if key in REPEATS:
            found |= _repeats(key, values)
        elif isinstance(values, dict) or values == []:
            raise RequestError(f"sweep.{key} must be a value or a list of values; write keys with dots: {key}.KEY")
        else:
            found[str(key)] = join_values(values if isinstance(values, list) else [values])
    return found


def join_values(values: Sequence[Any]) -> str:
    """Join values to a sweep in Hydra's syntax: `a,b`."""
    return ",".join(to_override(value) for value in values)


def to_override(value: Any) -> str:
    """Write a plain value in the syntax of Hydra's command line, so that it keeps its type."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{','.join(to_override(item) for item in value)}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{to_override(item)}' for key, item in value.items())}}}"
    if not isinstance(value, str) or (re.fullmatch(r"[A-Za-z_][\w./-]*", value) and yaml.safe_load(value) == value):
        return str(value)
    return quoted(value)


def quoted(text: str) -> str:
    """Write a text in quotes for Hydra, which escapes with a backslash only before quotes."""
    escaped = re.sub(r"(\\*)(?='|$)", r"\1\1", text).replace("'", "\\'")
    return f"'{escaped}'"
