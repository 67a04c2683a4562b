"""A comparison of runs as text: Markdown, CSV, and a short table on the terminal."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

Record = Mapping[str, Any]

ALL_PAIRS = 8  # groups; of more, each is set against the best one alone, where text is read
TERMINAL_GROUPS = 15
TERMINAL_REASONS = 8
WIDE = 100  # columns of a terminal; fewer leave no room for all costs
CSV_COLUMNS = (
    *("protocol", "fingerprint", "group", "model", "recipe", "data", "n", "mean", "sd", "low", "high", "interval"),
    *("best", "best_run", "val_accuracy", "parameters", "macs", "epochs", "train_seconds", "images_per_second"),
    "peak_memory_bytes",
)

METHODS = (
    (
        "Test accuracy",
        "the mean over the seeds, ± their standard deviation. Its 95 % interval is by Student's t over the seeds; "
        "where it is marked with °, that of a single run's accuracy, by Wilson's method over the test images, which "
        "says nothing about other seeds.",
    ),
    (
        "Costs",
        "medians over the seeds. To 90 % and the like: seconds of training until the validation accuracy was first "
        "that high, with the epoch, and how many of the runs got there where not all did. * marks the groups that no "
        "other one beats in both accuracy and this cost (the Pareto front).",
    ),
    (
        "p (seeds)",
        "Welch's t test over the seeds: would other seeds show the difference, on these test images? Corrected for "
        "the number of pairs of the section by Holm's method.",
    ),
    (
        "p (images)",
        "a test of random signs over the test images, on the share of each group's seeds that is right (with one seed "
        "each it is McNemar's test, mid-p): would other images show the difference, with these networks? Corrected "
        "likewise.",
    ),
    ("Interval of a difference", "by Welch's t over the seeds; where it is marked with °, over the test images."),
    (
        "Verdict",
        "better: both corrected p-values are below 0.05. better with these seeds: that of the images alone. better on "
        "these images: that of the seeds alone. no difference shown: neither, which is no proof that there is none.",
    ),
    ("Only A right", "test images that most seeds of A get right and most of B wrong."),
)


def render_markdown(record: Record, figures: Sequence[Mapping[str, str]]) -> str:
    """The whole comparison as Markdown.

    Args:
        record: of `cnnlab.analysis.comparison.compare_runs`.
        figures: for each section the files of its figures by their titles, relative to the Markdown's folder.
    """
    lines = ["# Comparison", "", _summary_line(record), "", "How the figures are to be read stands at the end.", ""]
    if record["notices"]:
        lines += ["**Note**", "", *(f"- {notice}" for notice in record["notices"]), ""]
    for section, files in zip(record["sections"], figures, strict=True):
        lines += [f"## {section_title(section)}", "", *_markdown_table(*group_table(record, section)), ""]
        if section["pairs"]:
            lines += ["### Differences", "", *_markdown_table(*pair_table(section)), ""]
        lines += _published_lines(section)
        for title, file in files.items():
            lines += [f"![{title}]({file})", ""]
        lines += _image_lines(section)
    lines += _left_out(record)
    return "\n".join(
        [*lines, "## How the figures are to be read", "", *(f"- **{term}**: {text}" for term, text in METHODS), ""]
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


# --- parts that the page uses too ------------------------------------------------------------------------------------


def section_title(section: Record) -> str:
    """Such as `cifar10, protocol holdout, 10,000 test images (1a2b...)`."""
    images = "" if section["test_images"] is None else f", {section['test_images']:,} test images"
    return f"{', '.join(section['data'])}, protocol {section['protocol']}{images} ({section['fingerprint']})"


def sentence(pair: Record) -> str:
    """A pair's difference in words."""
    known = f" [{100 * pair['low']:.2f}, {100 * pair['high']:.2f}]" if pair["low"] is not None else ""
    tests = [f"p {p_value(pair[key])} over {key}" for key in ("seeds", "images") if pair[key]]
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


def reached(entry: Record, runs: int) -> str:
    """When a target was reached: `81 s (epoch 12)`; `81 s (epoch 12, 2 of 3)` where not all runs got there."""
    if not entry["reached"]:
        return "-"
    some = f", {entry['reached']} of {runs}" if entry["reached"] < runs else ""
    return f"{entry['seconds']:,.0f} s (epoch {entry['epoch']:g}{some})"


def shown_targets(record: Record, section: Record) -> list[int]:
    """The places of the targets that any group reached."""
    places = range(len(record["targets"]))
    return [place for place in places if any(group["targets"][place]["reached"] for group in section["groups"])]


def group_table(record: Record, section: Record) -> tuple[list[str], list[list[str]]]:
    """Head and rows of a section's table, as text."""
    targets = shown_targets(record, section)
    head = ["group", "n", "test accuracy, %", "95 % interval", "best", "published", "parameters", "MACs", "seconds"]
    head += [f"to {100 * record['targets'][place]:g} %" for place in targets] + ["images/s", "memory"]
    rows = []
    for group in section["groups"]:
        published = ", ".join(f"{100 * entry['accuracy']:.2f}" for entry in group["published"]) or "-"
        row = [
            group["label"],
            str(group["n"]),
            accuracy(group),
            interval(group),
            f"{100 * group['best']:.2f}",
            published,
        ]
        row += [
            short(group[key]) + ("*" if key in group["front"] else "")
            for key in ("parameters", "macs", "train_seconds")
        ]
        row += [reached(group["targets"][place], group["n"]) for place in targets]
        memory = group["peak_memory_bytes"]
        row += [short(group["images_per_second"]), "-" if memory is None else f"{memory / 1e9:.2f} GB"]
        rows.append(row)
    return head, rows


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


# --- Markdown --------------------------------------------------------------------------------------------------------


def _summary_line(record: Record) -> str:
    counted = sum(group["n"] for section in record["sections"] for group in section["groups"])
    groups = sum(len(section["groups"]) for section in record["sections"])
    return f"{record['runs']} runs, {counted} of them counted, in {groups} groups."


def _published_lines(section: Record) -> list[str]:
    entries = [(group["label"], entry) for group in section["groups"] for entry in group["published"]]
    if not entries:
        return []
    rows = [[label, f"{100 * entry['accuracy']:.2f}", entry["source"]] for label, entry in entries]
    return [
        "Published accuracies, each with its source's own training:",
        "",
        *_markdown_table(["group", "%", "source"], rows),
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
        lines += ["## Runs that are not counted", "", *_markdown_table(["run", "model", "seed", "reason"], rows), ""]
    if record["problems"]:
        rows = [[entry["path"], entry["problem"]] for entry in record["problems"]]
        lines += ["## Damaged records", "", *_markdown_table(["run", "what is wrong"], rows), ""]
    return lines


def _markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(_escaped(cell) for cell in cells) + " |"

    return [line(head), "|" + "---|" * len(head), *map(line, rows)]


def _escaped(cell: str) -> str:
    return re.sub(r"[|*]|<(?=[A-Za-z/!])", r"\\\g<0>", cell).replace("\n", " ")
