"""Read the search space from its file, check it, and draw the values of a trial from it.

A space holds keys of `cnnlab train`. Each key has one entry, or a list of entries with different conditions:

    recipe: {choice: [fast, speedrun]}
    optimizer.lr:
      - {float: [0.02, 0.5], log: true, when: {recipe: fast}}
      - {float: [0.01, 0.3], log: true, when: {recipe: speedrun}}
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal

from cnnlab.arguments import fits
from cnnlab.config.sweeps import to_override
from cnnlab.errors import RequestError
from cnnlab.instantiate import explained
from cnnlab.words import did_you_mean

if TYPE_CHECKING:
    from optuna.trial import BaseTrial  # optuna takes a second to import

Kind = Literal["float", "int", "choice"]
Values = dict[str, Any]
DIGITS = 4  # significant digits of a number drawn without steps: precise enough for any hyperparameter, and readable
KINDS: tuple[Kind, ...] = ("float", "int", "choice")
EXAMPLE = "{float: [0.1, 0.9]}, {int: [1, 9]} or {choice: [a, b]}"


@dataclass(frozen=True)
class Parameter:
    """Hold one entry of a space."""

    key: str  # a dotted key of the configuration, or the name of a configuration group
    kind: Kind
    values: tuple[Any, ...]  # lowest and highest value, or the choices
    log: bool = False  # whether the logarithm of the value is drawn uniformly
    step: float | None = None  # difference between neighbouring values
    when: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)  # other keys, and their values that use this

    @property
    def name(self) -> str:
        """Return the key with its conditions: `optimizer.lr [recipe=fast]`."""
        conditions = [f"{key}={'|'.join(map(str, values))}" for key, values in self.when.items()]
        return f"{self.key} [{', '.join(conditions)}]" if conditions else self.key

    def holds(self, values: Values) -> bool:
        """Return whether the values of a trial so far meet the conditions."""
        return all(key in values and _among(values[key], allowed) for key, allowed in self.when.items())

    def has(self, value: Any) -> bool:
        """Return whether this entry can suggest the value."""
        if self.kind == "choice":
            return _among(value, self.values)
        low, high = self.values
        if not _is_number(value, self.kind) or not low <= value <= high:
            return False
        return self.step is None or _is_whole((value - low) / self.step)

    def stored(self, value: Any) -> Any:
        """Return the value as a study stores it: a list becomes text."""
        return to_override(value) if isinstance(value, list) else value

    def suggest(self, trial: "BaseTrial") -> Any:
        """Draw a value for the trial."""
        if self.kind == "choice":
            chosen = trial.suggest_categorical(self.name, [self.stored(value) for value in self.values])
            return next(value for value in self.values if _among(self.stored(value), [chosen]))
        low, high = self.values
        if self.kind == "int":
            return trial.suggest_int(self.name, low, high, step=int(self.step or 1), log=self.log)
        value = trial.suggest_float(self.name, low, high, step=self.step, log=self.log)
        return round(value, 10) if self.step else float(f"{value:.{DIGITS}g}")  # 0.3, not 0.30000000000000004


def suggest(space: Sequence[Parameter], trial: "BaseTrial") -> Values:
    """Draw the values of a trial, by key, without the keys whose conditions are not met."""
    values: Values = {}
    for parameter in space:
        if parameter.holds(values):
            values[parameter.key] = parameter.suggest(trial)
    return values


def parent_values(parameter: Parameter, space: Sequence[Parameter]) -> Values:
    """Return values that meet an entry's conditions, and in turn the conditions of those keys."""
    values: Values = {}
    for key, allowed in parameter.when.items():
        parent = next(other for other in space if other.key == key and _among(allowed[0], other.values))
        values |= {**parent_values(parent, space), key: allowed[0]}
    return values


def overrides(values: Values) -> list[str]:
    """Return the values as key=value arguments."""
    return [f"{key}={to_override(value)}" for key, value in values.items()]


def flatten(settings: Any, prefix: str = "") -> dict[str, Any]:
    """Return the leaves of nested dictionaries by dotted key; an empty dictionary is a leaf."""
    if not isinstance(settings, Mapping) or not settings:
        return {prefix: settings} if prefix else {}
    start = f"{prefix}." if prefix else ""
    return {name: leaf for key, part in settings.items() for name, leaf in flatten(part, f"{start}{key}").items()}


def starting_point(space: Sequence[Parameter], settings: Mapping[str, Any]) -> Values | None:
    """Return the unchanged configuration as the stored values of a trial, or None if it lies outside the space.

    The settings are values by dotted key, and chosen names by group.
    """
    values, kept = {}, {}
    for parameter in space:
        if parameter.holds(values):
            value = settings.get(parameter.key)
            if not parameter.has(value):
                return None
            values[parameter.key], kept[parameter.name] = value, parameter.stored(value)
    return kept


def read_space(space: Any) -> list[Parameter]:
    """Check a space as its file holds it, and return its entries in order, or raise a RequestError for a wrong one."""
    if not isinstance(space, dict) or not space:
        raise RequestError("search: a space holds keys of the configuration, such as optimizer.lr: {float: [0.01, 1]}")
    parameters: list[Parameter] = []
    for key, entries in space.items():
        with explained(f"search: {key}"):
            listed = entries if isinstance(entries, list) else [entries]
            own = [_read_entry(str(key), entry, parameters) for entry in listed]
            for one, other in combinations(own, 2):
                shared = one.when.keys() & other.when.keys()
                if all(any(_among(value, other.when[name]) for value in one.when[name]) for name in shared):
                    raise ValueError("two entries apply at the same time; give them different conditions with `when`")
        parameters += own
    return parameters


def _read_entry(key: str, entry: Any, before: Sequence[Parameter]) -> Parameter:
    """Check one entry; raise ValueError if it is wrong, as do the functions below."""
    if not isinstance(entry, dict):
        raise ValueError(f"must be of the form {EXAMPLE}, got {entry!r}")
    kinds: list[Kind] = [kind for kind in KINDS if kind in entry]
    known = [*KINDS, "log", "step", "when"]
    if unknown := [name for name in entry if name not in known]:
        raise ValueError(f"{unknown[0]} is not a key{did_you_mean(str(unknown[0]), known)}")
    if len(kinds) != 1:
        raise ValueError(f"must have one of float, int and choice: {EXAMPLE}")
    kind = kinds[0]
    values, when = entry[kind], _read_conditions(entry.get("when", {}), before)
    log, step = entry.get("log", False), entry.get("step")
    if kind == "choice":
        if log or step:
            raise ValueError("log and step are for float and int, not for choice")
        return Parameter(key, kind, _read_choices(values), when=when)
    _check_range(kind, values, log, step)
    low, high = map(float, values) if kind == "float" else values
    return Parameter(key, kind, (low, high), log, step, when)


def _check_range(kind: Kind, values: Any, log: Any, step: Any) -> None:
    numbers = "whole numbers" if kind == "int" else "numbers"
    if not isinstance(values, list) or len(values) != 2 or not all(_is_number(value, kind) for value in values):
        raise ValueError(f"{kind} must be two {numbers}, [lowest, highest], got {values!r}")
    low, high = values
    if not low < high:
        raise ValueError(f"{kind} must be [lowest, highest], got {values!r}")
    if not isinstance(log, bool):
        raise ValueError(f"log must be true or false, got {log!r}")
    if log and low <= 0:
        raise ValueError(f"with log: true the lowest value must be above 0, got {low}")
    if step is not None:
        if log:
            raise ValueError("step and log: true cannot be combined")
        if not _is_number(step, kind) or step <= 0:
            raise ValueError(f"step must be one of the {numbers} above 0, got {step!r}")
        if not _is_whole((high - low) / step):
            raise ValueError(f"steps of {step} from {low} do not lead to {high}")


def _read_choices(values: Any) -> tuple[Any, ...]:
    if not isinstance(values, list) or len(values) < 2:
        raise ValueError(f"choice must be a list of two values or more, got {values!r}")
    for number, value in enumerate(values):
        if isinstance(value, dict):
            raise ValueError("a choice cannot be a mapping; search its keys instead, written with dots: KEY.KEY")
        if _among(value, values[:number]):
            raise ValueError(f"{value} is listed twice")
    return tuple(values)


def _read_conditions(when: Any, before: Sequence[Parameter]) -> dict[str, tuple[Any, ...]]:
    if not isinstance(when, dict):
        raise ValueError(f"when must be of the form {{recipe: fast}}, got {when!r}")
    conditions, parents = {}, [parameter for parameter in before if parameter.kind == "choice"]
    for name, value in when.items():
        allowed = tuple(value) if isinstance(value, list) else (value,)
        choices = [choice for parent in parents if parent.key == name for choice in parent.values]
        if not choices:
            near = did_you_mean(str(name), [parent.key for parent in parents])
            raise ValueError(f"when: {name} must be a choice listed before it{near}")
        for value in allowed:
            if not _among(value, choices):
                near = did_you_mean(str(value), map(str, choices))
                raise ValueError(f"when: {value} is not among the choices of {name}{near}")
        conditions[str(name)] = allowed
    return conditions


def _is_number(value: Any, kind: Kind) -> bool:
    return fits(value, int if kind == "int" else float) and math.isfinite(value)


def _is_whole(value: float) -> bool:
    return abs(value - round(value)) < 1e-9


def _among(value: Any, values: Iterable[Any]) -> bool:
    """Return whether a list holds a value, of the same type: true is not 1."""
    return to_override(value) in map(to_override, values)
