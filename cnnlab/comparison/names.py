"""Name groups of runs: by what tells them apart from the others beside them, or as an experiment does.

A name leaves out what most runs of the same network share: beside 20 runs of 30 epochs, those of 60 epochs are called
`resnet20, 60 epochs`, and the others `resnet20`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from cnnlab.comparison.group import UNSET, Group
from cnnlab.comparison.spec import Names

MOST_WORDS = 2  # differences in a name, unless it takes more to tell groups apart; the others are counted
MOST_DIGITS = 8  # of a number in a name
OFF = tuple(map(repr, (None, False, 0, 0.0, "none", UNSET)))
# How a setting is told. Other texts stand before the last part of the key, as in `avg pooling`, and numbers after it.
WORDS = {
    **{"trainer.max_epochs": "{} epochs", "trainer.max_steps": "{} steps", "data.image_size": "{} pixels"},
    **{"data.batch_size": "batch {}", "data.fraction": "{:.3g} % data", "model.activation": "{}"},
    **{"trainer.precision": "{}", "optimizer._target_": "{}", "select": "by {}", "weights": "from {}"},
    **{"lengthened": "lengthened", "config.yaml": "{} settings", "recipe": "{}", "data": "{}", "model": "{}"},
}


def name_groups(groups: Sequence[Group], names: Names, chosen: str | None = None) -> list[str]:
    """Return a name for each group of a section, no two alike.

    `names` are those of an experiment; `chosen` is the setting by which groups were chosen, which no name tells.
    """
    given = [name_of(group.all_settings, names) for group in groups]
    first = [name or group.model for group, name in zip(groups, given, strict=True)]
    more = []
    for group, name, title in zip(groups, given, first, strict=True):
        namesakes = [other for other, its in zip(groups, first, strict=True) if its == title]
        left_out = {chosen, *(names[name] if name else ["model"])}
        more.append(_differences(group, namesakes, groups, left_out))
    folds = [f", {group.folds} folds" if group.folds else "" for group in groups]
    labels = _joined(first, more, folds)
    seen: Counter[str] = Counter()
    for place, label in enumerate(labels):
        seen[label] += 1
        labels[place] += f" ({seen[label]})" if seen[label] > 1 else ""
    return labels


def name_of(settings: Mapping[str, Any], names: Names) -> str | None:
    """Return the first name whose settings are all among these, or None."""
    matching = (name for name, its in names.items() if all(settings.get(key, UNSET) == its[key] for key in its))
    return next(matching, None)


def usual_value(groups: Sequence[Group], key: str) -> str | None:
    """Return, as `repr`, the value that names leave out: that of more than half of the runs, or else `off`, or None."""
    counts: Counter[str] = Counter()
    for group in groups:
        counts[repr(_value(group, key))] += len(group.runs)
    text, most = counts.most_common(1)[0]
    return text if 2 * most > counts.total() else next((off for off in OFF if off in counts), None)


def in_words(key: str, value: Any, short: bool = True) -> str:
    """Return a setting as a name tells it, such as `60 epochs`, `tanh`, `avg pooling`, `width 0.5` or `no cutout`."""
    last = (key.rpartition(".")[2] if short else key).replace("_", " ").strip()
    if value is UNSET or value is None or value is False or value == "none":
        return f"no {last}"
    if key in WORDS:
        text = WORDS[key].format(100 * value if key == "data.fraction" else setting_text(value))
        return text[:-1] if value == 1 and text.endswith("s") else text
    if value is True:
        return last
    return f"{setting_text(value)} {last}" if isinstance(value, str) else f"{last} {setting_text(value)}"


def setting_text(value: Any) -> str:
    """Return a setting's value as text; of a dotted name its last part, of a metric its name."""
    if isinstance(value, str) and value.startswith("val/"):
        return value.removeprefix("val/").replace("_", " ")
    if isinstance(value, float) and len(str(value)) > MOST_DIGITS:  # 0.1 + 0.2 is not quite 0.3
        return f"{value:.{MOST_DIGITS - 2}g}"
    return value.rpartition(".")[2] if isinstance(value, str) and value.count(".") > 1 else str(value)


def quoted(label: str) -> str:
    """Return a name as it stands in a sentence: in quotation marks if it has commas of its own."""
    return f"“{label}”" if ", " in label else label


def _value(group: Group, key: str) -> Any:
    return group.components.get(key) or group.settings.get(key, UNSET)


def _differences(
    group: Group, namesakes: Sequence[Group], section: Sequence[Group], left_out: set[str | None]
) -> list[str]:
    """Return what tells a group from its namesakes in words, without values that most of their runs share."""
    told: dict[str, Any] = {}
    for key, value in {**group.components, **group.settings}.items():
        # Recipe and data are told if they differ anywhere in the section: another network may have the other one alone.
        others = section if key in ("recipe", "data") else [o for o in namesakes if _comparable(group, o, key)]
        different = len({repr(_value(other, key)) for other in others}) > 1
        # A setting that a group lacks comes with another one: another optimizer has other settings.
        if key not in left_out and different and value is not UNSET and usual_value(others, key) != repr(value):
            told[key] = value
    last = Counter(key.rpartition(".")[2] for key in told)
    return [in_words(key, value, short=last[key.rpartition(".")[2]] == 1) for key, value in told.items()]


def _comparable(group: Group, other: Group, key: str) -> bool:
    """Return whether another group says something about a setting: the settings of one recipe are those that differ."""
    return key == "model" or (group.recipe, group.data, group.model) == (other.recipe, other.data, other.model)


def _joined(first: Sequence[str], more: Sequence[Sequence[str]], ends: Sequence[str]) -> list[str]:
    """Return the names, each as short as the others allow."""
    most = [MOST_WORDS] * len(first)
    while True:
        labels = [_short(*each) for each in zip(first, more, most, ends, strict=True)]
        counts = Counter(labels)
        longer = [i for i, label in enumerate(labels) if counts[label] > 1 and most[i] < len(more[i])]
        if not longer:
            return labels
        for place in longer:
            most[place] += 1


def _short(first: str, more: Sequence[str], most: int, end: str) -> str:
    left = f" and {len(more) - most} more" if len(more) > most else ""
    return ", ".join([first, *more[:most]]) + left + end
