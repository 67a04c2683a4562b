"""What a sweep runs over: `seeds=5` on the command line, and `sweep:` and `seeds:` in an experiment's file.

Nothing here knows Hydra, except that it writes values the way that Hydra reads them on the command line.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from cnnlab.errors import RequestError

# Flags of Hydra that show something instead of running.
SHOW_FLAGS = {"--help", "-h", "--hydra-help", "--cfg", "-c", "--info", "-i", "--shell-completion", "-sc"}


def expand_seeds(arguments: Sequence[str]) -> list[str]:
    """The command line with `seeds=5` as `seed=0,1,2,3,4`, which is a sweep even without `-m`.

    Args:
        arguments: of a command that sweeps.

    Raises:
        RequestError: when `seeds` is neither a number nor a list of numbers, or `seed` is given too.
    """
    given = [arg.partition("=")[2] for arg in arguments if arg.startswith("seeds=")]
    others = [arg for arg in arguments if not arg.startswith("seeds=")]
    if not given or SHOW_FLAGS & {arg.partition("=")[0] for arg in arguments}:
        return others
    if any(arg.startswith("seed=") for arg in others):
        raise RequestError("seeds: give either seeds= or seed=")
    try:
        value = yaml.safe_load(given[-1])
    except yaml.YAMLError:
        value = given[-1]
    return ["--multirun", *others, f"seed={join_values(list_seeds(value))}"]


def list_seeds(value: Any) -> list[int]:
    """The seeds that are meant: 3 means 0, 1 and 2, a list means its own numbers.

    Raises:
        RequestError: for anything else.
    """
    seeds = list(range(value)) if _is_number(value) else value
    if not isinstance(seeds, list) or not seeds or not all(_is_number(seed) for seed in seeds):
        raise RequestError(f"seeds must be a number of seeds such as 5, or a list such as [3,7], got {value!r}")
    return seeds


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def read_grids(sweep: Any, seeds: Any = None) -> list[dict[str, str]]:
    """What an experiment's `sweep:` and `seeds:` make jobs of.

    Args:
        sweep: keys with the values that they take in turn, in every combination; or a list of such, whose combinations
            follow each other; None for a sweep over the seeds alone.
        seeds: a number or list of seeds for all of them that have none of their own, or None.

    Returns:
        For each entry of the list, keys with their values as Hydra reads them: {"model": "lenet5,vgg11"}.

    Raises:
        RequestError: where it is of another form.
    """
    entries = sweep if isinstance(sweep, list) else [{} if sweep is None else sweep]
    if not entries or not all(isinstance(entry, dict) for entry in entries):
        raise RequestError("sweep must hold keys with lists of values, or be a list of such")
    return [_read_grid(entry if seeds is None or "seeds" in entry else {**entry, "seeds": seeds}) for entry in entries]


def _read_grid(entry: Mapping[Any, Any]) -> dict[str, str]:
    found = {}
    for key, values in entry.items():
        if key == "seeds":
            key, values = "seed", list_seeds(values)
        elif isinstance(values, dict) or values == []:
            raise RequestError(f"sweep.{key} must be a value or a list of values; write keys with dots: {key}.KEY")
        found[str(key)] = join_values(values if isinstance(values, list) else [values])
    return found


def join_values(values: Sequence[Any]) -> str:
    """Values as Hydra reads a sweep over them: `a,b`."""
    return ",".join(to_override(value) for value in values)


def to_override(value: Any) -> str:
    """A plain value as Hydra's command line reads it, of the same type."""
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
    escaped = re.sub(r"(\\*)(?='|$)", r"\1\1", value).replace("'", "\\'")  # a backslash counts before a quote only
    return f"'{escaped}'"
