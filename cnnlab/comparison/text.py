"""Show a comparison as text: Markdown, CSV, LaTeX, and a short table on the terminal."""

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence

from rich import box
from rich.table import Table as TerminalTable

from cnnlab.comparison.columns import MISSING, Column, counted, group_columns, percent
from cnnlab.comparison.conclusion import conclude
from cnnlab.comparison.records import ComparisonRecord, SectionRecord
from cnnlab.comparison.tables import (
    RESULT_TABLES,
    Table,
    explanations,
    group_table,
    heading,
    names_table,
    pair_sentences,
    pair_table,
    problems_table,
    section_extras,
    set_aside_table,
)
from cnnlab.display import SafeConsole

TERMINAL_GROUPS = 15
TERMINAL_REASONS = 8
LABEL_WIDTH = 30  # columns of a terminal that a name may take; longer ones are folded
HOW_TO_SEE = "the page below shows all, and format=markdown prints them."
LATEX = {character: f"\\{character}" for character in "&%$#_{}"}
LATEX |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
LATEX |= {"±": r"$\pm$", "°": r"$^\circ$", "→": r"$\to$", "<": "$<$", ">": "$>$"}


def render_markdown(record: ComparisonRecord) -> str:
    """Return the whole comparison as Markdown."""
    groups = record.groups
    summary = f"{counted(record.runs, 'run')}, {sum(group.n for group in groups)} counted"
    lines = ["# Comparison", "", f"{summary}, in {counted(len(groups), 'group')}.", ""]
    lines += ["The columns are explained at the end.", ""]
    if record.notices:
        lines += ["**Notes**", "", *(f"- {notice}" for notice in record.notices), ""]
    for section in record.sections:
        lines += [f"## {section.title}", "", _escaped(conclude(section)), ""]
        lines += [*markdown_table(group_table(record, section, RESULT_TABLES)), "", f"({section.small_print})", ""]
        lines += [*section_lines(record, section), *_image_lines(section)]
    lines += _excluded_lines(record)
    return "\n".join([*lines, *explanation_lines(record)])


def section_lines(record: ComparisonRecord, section: SectionRecord) -> list[str]:
    """Return the Markdown of a section's costs, further tables, pairs and published accuracies."""
    tables = [("Costs", group_table(record, section, ["cost"])), *section_extras(record, section)]
    if section.pairs:
        tables.append(("Differences", pair_table(record, section)))
    lines = [line for title, table in tables for line in titled_table(f"### {title}", table)]
    if names_table(section).rows:
        lines += titled_table("### What the names stand for", names_table(section))
    if section.by_images:
        lines += ["### More training images", "", *(f"- {curve.sentence}" for curve in section.by_images), ""]
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
    writer.writerow(["protocol", "fingerprint", "folds", "group", "model", "recipe", "data", "settings", *more])
    for section in record.sections:
        for group in section.groups:
            row = [section.protocol, section.fingerprint, section.folds or None]
            row += [group.label, group.model, group.recipe, group.data, group.settings_text]
            for column in columns:
                row += [column.of(group), *(getattr(group, key) for key in column.more)]
            writer.writerow(row)
    return buffer.getvalue()


def print_comparison(record: ComparisonRecord, width: int | None) -> None:
    """Print the groups, the difference between the best two, and the runs that are not counted.

    `width` is the number of columns of the terminal, or None if the output is no terminal.
    """
    console = SafeConsole(width=width or 140)
    section, *others = record.sections
    console.print(section.title, style="bold")
    columns = [column for column in group_columns(record) if column.terminal]
    console.print(_terminal_table(section, columns, console.width))
    if len(section.groups) > TERMINAL_GROUPS:
        console.print(f"... and {counted(len(section.groups) - TERMINAL_GROUPS, 'more group')}: {HOW_TO_SEE}")
    console.print()
    console.print(conclude(section), style="bold")
    console.print()
    if section.pairs:
        for text in pair_sentences(section.pairs[0], record.plan):
            console.print(text)
    for curve in section.by_images:
        console.print(curve.sentence)
    if others:
        runs = counted(sum(other.runs for other in others), "run")
        titles = "; ".join(f"{other.title} ({counted(other.runs, 'run')})" for other in others)
        console.print(f"{runs} cannot be compared with these: {titles}. {HOW_TO_SEE.capitalize()}")
    console.print()
    for notice in record.notices:
        console.print(f"note: {notice}")
    reasons = [f"{entry['path']}: {entry['reason']}" for entry in record.set_aside]
    told = {entry["path"] for entry in record.set_aside}
    reasons += [f"{entry['path']}: {entry['problem']}" for entry in record.problems if entry["path"] not in told]
    if record.set_aside:
        console.print(f"not counted: {len(record.set_aside)} of {counted(record.runs, 'run')}")
    for reason in reasons[:TERMINAL_REASONS]:
        console.print(f"  {reason}")
    if len(reasons) > TERMINAL_REASONS:
        console.print(f"  ... and {len(reasons) - TERMINAL_REASONS} more, in the report")


def _terminal_table(section: SectionRecord, columns: Sequence[Column], width: int) -> TerminalTable:
    """Return a table of this width at most: it loses columns from the right, first those for wide terminals."""
    groups, shown = section.groups[:TERMINAL_GROUPS], list(columns)
    heads = {column.key: column.terminal.format(figure=section.figure_words) for column in columns}
    needs = {c.key: 3 + max(len(text) for text in (heads[c.key], *map(c.cell, groups))) for c in columns}
    label_width = min(LABEL_WIDTH, max(len(group.label) for group in groups))
    while len(shown) > 2 and sum(needs[column.key] for column in shown) + label_width + 3 > width:
        shown.remove(next((column for column in reversed(shown) if column.wide), shown[-1]))
    label_width = min(label_width, max(8, width - 3 - sum(needs[column.key] for column in shown)))
    table = TerminalTable(box=box.SIMPLE_HEAD, pad_edge=False, caption=section.small_print, caption_justify="left")
    table.add_column("group", overflow="fold", min_width=label_width)
    for column in shown:
        table.add_column(heads[column.key], justify="right", no_wrap=True)
    for group in groups:
        table.add_row(group.label, *(column.cell(group) for column in shown))
    return table


# --- LaTeX -----------------------------------------------------------------------------------------------------------


def render_latex(record: ComparisonRecord) -> str:
    """Return a table with the rules of the package booktabs for each section."""
    tables = ["\n".join(_latex_lines(record, section)) for section in record.sections]
    left = [f"% not counted: {entry['path']}: {entry['reason']}".replace("\n", " ") for entry in record.set_aside]
    return "\n\n".join(["\n".join(["% needs \\usepackage{booktabs}", *left]), *tables]) + "\n"


def _latex_lines(record: ComparisonRecord, section: SectionRecord) -> list[str]:
    columns = [column for column in group_columns(record) if column.terminal]
    columns = [column for column in columns if any(column.cell(group) != MISSING for group in section.groups)]
    names = [heading(column, record, section) for column in columns]
    caption = f"{section.title}: mean and standard deviation over n runs, with 95 % interval"
    single = any(group.n == 1 for group in section.groups)
    caption += "; ° marks intervals over the test images of single runs." if single else "."
    spec = "l" + "r" * len(columns)
    rows = [[group.label, *(column.cell(group) for column in columns)] for group in section.groups]
    body = [f"{' & '.join(_latex(cell) for cell in row)} \\\\" for row in [["group", *names], *rows]]
    return [
        *("\\begin{table}", "\\centering", f"\\caption{{{_latex(caption)}}}", f"\\begin{{tabular}}{{{spec}}}"),
        *("\\toprule", body[0], "\\midrule", *body[1:], "\\bottomrule", "\\end{tabular}", "\\end{table}"),
    ]


def _latex(text: str) -> str:
    """Return a text of which no character is a command of LaTeX."""
    return "".join(LATEX.get(character, character) for character in text)


# --- Markdown --------------------------------------------------------------------------------------------------------


def _published_lines(section: SectionRecord) -> list[str]:
    entries = [(group.label, entry) for group in section.groups for entry in group.published]
    rows = [[label, percent(entry["accuracy"]), entry["source"]] for label, entry in entries]
    title = "Published accuracies, each from its source's own training:"
    return titled_table(title, Table(["group", "%", "source"], rows)) if rows else []


def _image_lines(section: SectionRecord) -> list[str]:
    """Return the numbers of the images on which the best two groups differ."""
    if not section.pairs:
        return []
    names, lines = section.classes, []
    for right, wrong, count, images in section.pairs[0].sides:
        if images:
            every = ", ".join(f"{e['image']} ({names[e['true']]}, not {names[e['instead']]})" for e in images)
            lines += [f"{right} correct, {wrong} wrong: {count:,} test images, such as {every}.", ""]
    return lines


def _excluded_lines(record: ComparisonRecord) -> list[str]:
    lines = titled_table("## Runs that are not counted", set_aside_table(record)) if record.set_aside else []
    return lines + (titled_table("## Damaged records", problems_table(record)) if record.problems else [])


def titled_table(title: str, table: Table) -> list[str]:
    """Return the lines of a title and a table, with an empty line after each."""
    return [title, "", *markdown_table(table), ""]


def markdown_table(table: Table) -> list[str]:
    """Return the lines of a table."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(_escaped(cell) for cell in cells) + " |"

    return [line(table.head), "|" + "---|" * len(table.head), *map(line, table.rows)]


def _escaped(cell: str) -> str:
    return re.sub(r"[|*]|<(?=[A-Za-z/!])", r"\\\g<0>", cell).replace("\n", " ")


FORMATS: Mapping[str, Callable[[ComparisonRecord], str]] = {
    "csv": render_csv,
    "latex": render_latex,
    "markdown": render_markdown,
}
