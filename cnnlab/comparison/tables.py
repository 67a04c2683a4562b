"""Make the tables of a comparison: groups, pairs, and what an experiment asks for besides."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cnnlab.comparison.columns import (
    MISSING,
    TABLE_NOTES,
    Column,
    TableName,
    counted,
    group_columns,
    interval,
    p_value,
    pair_columns,
    percent,
    some_runs,
)
from cnnlab.comparison.names import quoted
from cnnlab.comparison.records import ComparisonRecord, PairRecord, SectionRecord
from cnnlab.reports.terminal import format_duration

GROUP_NOTE = "runs that differ in seed or fold alone, named by what tells them from the others."
RESULT_TABLES: tuple[TableName, ...] = ("accuracy", "reach", "moved", "maps")  # all but the costs
MAX_GROUPS_ALL_PAIRS = 8  # with more groups, a table lists only the pairs with the best one
METRIC_WORDS = {
    "val/accuracy": "validation accuracy",
    "val/balanced_accuracy": "balanced validation accuracy",
    "val/macro_f1": "macro F1 in validation",
    "val/loss": "validation loss",
    "train/accuracy": "training accuracy",
    "train/loss": "training loss",
}


@dataclass(frozen=True)
class Table:
    """Table of texts."""

    head: list[str]
    rows: list[list[str]]
    sort_keys: list[list[Any]] = field(default_factory=list)  # number or text of each cell; empty if not sortable
    explanations: list[str] = field(default_factory=list)  # of the columns; empty if there are none


def group_table(record: ComparisonRecord, section: SectionRecord, tables: Sequence[TableName]) -> Table:
    """Return one row per group, with the columns of these tables, in this order; empty columns are left out."""
    columns = [Column("label", "group", explanation=GROUP_NOTE), *_shown_columns(record, section, tables)]
    return _table(columns, section.groups, record, section)


def _shown_columns(record: ComparisonRecord, section: SectionRecord, tables: Sequence[TableName]) -> list[Column]:
    every = group_columns(record)
    columns = [column for table in tables for column in every if column.table == table]
    return [column for column in columns if any(column.cell(group) != MISSING for group in section.groups)]


def pair_table(record: ComparisonRecord, section: SectionRecord) -> Table:
    """Return one row per pair; of many groups, only the pairs with the best one."""
    few = len(section.groups) <= MAX_GROUPS_ALL_PAIRS
    pairs = [pair for pair in section.pairs if few or pair.a == section.groups[0].label]
    return _table(pair_columns(record), pairs, record, section)


def heading(column: Column, record: ComparisonRecord, section: SectionRecord) -> str:
    """Return what stands above a column, with the words of the request."""
    return column.heading.format(
        figure=section.figure_words,
        axis=record.axis,
        reach=record.reach and reach_words(record.reach, section.protocol),
        against=record.against or "the fastest",
        pixels=counted(record.shift, "pixel"),
    )


def _table(columns: Sequence[Column], rows: Sequence[Any], record: ComparisonRecord, section: SectionRecord) -> Table:
    def cell(column: Column, row: Any) -> str:
        return column.cell(row) + ("*" if column.key in getattr(row, "front", ()) else "")

    return Table(
        head=[heading(column, record, section) for column in columns],
        rows=[[cell(column, row) for column in columns] for row in rows],
        sort_keys=[[column.sort_key(row) for column in columns] for row in rows],
        explanations=[column.explanation for column in columns],
    )


def names_table(section: SectionRecord) -> Table:
    """Return what names stand for: a row for each group that differs from others of its network in some setting."""
    groups = [group for group in section.groups if group.settings]
    rows = [[group.label, group.model, group.recipe, group.data, group.settings_text] for group in groups]
    return Table(["group", "model", "recipe", "data", "settings that differ"], rows)


def set_aside_table(record: ComparisonRecord) -> Table:
    """Return one row per run that is not counted."""
    rows = [[e["path"], str(e["model"] or "-"), str(e["seed"]), e["reason"]] for e in record.set_aside]
    return Table(["run", "model", "seed", "reason"], rows)


def problems_table(record: ComparisonRecord) -> Table:
    """Return one row per damage of a run."""
    return Table(["run", "problem"], [[entry["path"], entry["problem"]] for entry in record.problems])


def explanations(record: ComparisonRecord) -> list[tuple[str, str]]:
    """Return what readers must know about the tables' columns: pairs of a term and its explanation."""
    columns: list[Column] = []
    for section in record.sections:
        shown = _shown_columns(record, section, [*RESULT_TABLES, "cost"])
        shown += pair_columns(record) if section.pairs else []
        columns += [replace(column, heading=heading(column, record, section)) for column in shown]
    notes = [note for name, note in TABLE_NOTES.items() if any(column.table == name for column in columns)]
    terms: dict[str, str] = {}  # by explanation: several columns may share one
    for term, text in [*((column.heading, column.explanation) for column in columns if column.explanation), *notes]:
        terms.setdefault(text, term)
    return [(term, text) for text, term in terms.items()]


def sentence(pair: PairRecord) -> str:
    """Return a pair's difference in words."""
    facts = [f"95 % interval {interval(pair, '{:+.2f}')}"] if pair.low is not None else []
    both = "folds" if "folds" in str(pair.interval) else "seeds and images"
    tests = ((both, pair.joint), ("seeds", pair.seeds), ("images", pair.images))
    facts += [
        f"p {p if p[0] == '<' else f'= {p}'} over {name}" for name, test in tests if (p := p_value(test)) != MISSING
    ]
    why = f" ({'; '.join(facts)})" if facts else ""
    points = percent(pair.difference, "{:+.2f}")
    return f"{quoted(pair.a)} minus {quoted(pair.b)}: {points} percentage points{why}: {pair.verdict}"


def pair_sentences(pair: PairRecord, plan: float | None) -> list[str]:
    """Return a pair's difference in words, what the comparison can show, and what a planned difference would take."""
    if not pair.power:
        return [sentence(pair)]
    shows, needs = pair.power["shows"], pair.power["needs"]
    texts = [f"{power:.0%} power: {percent(value)} percentage points" for power, value in shows.items()]
    sentences = [sentence(pair), f"The smallest difference that these runs could show: {'; '.join(texts)}"]
    if plan is None:
        return sentences
    if needs[0.8]["seeds"] is None:
        return [*sentences, f"No number of seeds shows {plan:g} points: there are too few test images"]
    texts = [
        f"{counted(its['seeds'], 'seed')} each with {power:.0%} power{_cost(its['seconds'])}"
        for power, its in needs.items()
        if its["seeds"]
    ]
    return [*sentences, f"To show {plan:g} points between {quoted(pair.a)} and {quoted(pair.b)}: {', '.join(texts)}"]


def _cost(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f" ({format_duration(seconds)} more of training)" if seconds else " (there are enough)"


def metric_words(metric: str, protocol: str) -> str:
    """Return a metric's name, such as `training accuracy`; protocol `article` validates on the test images."""
    on_test = protocol == "article" and metric.startswith("val/")
    return METRIC_WORDS[metric] + (" (on the test images)" if on_test else "")


def reach_words(reach: Mapping[str, Any], protocol: str) -> str:
    """Return the value to reach in words, such as `75 % training accuracy`."""
    value = f"{reach['value']:g}" if reach["metric"].endswith("loss") else f"{100 * reach['value']:g} %"
    return f"{value} {metric_words(reach['metric'], protocol)}"


def section_extras(record: ComparisonRecord, section: SectionRecord) -> list[tuple[str, Table]]:
    """Return further tables that the request asks for, with their titles."""
    extras = []
    if reference := section.reference:
        source = f" ({reference['source']})" if reference["source"] else ""
        metric = metric_words(reference["metric"], section.protocol)
        extras.append((f"{metric.capitalize()} beside {reference['name']}{source}", reference_table(section)))
    if any(group.choice for group in section.groups):
        extras.append(("Values that were tried", choice_table(section, record.reach)))
    return extras


def reference_table(section: SectionRecord) -> Table:
    """Return a published learning curve beside those of the groups, one row per published epoch."""
    reference: Mapping[str, Any] = section.reference or {}
    form = "{:.3f}".format if reference["metric"].endswith("loss") else lambda v: percent(v, "{:.1f}")
    rows = [
        [f"{epoch:g}", *(MISSING if value is None else form(value) for value in values)]
        for epoch, *values in zip(reference["epochs"], reference["values"], *reference["groups"], strict=True)
    ]
    return Table(["epoch", reference["name"], *(group.label for group in section.groups)], rows)


def choice_table(section: SectionRecord, reach: Mapping[str, Any] | None) -> Table:
    """Return how groups were chosen among others that differ in one setting: one row per value that was tried."""
    protocol, kind = section.protocol, section.figure.partition("_")[2]
    measure = f"epochs to {reach_words(reach, protocol)}" if reach else f"{metric_words(f'val/{kind}', protocol)}, %"
    choices = [(group.label, group.choice) for group in section.groups if group.choice]
    rows = []
    for label, choice in choices:
        for entry in choice["tried"]:
            fate = "search only" if entry["dropped"] else "chosen" if entry["value"] == choice["value"] else ""
            rows.append([label, str(entry["value"]), str(entry["runs"]), _score(entry, reach), fate])
    keys = dict.fromkeys(choice["key"] for _, choice in choices)
    return Table(["group", ", ".join(keys), "runs that decided", measure, ""], rows)


def _score(entry: Mapping[str, Any], reach: Mapping[str, Any] | None) -> str:
    if reach is None:
        return percent(entry["val"])
    if entry["reached"]:
        return f"{entry['epochs']:.1f}{some_runs(entry['reached'], entry['runs'])}"
    if entry["nearest"] is None:
        return MISSING
    nearest = entry["nearest"]
    best = f"{nearest:.3f}" if reach["metric"].endswith("loss") else f"{100 * nearest:.1f} %"
    return f"not reached, at best {best}"
