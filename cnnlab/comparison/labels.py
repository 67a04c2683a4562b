"""What groups of runs are called: by what tells them apart, or by the names that an experiment gives them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cnnlab.comparison.spec import Names
from cnnlab.instantiate import did_you_mean
from cnnlab.runs.reading import Run

NAMED = 3  # settings in a label; more are counted
UNSET = "unset"


@dataclass(frozen=True)
class Unnamed:
    """A group before it has its label.

    Attributes:
        base: model, and recipe and data where those differ in the section.
        choices: the names of model, recipe and data.
        settings: those by which it differs from groups of the same base, by dotted key.
        every: all its settings, by dotted key, with `model`, `recipe` and `data`.
        runs: one for each seed.
    """

    base: str
    choices: tuple[str, str, str]
    settings: Mapping[str, Any]
    every: Mapping[str, Any]
    runs: tuple[Run, ...]


def label_groups(groups: Sequence[Unnamed], names: Names) -> list[str]:
    """A label for each group, no two of them alike.

    Args:
        groups: of a section.
        names: with the settings that each is for; groups for which there is none are called by what tells them apart.
    """
    given = [name_of(group.every, names) for group in groups]
    labels = [_label(group, name, given, groups, names) for group, name in zip(groups, given, strict=True)]
    seen: Counter[str] = Counter()
    for place, label in enumerate(labels):
        seen[label] += 1
        if seen[label] > 1:
            labels[place] = f"{label} ({seen[label]})"
    return labels


def _label(group: Unnamed, name: str | None, given: Sequence[str | None], groups: Sequence[Unnamed], names: Names):
    if name is None:
        return " ".join([group.base, *_named(group.settings)])
    namesakes = [other for other, its in zip(groups, given, strict=True) if its == name]
    if len(namesakes) == 1:
        return name
    bases = [group.base] if len({other.base for other in namesakes}) > 1 else []
    differing = {
        key: value
        for key, value in group.settings.items()
        if key not in names[name] and len({repr(other.settings.get(key, UNSET)) for other in namesakes}) > 1
    }
    return " ".join([name, *bases, *_named(differing)])


def name_of(settings: Mapping[str, Any], names: Names) -> str | None:
    """The first name all of whose settings are these, or None."""
    fitting = (
        name
        for name, wanted in names.items()
        if all(settings.get(key, UNSET) == value for key, value in wanted.items())
    )
    return next(fitting, None)


def unknown_settings(every: Sequence[Mapping[str, Any]], names: Sequence[Names]) -> list[str]:
    """A notice for each key in the names that none of the groups has."""
    known = sorted({key for settings in every for key in settings})
    wanted = {key: name for given in names for name, settings in given.items() for key in settings}
    return [
        f"The name {name} is for groups with a setting {key}, which no run has{did_you_mean(key, known)}"
        for key, name in wanted.items()
        if known and key not in known
    ]


def _named(settings: Mapping[str, Any]) -> list[str]:
    """Settings as they stand in a label; keys that do not apply are left to the notices."""
    texts = [f"{key}={setting_text(value)}" for key, value in settings.items() if value is not UNSET]
    return [*texts[:NAMED], *([f"and {len(texts) - NAMED} more"] if len(texts) > NAMED else [])]


def setting_text(value: Any) -> str:
    """A setting's value; of a dotted name its last part."""
    return value.rpartition(".")[2] if isinstance(value, str) and value.count(".") > 1 else str(value)
