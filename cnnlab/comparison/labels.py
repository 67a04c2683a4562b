"""Name groups of runs: by what tells them apart, or by the names that an experiment gives them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from cnnlab.comparison.group import Group
from cnnlab.comparison.spec import Names
from cnnlab.words import did_you_mean

MAX_SETTINGS = 3  # in a label; more are counted
UNSET = "unset"


def label_groups(groups: Sequence[Group], names: Names) -> list[str]:
    """Return a label for each group of a section, no two alike. Groups without a name get what tells them apart."""
    given = [name_of(group.all_settings, names) for group in groups]
    labels: list[str] = []
    seen: Counter[str] = Counter()
    for group, name in zip(groups, given, strict=True):
        namesakes = [other for other, its in zip(groups, given, strict=True) if its == name]
        label = _label(group, name, namesakes, names)
        seen[label] += 1
        labels.append(label if seen[label] == 1 else f"{label} ({seen[label]})")
    return labels


def _label(group: Group, name: str | None, namesakes: Sequence[Group], names: Names) -> str:
    if name is None:
        return " ".join([group.label, *_setting_texts(group.settings)])
    bases = [group.label] if len({other.label for other in namesakes}) > 1 else []
    differing = {
        key: value
        for key, value in group.settings.items()
        if key not in names[name] and len({repr(other.settings.get(key, UNSET)) for other in namesakes}) > 1
    }
    return " ".join([name, *bases, *_setting_texts(differing)])


def name_of(settings: Mapping[str, Any], names: Names) -> str | None:
    """Return the first name whose settings are all among these, or None."""
    matching = (name for name, its in names.items() if all(settings.get(key, UNSET) == its[key] for key in its))
    return next(matching, None)


def unknown_settings(every: Sequence[Mapping[str, Any]], names: Sequence[Names]) -> list[str]:
    """Return a notice for each setting of the names that no group has."""
    known = sorted({key for settings in every for key in settings})
    wanted = {key: name for given in names for name, settings in given.items() for key in settings}
    return [
        f"The name {name} needs the setting {key}, which no run has{did_you_mean(key, known)}"
        for key, name in wanted.items()
        if known and key not in known
    ]


def _setting_texts(settings: Mapping[str, Any]) -> list[str]:
    """Return settings as a label shows them; unset ones are left out."""
    texts = [f"{key}={setting_text(value)}" for key, value in settings.items() if value is not UNSET]
    return first_few(texts, MAX_SETTINGS)


def setting_text(value: Any) -> str:
    """Return a setting's value as text; of a dotted name its last part."""
    return value.rpartition(".")[2] if isinstance(value, str) and value.count(".") > 1 else str(value)


def first_few(texts: Sequence[str], most: int) -> list[str]:
    """Return the first texts, and the number of the others such as `and 2 more`."""
    return [*texts[:most], *([f"and {len(texts) - most} more"] if len(texts) > most else [])]
