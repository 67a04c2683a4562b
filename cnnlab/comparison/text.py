"""A comparison of runs as text: Markdown, CSV, and a short table on the terminal."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from cnnlab.comparison.tables import (
    ANSWERS,
    accuracy,
    group_table,
    interval,
    pair_table,
    section_extras,
    section_title,
    sentence,
    short,
)

Record = Mapping[str, Any]

TERMINAL_GROUPS = 15
TERMINAL_REASONS = 8
WIDE = 100  # columns of a terminal; fewer leave no room for all costs
CSV_COLUMNS = (
    *("protocol", "fingerprint", "group", "model", "recipe", "data", "n", "mean", "sd", "low", "high", "interval"),
    *("best", "best_run", "val_accuracy", "parameters", "macs", "epochs", "train_seconds", "images_per_second"),
    "peak_memory_bytes",
)

OF_PAIRS = ("p (seeds)", "p (images)", "Interval of a difference", "Verdict", "Only A right")
TERMS = (
    (
        "Test accuracy",
        "the mean over the seeds, ± their standard deviation. Its 95 % interval is by Student's t over the seeds; "
        "where it is marked with °, that of a single run's accuracy (or of several that are equal), by Wilson's method "
        "over the test images, which says nothing about other seeds. The former says nothing about other images.",
    ),
    ("Best", "the highest test accuracy among the seeds; by how it was found, no estimate of anything."),
    (
        "Costs",
        "medians over the seeds. To 90 % and the like: seconds of training until the validation accuracy was first "
        "that high, the epoch, and how many of the runs got there where not all did. * marks the groups that no "
        "other one beats in both accuracy and this cost (the Pareto front).",
    ),
    (
        "p (seeds)",
        "Welch's t test over the seeds: would other seeds show the difference, on these test images? Corrected for "
        "the number of the section's pairs that can be tested so, by Holm's method.",
    ),
    (
        "p (images)",
        "a test of random signs over the test images, on the share of each group's seeds that is right (with one seed "
        "each it is McNemar's test, mid-p): would other images show the difference, with these networks? Corrected "
        "likewise.",
    ),
    (
        "Epochs and seconds to a value",
        "the mean over the runs that got there, ± their standard deviation, and how many those are where not all did, "
        "each interpolated between the epochs before and after; training accuracy is that over the epoch, on the "
        "augmented images. A ratio's 95 % interval is by Welch's t over the seeds, of the logarithms; there is none "
        "where not all runs got there.",
    ),
    (
        "Moved images",
        "test images moved up, down, left and right, and filled up by reflection at the border: the share whose answer "
        "stays, the accuracy, and the mean cosine of the angle between the features before and after.",
    ),
    (
        "Interval of a difference",
        "by Welch's t over the seeds; where it is marked with °, over the test images. Each holds for its pair alone: "
        "unlike the p-values, intervals are not corrected for the number of pairs.",
    ),
    (
        "Verdict",
        "better: both corrected p-values are below 0.05. better with these seeds: that of the images alone. better on "
        "these images: that of the seeds alone. no difference shown: neither, which is no proof that there is none.",
    ),
    ("Only A right", "test images that most seeds of A get right and most of B wrong."),
)


def methods(record: Record) -> list[tuple[str, str]]:
    """What the terms mean that a comparison uses."""
    unused = {"Epochs and seconds to a value": not record["reach"], "Moved images": not record["shift"]}
    if not any(section["pairs"] for section in record["sections"]):
        unused |= dict.fromkeys(OF_PAIRS, True)
    return [(term, text) for term, text in TERMS if not unused.get(term)]


def render_markdown(record: Record, figures: Sequence[Mapping[str, str]]) -> str:
    """The whole comparison as Markdown.

    Args:
        record: of `cnnlab.comparison.compare.compare_runs`.
        figures: for each section the files of its figures by their titles, relative to the Markdown's folder.
    """
    lines = ["# Comparison", "", _summary_line(record), "", "How the figures are to be read stands at the end.", ""]
    if record["notices"]:
        lines += ["**Note**", "", *(f"- {notice}" for notice in record["notices"]), ""]
    for section, files in zip(record["sections"], figures, strict=True):
        lines += [f"## {section_title(section)}", "", *markdown_table(*group_table(record, section, ANSWERS)), ""]
        lines += ["### Costs", "", *markdown_table(*group_table(record, section, ["cost"])), ""]
        for title, table in section_extras(record, section):
            lines += [f"### {title}", "", *markdown_table(*table), ""]
        if section["pairs"]:
            lines += ["### Differences", "", *markdown_table(*pair_table(section)), ""]
        lines += published_lines(section)
        for title, file in files.items():
            lines += [f"![{title}]({file})", ""]
        lines += _image_lines(section)
    lines += _left_out(record)
    return "\n".join(
        [
            *lines,
            "## How the figures are to be read",
            "",
            *(f"- **{term}**: {text}" for term, text in methods(record)),
            "",
        ]
    )


def render_csv(record: Record) -> str:
    """A row for each group."""
    buffer = io.StringIO()
    targets = [f"{what}_to_{target:g}" for target in record["targets"] for what in ("seconds", "epochs", "runs")]
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*CSV_COLUMNS, "published", *targets])
    for section in record["sections"]:
        for group in section["groups"]:
            values = {**group, **{key: section[key] for key in ("protocol", "fingerprint")}, "group": group["label"]}
            published = " ".join(f"{entry['accuracy']:.4f}" for entry in group["published"])
            times = [entry[key] for entry in group["targets"] for key in ("seconds", "epoch", "reached")]
            writer.writerow([*(values[column] for column in CSV_COLUMNS), published, *times])
    return buffer.getvalue()


def print_comparison(record: Record, width: int | None) -> None:
    """Prints the groups, how the best one stands against the next, and what was left out.

    Args:
        record: as for `render_markdown`.
        width: columns of the terminal; None for as many as it takes.
    """
    console = Console(width=width or 140, highlight=False, markup=False)
    costs = {"parameters": "params", "train_seconds": "seconds"}
    if console.width >= WIDE:
        costs |= {"macs": "MACs", "images_per_second": "images/s"}
    for section in record["sections"]:
        table = Table(title=section_title(section), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("group", overflow="fold", min_width=16)
        for name in ("n", "test accuracy", "95 %", *costs.values()):
            table.add_column(name, justify="right", no_wrap=True)
        for group in section["groups"][:TERMINAL_GROUPS]:
            table.add_row(
                group["label"], str(group["n"]), accuracy(group), interval(group), *(short(group[key]) for key in costs)
            )
        console.print(table)
        if len(section["groups"]) > TERMINAL_GROUPS:
            console.print(f"... and {len(section['groups']) - TERMINAL_GROUPS} more groups")
        if section["pairs"]:
            console.print(sentence(section["pairs"][0]))
        console.print()
    for notice in record["notices"]:
        console.print(f"note: {notice}")
    reasons = [f"{entry['path']}: {entry['reason']}" for entry in record["set_aside"]]
    reasons += [f"{entry['path']}: {entry['problem']}" for entry in record["problems"]]
    if record["set_aside"]:
        console.print(f"{len(record['set_aside'])} of {record['runs']} runs are not counted:")
    for reason in reasons[:TERMINAL_REASONS]:
        console.print(f"  {reason}", soft_wrap=True)
    if len(reasons) > TERMINAL_REASONS:
        console.print(f"  ... and {len(reasons) - TERMINAL_REASONS} more, in the report")


# --- Markdown --------------------------------------------------------------------------------------------------------


def _summary_line(record: Record) -> str:
    counted = sum(group["n"] for section in record["sections"] for group in section["groups"])
    groups = sum(len(section["groups"]) for section in record["sections"])
    return f"{record['runs']} runs, {counted} of them counted, in {groups} groups."


def published_lines(section: Record) -> list[str]:
    """The published accuracies with their sources, as Markdown."""
    entries = [(group["label"], entry) for group in section["groups"] for entry in group["published"]]
    if not entries:
        return []
    rows = [[label, f"{100 * entry['accuracy']:.2f}", entry["source"]] for label, entry in entries]
    return [
        "Published accuracies, each with its source's own training:",
        "",
        *markdown_table(["group", "%", "source"], rows),
        "",
    ]


def _image_lines(section: Record) -> list[str]:
    """The images on which the best two differ, by their numbers."""
    if not section["pairs"]:
        return []
    pair, names = section["pairs"][0], section["classes"]
    lines = []
    for side, right, wrong in (("only_a", "a", "b"), ("only_b", "b", "a")):
        if images := pair[f"{side}_images"]:
            every = ", ".join(f"{e['image']} ({names[e['true']]}, not {names[e['instead']]})" for e in images)
            lines += [
                f"Test images that {pair[right]} gets right and {pair[wrong]} wrong, of {pair[side]:,}: {every}.",
                "",
            ]
    return lines


def _left_out(record: Record) -> list[str]:
    lines = []
    if record["set_aside"]:
        rows = [[e["path"], str(e["model"] or "-"), str(e["seed"]), e["reason"]] for e in record["set_aside"]]
        lines += ["## Runs that are not counted", "", *markdown_table(["run", "model", "seed", "reason"], rows), ""]
    if record["problems"]:
        rows = [[entry["path"], entry["problem"]] for entry in record["problems"]]
        lines += ["## Damaged records", "", *markdown_table(["run", "what is wrong"], rows), ""]
    return lines


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(_escaped(cell) for cell in cells) + " |"

    return [line(head), "|" + "---|" * len(head), *map(line, rows)]


def _escaped(cell: str) -> str:
    return re.sub(r"[|*]|<(?=[A-Za-z/!])", r"\\\g<0>", cell).replace("\n", " ")
