"""Show a comparison as text: Markdown, CSV, and a short table on the terminal."""

import csv
import io
import re
from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console
from rich.table import Table as TerminalTable

from cnnlab.comparison.columns import Column, counted, group_columns, percent
from cnnlab.comparison.records import ComparisonRecord, SectionRecord
from cnnlab.comparison.tables import (
    RESULT_TABLES,
    Table,
    explanations,
    group_table,
    pair_table,
    section_extras,
    sentence,
)

TERMINAL_GROUPS = 15
TERMINAL_REASONS = 8
WIDE = 100  # columns of a terminal; fewer leave no room for all costs
CSV_SECTION = ("protocol", "fingerprint")
CSV_GROUP = ("model", "recipe", "data")


def render_markdown(record: ComparisonRecord, figures: Sequence[Mapping[str, str]]) -> str:
    """Return the whole comparison as Markdown.

    Args:
        record: the comparison.
        figures: for each section the files of its figures by their titles, relative to the Markdown's folder.
    """
    groups = [group for section in record.sections for group in section.groups]
    summary = f"{counted(record.runs, 'run')}, {sum(group.n for group in groups)} counted"
    lines = ["# Comparison", "", f"{summary}, in {counted(len(groups), 'group')}.", ""]
    lines += ["The columns are explained at the end.", ""]
    if record.notices:
        lines += ["**Notes**", "", *(f"- {notice}" for notice in record.notices), ""]
    for section, files in zip(record.sections, figures, strict=True):
        lines += [f"## {section.title}", "", *markdown_table(group_table(record, section, RESULT_TABLES)), ""]
        lines += section_lines(record, section)
        for title, file in files.items():
            lines += [f"![{title}]({file})", ""]
        lines += _image_lines(section)
    lines += _excluded_lines(record)
    return "\n".join([*lines, *explanation_lines(record)])


def section_lines(record: ComparisonRecord, section: SectionRecord) -> list[str]:
    """Return the Markdown of a section's costs, further tables, pairs and published accuracies."""
    lines = ["### Costs", "", *markdown_table(group_table(record, section, ["cost"])), ""]
    for title, table in section_extras(record, section):
        lines += [f"### {title}", "", *markdown_table(table), ""]
    if section.pairs:
        lines += ["### Differences", "", *markdown_table(pair_table(record, section)), ""]
    return lines + _published_lines(section)


def explanation_lines(record: ComparisonRecord) -> list[str]:
    """Return the Markdown that explains the columns."""
    return ["## How to read the tables", "", *(f"- **{term}**: {text}" for term, text in explanations(record)), ""]


def render_csv(record: ComparisonRecord) -> str:
    """Return one row per group, with all columns."""
    buffer = io.StringIO()
    columns = group_columns(record)
    more = [key for column in columns for key in (column.key, *column.more)]
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*CSV_SECTION, "group", *CSV_GROUP, *more])
    for section in record.sections:
        for group in section.groups:
            place = [getattr(section, key) for key in CSV_SECTION]
            names = [getattr(group, key) for key in ("label", *CSV_GROUP)]
            values = [[column.of(group), *(getattr(group, key) for key in column.more)] for column in columns]
            writer.writerow([*place, *names, *(value for several in values for value in several)])
    return buffer.getvalue()


def print_comparison(record: ComparisonRecord, width: int | None) -> None:
    """Print the groups, the difference between the best two, and the runs that are not counted.

    `width` is the number of columns of the terminal, or None if the output is no terminal.
    """
    console = Console(width=width or 140, highlight=False, markup=False)
    columns = [column for column in group_columns(record) if column.terminal]
    columns = [column for column in columns if console.width >= WIDE or not column.wide]
    for section in record.sections:
        console.print(_terminal_table(section, columns))
        if len(section.groups) > TERMINAL_GROUPS:
            console.print(f"... and {counted(len(section.groups) - TERMINAL_GROUPS, 'more group')}")
        if section.pairs:
            console.print(sentence(section.pairs[0]))
        console.print()
    for notice in record.notices:
        console.print(f"note: {notice}")
    reasons = [f"{entry['path']}: {entry['reason']}" for entry in record.set_aside]
    reasons += [f"{entry['path']}: {entry['problem']}" for entry in record.problems]
    if record.set_aside:
        console.print(f"not counted: {len(record.set_aside)} of {counted(record.runs, 'run')}")
    for reason in reasons[:TERMINAL_REASONS]:
        console.print(f"  {reason}", soft_wrap=True)
    if len(reasons) > TERMINAL_REASONS:
        console.print(f"  ... and {len(reasons) - TERMINAL_REASONS} more, in the report")


def _terminal_table(section: SectionRecord, columns: Sequence[Column]) -> TerminalTable:
    table = TerminalTable(title=section.title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("group", overflow="fold", min_width=16)
    for column in columns:
        table.add_column(column.terminal, justify="right", no_wrap=True)
    for group in section.groups[:TERMINAL_GROUPS]:
        table.add_row(group.label, *(column.cell(group) for column in columns))
    return table


# --- Markdown --------------------------------------------------------------------------------------------------------


def _published_lines(section: SectionRecord) -> list[str]:
    rows = [
        [group.label, percent(entry["accuracy"]), entry["source"]]
        for group in section.groups
        for entry in group.published
    ]
    title = "Published accuracies, each from its source's own training:"
    return [title, "", *markdown_table(Table(["group", "%", "source"], rows)), ""] if rows else []


def _image_lines(section: SectionRecord) -> list[str]:
    """Return the numbers of the images on which the best two groups differ."""
    if not section.pairs:
        return []
    pair, names, lines = section.pairs[0], section.classes, []
    for right, wrong, images, count in (
        (pair.a, pair.b, pair.only_a_images, pair.only_a),
        (pair.b, pair.a, pair.only_b_images, pair.only_b),
    ):
        if images:
            every = ", ".join(f"{e['image']} ({names[e['true']]}, not {names[e['instead']]})" for e in images)
            lines += [f"{right} correct, {wrong} wrong: {count:,} test images, such as {every}.", ""]
    return lines


def _excluded_lines(record: ComparisonRecord) -> list[str]:
    lines = []
    if record.set_aside:
        rows = [[e["path"], str(e["model"] or "-"), str(e["seed"]), e["reason"]] for e in record.set_aside]
        table = Table(["run", "model", "seed", "reason"], rows)
        lines += ["## Runs that are not counted", "", *markdown_table(table), ""]
    if record.problems:
        rows = [[entry["path"], entry["problem"]] for entry in record.problems]
        lines += ["## Damaged records", "", *markdown_table(Table(["run", "problem"], rows)), ""]
    return lines


def markdown_table(table: Table) -> list[str]:
    """Return the lines of a table."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(_escaped(cell) for cell in cells) + " |"

    return [line(table.head), "|" + "---|" * len(table.head), *map(line, table.rows)]


def _escaped(cell: str) -> str:
    return re.sub(r"[|*]|<(?=[A-Za-z/!])", r"\\\g<0>", cell).replace("\n", " ")
