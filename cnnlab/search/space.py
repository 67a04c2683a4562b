"""What a search varies: a space is read from its file, checked, and asked for the values of one trial.

A space holds keys of `cnnlab.train`, each with one entry, or a list of entries that hold under different conditions:

    recipe: {choice: [fast, speedrun]}
    optimizer.lr:
      - {float: [0.02, 0.5], log: true, when: {recipe: fast}}
      - {float: [0.01, 0.3], log: true, when: {recipe: speedrun}}
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, Literal, Protocol

from cnnlab.config.sweeps import written
from cnnlab.errors import RequestError
from cnnlab.instantiate import did_you_mean

Kind = Literal["float", "int", "choice"]
Values = dict[str, Any]
DIGITS = 4  # of a number that is drawn without steps: enough for any hyperparameter, and it can be read
OPTIONS: dict[Kind, tuple[str, ...]] = {"float": ("log", "step"), "int": ("log", "step"), "choice": ()}


class Suggests(Protocol):
    """What gives values: a trial of Optuna's."""

    def suggest_float(self, name: str, low: float, high: float, *, step: float | None, log: bool) -> float:
        """A number of a range."""
        ...

    def suggest_int(self, name: str, low: int, high: int, *, step: int, log: bool) -> int:
        """A whole number of a range."""
        ...

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """One of the choices."""
        ...


@dataclass(frozen=True)
class Parameter:
    """One entry of a space.

    Attributes:
        key: of the configuration, dotted, or the name of a group of choices.
        kind: of the values.
        values: the lowest and highest, or the choices.
        log: whether it is the logarithm that is drawn evenly.
        step: between the values, or None.
        when: other keys of the space with the values under which this entry holds.
    """

    key: str
    kind: Kind
    values: tuple[Any, ...]
    log: bool = False
    step: float | None = None
    when: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The key, and the condition if there is one: `optimizer.lr [recipe=fast]`."""
        conditions = [f"{key}={'|'.join(map(str, values))}" for key, values in self.when.items()]
        return f"{self.key} [{', '.join(conditions)}]" if conditions else self.key

    def holds(self, values: Values) -> bool:
        """Whether the condition is met by the values that a trial has so far."""
        return all(key in values and _among(values[key], allowed) for key, allowed in self.when.items())

    def has(self, value: Any) -> bool:
        """Whether the value can be suggested."""
        if self.kind == "choice":
            return _among(value, self.values)
        if not isinstance(value, int if self.kind == "int" else int | float) or isinstance(value, bool):
            return False
        low, high = self.values
        return low <= value <= high and (not self.step or _is_whole((value - low) / self.step))

    def stored(self, value: Any) -> Any:
        """The value as a study keeps it: plain, so a list as text."""
        return written(value) if isinstance(value, list) else value

    def suggest(self, trial: Suggests) -> Any:
        """A value from the trial."""
        if self.kind == "choice":
            by_stored = [(self.stored(value), value) for value in self.values]
            chosen = trial.suggest_categorical(self.name, [stored for stored, _ in by_stored])
            return next(value for stored, value in by_stored if _same(stored, chosen))
        low, high = self.values
        if self.kind == "int":
            return trial.suggest_int(self.name, low, high, step=int(self.step or 1), log=self.log)
        value = trial.suggest_float(self.name, low, high, step=self.step, log=self.log)
        return round(value, 10) if self.step else float(f"{value:.{DIGITS}g}")  # 0.3, not 0.30000000000000004


def suggest(space: Sequence[Parameter], trial: Suggests) -> Values:
    """The values of one trial, by key; keys whose conditions are not met are left as they are."""
    values: Values = {}
    for parameter in space:
        if parameter.holds(values):
            values[parameter.key] = parameter.suggest(trial)
    return values


def way_to(parameter: Parameter, space: Sequence[Parameter]) -> Values:
    """Values under which an entry holds: those of its conditions, and of theirs."""
    values: Values = {}
    for key, allowed in parameter.when.items():
        parent = next(other for other in space if other.key == key and _among(allowed[0], other.values))
        values |= {**way_to(parent, space), key: allowed[0]}
    return values


def overrides(values: Values) -> list[str]:
    """The values as they are typed: key=value."""
    return [f"{key}={written(value)}" for key, value in values.items()]


def flat(settings: Any, prefix: str = "") -> dict[str, Any]:
    """The leaves of nested dictionaries by dotted key; an empty one is a leaf."""
    if not isinstance(settings, Mapping) or not settings:
        return {prefix: settings} if prefix else {}
    start = f"{prefix}." if prefix else ""
    return {name: leaf for key, part in settings.items() for name, leaf in flat(part, f"{start}{key}").items()}


def starting_point(space: Sequence[Parameter], settings: Mapping[str, Any]) -> Values | None:
    """What the study keeps for a trial of the configuration as it stands; None where that lies outside the space.

    Args:
        space: all entries.
        settings: the configuration's values by dotted key, and the choices by group.
    """
    values, kept = {}, {}
    for parameter in space:
        if not parameter.holds(values):
            continue
        value = settings.get(parameter.key)
        if not parameter.has(value):
            return None
        values[parameter.key] = value
        kept[parameter.name] = parameter.stored(value)
    return kept


# --- reading a space -------------------------------------------------------------------------------------------------


def read_space(space: Any) -> list[Parameter]:
    """The entries of a space, in their order.

    Args:
        space: as its file holds it.

    Raises:
        RequestError: where a kind, range, choice or condition is wrong.
    """
    if not isinstance(space, dict) or not space:
        raise RequestError("search: a space holds keys of the configuration, such as optimizer.lr: {float: [0.01, 1]}")
    parameters: list[Parameter] = []
    for key, entries in space.items():
        listed = entries if isinstance(entries, list) else [entries]
        own = [_read_entry(str(key), entry, parameters) for entry in listed]
        for one, other in combinations(own, 2):
            if not any(_disjoint(one.when[name], other.when[name]) for name in one.when if name in other.when):
                raise RequestError(f"search: {key} has entries that hold at the same time; tell them apart by `when`")
        parameters += own
    return parameters


def _read_entry(key: str, entry: Any, before: Sequence[Parameter]) -> Parameter:
    example = f"{key}: {{float: [0.1, 0.9]}}, {{int: [1, 9]}} or {{choice: [a, b]}}"
    if not isinstance(entry, dict):
        raise RequestError(f"search: {key} must be of the form {example}, got {entry!r}")
    kinds: list[Kind] = [kind for kind in OPTIONS if kind in entry]
    known = [*OPTIONS, "log", "step", "when"]
    for name in entry:
        if name not in known:
            raise RequestError(f"search: {key}: {name} is not a key{did_you_mean(str(name), known)}")
    if len(kinds) != 1:
        raise RequestError(f"search: {key} must have one of float, int and choice: {example}")
    kind = kinds[0]
    for name in ("log", "step"):
        if name in entry and name not in OPTIONS[kind]:
            raise RequestError(f"search: {key}: {name} is of float and int, not of {kind}")
    values, when = entry[kind], _read_conditions(key, entry.get("when", {}), before)
    if kind == "choice":
        return Parameter(key, kind, _read_choices(key, values), when=when)
    log, step = entry.get("log", False), entry.get("step")
    _check_range(key, kind, values, log, step)
    low, high = map(float, values) if kind == "float" else values
    return Parameter(key, kind, (low, high), log, step, when)


def _check_range(key: str, kind: Kind, values: Any, log: Any, step: Any) -> None:
    """Raises RequestError where a range is none."""
    numbers = "whole numbers" if kind == "int" else "numbers"
    if not isinstance(values, list) or len(values) != 2 or not all(_is_number(value, kind) for value in values):
        raise RequestError(f"search: {key}: {kind} must be two {numbers}, [lowest, highest], got {values!r}")
    low, high = values
    if not low < high:
        raise RequestError(f"search: {key}: {kind} must be [lowest, highest], got {values!r}")
    if not isinstance(log, bool):
        raise RequestError(f"search: {key}: log must be true or false, got {log!r}")
    if log and low <= 0:
        raise RequestError(f"search: {key}: with log: true the lowest must be above 0, got {low}")
    if step is None:
        return
    if log:
        raise RequestError(f"search: {key}: step and log: true exclude each other")
    if not _is_number(step, kind) or step <= 0:
        raise RequestError(f"search: {key}: step must be one of the {numbers} above 0, got {step!r}")
    if not _is_whole((high - low) / step):
        raise RequestError(f"search: {key}: steps of {step} from {low} do not lead to {high}")


def _read_choices(key: str, values: Any) -> tuple[Any, ...]:
    if not isinstance(values, list) or len(values) < 2:
        raise RequestError(f"search: {key}: choice must be a list of two values or more, got {values!r}")
    for number, value in enumerate(values):
        if isinstance(value, dict):
            raise RequestError(f"search: {key}: a choice is a value, not a mapping; vary its keys: {key}.KEY")
        if _among(value, values[:number]):
            raise RequestError(f"search: {key}: {value} is twice among the choices")
    return tuple(values)


def _read_conditions(key: str, when: Any, before: Sequence[Parameter]) -> dict[str, tuple[Any, ...]]:
    if not isinstance(when, dict):
        raise RequestError(f"search: {key}: when must be of the form {{recipe: fast}}, got {when!r}")
    conditions = {}
    for name, value in when.items():
        allowed = tuple(value) if isinstance(value, list) else (value,)
        choices = [
            choice for other in before if other.key == name and other.kind == "choice" for choice in other.values
        ]
        if not choices:
            known = [other.key for other in before if other.kind == "choice"]
            raise RequestError(f"search: {key}: when: {name} is no choice above it{did_you_mean(str(name), known)}")
        for value in allowed:
            if not _among(value, choices):
                near = did_you_mean(str(value), map(str, choices))
                raise RequestError(f"search: {key}: when: {value} is not among the choices of {name}{near}")
        conditions[str(name)] = allowed
    return conditions


def _is_number(value: Any, kind: Kind) -> bool:
    accepted = int if kind == "int" else int | float
    return isinstance(value, accepted) and not isinstance(value, bool) and math.isfinite(value)


def _is_whole(value: float) -> bool:
    return abs(value - round(value)) < 1e-9


def _same(one: Any, other: Any) -> bool:
    """Equal and of the same type: true is not 1."""
    return one == other and type(one) is type(other)


def _among(value: Any, values: Sequence[Any]) -> bool:
    return any(_same(value, other) for other in values)


def _disjoint(one: Sequence[Any], other: Sequence[Any]) -> bool:
    return not any(_among(value, other) for value in one)
