"""Print and draw the results of a benchmark."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from rich import box
from rich.console import Console
from rich.table import Table

Record = Mapping[str, Any]
TABLE_WIDTH = 100  # columns


def print_speed(record: Record) -> None:
    """Print the figures of every combination, and the upper bound of the machine if it was measured.

    Args:
        record: result of `cnnlab.speed.benchmark.measure`, with `images`, `recipe` and `rounds`.
    """
    console = Console(width=TABLE_WIDTH, highlight=False)
    if machine := record["machine"]:
        versions = machine["versions"]
        console.print(f"{machine['device']}; torch {versions['torch']}, lightning {versions['lightning']}")
    console.print(f"images: {record['images']}; recipe {record['recipe']}; {record['rounds']} rounds")
    console.print(_speeds(record["results"]))
    console.print("step: median and interquartile range; start: seconds to the first step; warm: seconds of compiling")
    if record["floor"]:
        rates = record["floor"]["rates"]
        products = ", ".join(f"{name} {rate / 1e12:,.2f}" for name, rate in rates.items() if name != "copy")
        console.print(f"\nmatrix products, TFLOP/s: {products}; copy {rates['copy'] / 1e9:,.0f} GB/s")
        console.print(_upper_bounds(record["results"]))
        console.print("upper bound: images/s if only the multiplications of the network took time")
    for row in record["results"]:
        if row["error"]:
            console.print(f"{label(row)}: {row['error']}", soft_wrap=True)


def draw_speed(record: Record, file: Path) -> None:
    """Draw images/s of every combination, training above inference, with the upper bound if it was measured.

    Args:
        record: as for `print_speed`.
        file: image file in a format that matplotlib writes.
    """
    rows = [row for row in record["results"] if not row["error"]]
    figure = Figure(figsize=(9, 1.8 + 0.55 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for part, offset, colour in (("training", -0.2, "tab:blue"), ("inference", 0.2, "tab:orange")):
        heights = [number + offset for number in range(len(rows))]
        speeds = [row[part]["images_per_second"] for row in rows]
        axes.barh(heights, speeds, height=0.36, color=colour, label=part)
        for height, value in zip(heights, speeds, strict=True):
            axes.annotate(
                f"{value:,.0f}", (value, height), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8
            )
        if record["floor"] and rows:
            bounds = [row[part]["floor_images_per_second"] for row in rows]
            label_once = "upper bound: only the multiplications" if part == "training" else None
            axes.plot(bounds, heights, "|", color="black", markersize=13, markeredgewidth=2, label=label_once)
    axes.set_yticks(range(len(rows)), [label(row) for row in rows])
    axes.invert_yaxis()
    if rows:
        axes.set_xscale("log")
        axes.margins(x=0.12)
    axes.grid(axis="x", which="major", alpha=0.3)
    axes.set_axisbelow(True)
    axes.set_xlabel("images/s (logarithmic scale)")
    device = record["machine"]["device"] if record["machine"] else "no device"
    axes.set_title(f"{device}\nimages: {record['images']}, recipe {record['recipe']}", fontsize=9, loc="left")
    if rows:
        figure.legend(loc="outside lower center", ncols=3, fontsize=8)
    figure.savefig(file, dpi=150)


def label(row: Mapping[str, Any]) -> str:
    """Return a combination in words."""
    compiled = "" if row["compile"] == "off" else f", {row['compile']}"
    return f"{row['model']}, batch {row['batch_size']}, {row['precision']}{compiled}"


def _speeds(results: list[dict[str, Any]]) -> Table:
    table = _table("model", "precision", "compile")
    for name in ("batch", "train/s", "infer/s", "step ms", "IQR", "GB", "start", "warm"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in results:
        names = (row["model"], row["precision"], row["compile"], str(row["batch_size"]))
        if row["error"]:
            table.add_row(*names, "failed")
            continue
        training = row["training"]
        table.add_row(
            *names,
            f"{training['images_per_second']:,.0f}",
            f"{row['inference']['images_per_second']:,.0f}",
            _milliseconds(training["step_seconds"]),
            _milliseconds(training["step_iqr"]),
            f"{row['peak_memory_bytes'] / 1e9:.2f}",
            f"{row['startup_seconds']:.1f}",
            f"{row['compile_seconds']:.1f}",
        )
    return table


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:,.{0 if seconds >= 0.1 else 2}f}"


def _upper_bounds(results: list[dict[str, Any]]) -> Table:
    table = _table("model", "precision", "compile")
    for name in ("batch", "MMACs", "train bound", "reached", "infer bound", "reached"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in results:
        if row["error"]:
            continue
        shares = [
            text
            for part in (row["training"], row["inference"])
            for text in (f"{part['floor_images_per_second']:,.0f}", f"{part['floor_share']:.1%}")
        ]
        names = (row["model"], row["precision"], row["compile"], str(row["batch_size"]))
        table.add_row(*names, f"{row['macs'] / 1e6:,.1f}", *shares)
    return table


def _table(*names: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False)
    for name in names:
        table.add_column(name, no_wrap=True)
    return table
