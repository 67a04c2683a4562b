"""The tables of a comparison, as text: groups, pairs, and what an experiment asks beside."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Record = Mapping[str, Any]
Table = tuple[list[str], list[list[str]]]  # head and rows
Kind = Literal["accuracy", "reach", "cost", "moved", "maps"]

ANSWERS: tuple[Kind, ...] = ("accuracy", "reach", "moved", "maps")  # what is not a cost
ALL_PAIRS = 8  # groups; of more, each is set against the best one alone, where text is read
METRIC_WORDS = {
    "train/accuracy": "training accuracy",
    "train/loss": "training loss",
    "val/accuracy": "validation accuracy",
    "val/loss": "validation loss",
}
NOTHING = "-"


@dataclass(frozen=True)
class Column:
    """One figure of all groups.

    Attributes:
        kind: what it is about.
        head: its name.
        cells: a text for each group; `-` where there is nothing to say.
    """

    kind: Kind
    head: str
    cells: list[str]


def section_title(section: Record) -> str:
    """Such as `cifar10, protocol holdout, 10,000 test images (1a2b...)`."""
    images = "" if section["test_images"] is None else f", {section['test_images']:,} test images"
    return f"{', '.join(section['data'])}, protocol {section['protocol']}{images} ({section['fingerprint']})"


def sentence(pair: Record) -> str:
    """A pair's difference in words."""
    mark = "" if pair["seeds"] else "°"
    known = f" [{100 * pair['low']:.2f}, {100 * pair['high']:.2f}]{mark}" if pair["low"] is not None else ""
    tests = [f"corrected p {p_value(pair[key])} over {key}" for key in ("seeds", "images") if pair[key]]
    why = f" ({'; '.join(tests)})" if tests else ""
    return f"{pair['a']} against {pair['b']}: {100 * pair['difference']:+.2f} points{known}: {pair['verdict']}{why}"


def accuracy(group: Record) -> str:
    """Mean and standard deviation, in percent."""
    spread = f" ± {100 * group['sd']:.2f}" if group["sd"] is not None else ""
    return f"{100 * group['mean']:.2f}{spread}"


def interval(group: Record) -> str:
    """The confidence interval in percent; ° where it is over images, not seeds."""
    if group["low"] is None:
        return "-"
    mark = "" if group["interval"].startswith("t") else "°"
    return f"{100 * group['low']:.2f} to {100 * group['high']:.2f}{mark}"


def p_value(test: Record | None) -> str:
    """The corrected p-value."""
    if test is None:
        return "-"
    return f"{test['p_holm']:.3f}" if test["p_holm"] >= 0.001 else "< 0.001"


def short(value: float | None) -> str:
    """A count with three digits and a unit."""
    if value is None:
        return "-"
    units = (("G", 1e9), ("M", 1e6), ("k", 1e3))
    unit, scale = next(((unit, scale) for unit, scale in units if value >= 0.9995 * scale), ("", 1))
    return f"{value / scale:.3g} {unit}".rstrip()


def group_table(record: Record, section: Record, kinds: Iterable[Kind] | None = None) -> Table:
    """A section's groups; what is known of none of them is no column.

    Args:
        record: of `cnnlab.comparison.compare.compare_runs`.
        section: one of its sections.
        kinds: of the columns, in this order; None for all.
    """
    groups = section["groups"]
    every = [*_accuracy_columns(record, groups), *_reach_columns(record, section), *_cost_columns(record, groups)]
    every += [*_moved_columns(record, groups), *_map_columns(groups)]
    if kinds is not None:
        every = [column for kind in kinds for column in every if column.kind == kind]
    shown = [column for column in every if set(column.cells) != {NOTHING}]
    head = ["group", *(column.head for column in shown)]
    return head, [[g["label"], *(column.cells[row] for column in shown)] for row, g in enumerate(groups)]


def _accuracy_columns(record: Record, groups: Sequence[Record]) -> list[Column]:
    columns = [
        ("n", [str(group["n"]) for group in groups]),
        (str(record["axis"]), [NOTHING if group["place"] is None else f"{group['place']:g}" for group in groups]),
        ("test accuracy, %", [accuracy(group) for group in groups]),
        ("95 % interval", [interval(group) for group in groups]),
        ("best", [_percent(group["best"] if group["n"] > 1 else None) for group in groups]),
        ("with tta", [_percent(group["test_accuracy_tta"]) for group in groups]),
        ("published", [", ".join(_percent(e["accuracy"]) for e in group["published"]) or NOTHING for group in groups]),
    ]
    return [Column("accuracy", head, cells) for head, cells in columns]


def _reach_columns(record: Record, section: Record) -> list[Column]:
    if not (reach := record["reach"]):
        return []
    groups = section["groups"]
    words, against = reach_words(reach, section["protocol"]), f"ratio to {record['against'] or 'the fastest'}"
    columns = [
        (f"epochs to {words}", [_spread(group, "epochs") for group in groups]),
        (against, [_ratio(group["reach"], "epochs") for group in groups]),
        (f"seconds to {words}", [_spread(group, "seconds") for group in groups]),
        (against, [_ratio(group["reach"], "seconds") for group in groups]),
    ]
    return [Column("reach", head, cells) for head, cells in columns]


def _cost_columns(record: Record, groups: Sequence[Record]) -> list[Column]:
    columns = [
        (head, [short(group[key]) + ("*" if key in group["front"] else "") for group in groups])
        for key, head in (("parameters", "parameters"), ("macs", "MACs"), ("train_seconds", "seconds"))
    ]
    columns.append(("epochs", [short(group["epochs"]) for group in groups]))
    for place, target in enumerate(record["targets"]):
        cells = [reached(group["targets"][place], group["n"]) for group in groups]
        columns.append((f"to {100 * target:g} %: s / epoch", cells))
    memory = [group["peak_memory_bytes"] for group in groups]
    columns.append(("images/s", [short(group["images_per_second"]) for group in groups]))
    columns.append(("memory", [NOTHING if used is None else f"{used / 1e9:.2f} GB" for used in memory]))
    return [Column("cost", head, cells) for head, cells in columns]


def _moved_columns(record: Record, groups: Sequence[Record]) -> list[Column]:
    if not (pixels := record["shift"]):
        return []
    figures = (
        (f"answers that stay, moved {pixels} pixel{'s' if pixels > 1 else ''}", "same_answer", "{:.2%}"),
        ("accuracy moved", "accuracy", "{:.2%}"),
        ("features' cosine", "feature_cosine", "{:.3f}"),
    )
    return [
        Column("moved", head, [NOTHING if g["shift"][key] is None else form.format(g["shift"][key]) for g in groups])
        for head, key, form in figures
    ]


def _map_columns(groups: Sequence[Record]) -> list[Column]:
    cells = [" → ".join(map(str, group["maps"] or [])) or NOTHING for group in groups]
    return [Column("maps", "feature maps, pixels a side", cells)]


def metric_words(metric: str, protocol: str) -> str:
    """Such as `training accuracy`; what the protocol `article` validates on are the test images."""
    on_test = protocol == "article" and metric.startswith("val/")
    return METRIC_WORDS[metric] + (" (on the test images)" if on_test else "")


def reach_words(reach: Record, protocol: str) -> str:
    """Such as `75 % training accuracy`."""
    value = f"{100 * reach['value']:g} %" if reach["metric"].endswith("accuracy") else f"{reach['value']:g}"
    return f"{value} {metric_words(reach['metric'], protocol)}"


def reached(entry: Record, runs: int) -> str:
    """When a target was reached, seconds and epoch: `81 / 12`; `81 / 12 (2 of 3)` where not all runs got there."""
    if not entry["reached"]:
        return NOTHING
    return f"{entry['seconds']:,.0f} / {entry['epoch']:g}{_some(entry['reached'], runs)}"


def section_extras(record: Record, section: Record) -> list[tuple[str, Table]]:
    """Further tables that were asked for, with their titles."""
    extras = []
    if reference := section["reference"]:
        source = f" ({reference['source']})" if reference["source"] else ""
        metric = metric_words(reference["metric"], section["protocol"])
        title = f"{metric.capitalize()} beside {reference['name']}{source}"
        extras.append((title, reference_table(section)))
    if any(group["choice"] for group in section["groups"]):
        extras.append(("What was tried", choice_table(section, record["reach"])))
    return extras


def _spread(group: Record, name: str) -> str:
    """Mean and standard deviation of the epochs or seconds until a value was reached."""
    reach = group["reach"]
    if not reach["reached"]:
        return f"none of {group['n']}"
    spread = "" if reach[f"{name}_sd"] is None else f" ± {reach[f'{name}_sd']:,.1f}"
    return f"{reach[name]:,.1f}{spread}{_some(reach['reached'], group['n'])}"


def _some(reached: int, runs: int) -> str:
    return f" ({reached} of {runs})" if reached < runs else ""


def _ratio(reach: Record, name: str) -> str:
    value, interval = reach[f"{name}_ratio"], reach[f"{name}_ratio_interval"]
    if value is None:
        return NOTHING
    return f"{value:.2f}" + (f" ({interval[0]:.2f} to {interval[1]:.2f})" if interval else "")


def _percent(value: float | None) -> str:
    return NOTHING if value is None else f"{100 * value:.2f}"


def reference_table(section: Record) -> Table:
    """Somebody else's curve beside the groups' own, a row for each of its epochs."""
    reference = section["reference"]
    in_percent = reference["metric"].endswith("accuracy")
    head = ["epoch", reference["name"], *(group["label"] for group in section["groups"])]
    rows = [
        [f"{epoch:g}", *(NOTHING if v is None else f"{100 * v:.1f}" if in_percent else f"{v:.3f}" for v in values)]
        for epoch, *values in zip(reference["epochs"], reference["values"], *reference["groups"], strict=True)
    ]
    return head, rows


def choice_table(section: Record, reach: Record | None) -> Table:
    """How groups were chosen among others that differ in one setting: a row for each value that was tried."""
    protocol = section["protocol"]
    measure = f"epochs to {reach_words(reach, protocol)}" if reach else f"{metric_words('val/accuracy', protocol)}, %"
    rows = []
    for group in section["groups"]:
        for entry in (group["choice"] or {}).get("tried", ()):
            chosen = "chosen" if entry["value"] == group["choice"]["value"] else ""
            chosen = "in the search alone" if entry["dropped"] else chosen
            rows.append([group["label"], str(entry["value"]), str(entry["runs"]), _merit(entry, reach), chosen])
    keys = {group["choice"]["key"] for group in section["groups"] if group["choice"]}
    return ["group", ", ".join(keys), "runs that decided", measure, ""], rows


def _merit(entry: Record, reach: Record | None) -> str:
    if reach is None:
        return _percent(entry["val_accuracy"])
    if entry["reached"]:
        return f"{entry['epochs']:.1f}{_some(entry['reached'], entry['runs'])}"
    if entry["nearest"] is None:
        return NOTHING
    nearest = entry["nearest"]
    return (
        f"not reached, at best {f'{100 * nearest:.1f} %' if reach['metric'].endswith('accuracy') else f'{nearest:.3f}'}"
    )


def pair_table(section: Record) -> tuple[list[str], list[list[str]]]:
    """Head and rows of a section's pairs, as text: all of them, or of many groups those with the best one."""
    best = section["groups"][0]["label"]
    few = len(section["groups"]) <= ALL_PAIRS
    rows = []
    for pair in section["pairs"]:
        if not few and pair["a"] != best:
            continue
        known = "-"
        if pair["low"] is not None:
            mark = "" if pair["seeds"] else "°"
            known = f"{100 * pair['low']:+.2f} to {100 * pair['high']:+.2f}{mark}"
        only = ["-" if pair[side] is None else f"{pair[side]:,}" for side in ("only_a", "only_b")]
        row = [pair["a"], pair["b"], f"{100 * pair['difference']:+.2f}", known]
        rows.append([*row, p_value(pair["seeds"]), p_value(pair["images"]), *only, pair["verdict"]])
    head = [
        "A",
        "B",
        "A - B, points",
        "95 % interval",
        "p (seeds)",
        "p (images)",
        "only A right",
        "only B right",
        "verdict",
    ]
    return head, rows
