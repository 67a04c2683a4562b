"""Print and draw the results of a benchmark."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter
from rich import box
from rich.table import Table

from cnnlab.display import SafeConsole, save_figure, terminal_width
from cnnlab.style import INK, SOFT, styled

Record = Mapping[str, Any]
TABLE_WIDTH = 100  # columns, without a terminal


def print_speed(record: Record) -> None:
    """Print the result of `cnnlab.speed.benchmark.measure`, to which `images`, `recipe` and `rounds` were added."""
    console = SafeConsole(width=terminal_width() or TABLE_WIDTH)
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


@styled
def draw_speed(record: Record, file: Path) -> None:
    """Draw images/s of every combination, training above inference, with the upper bound if it was measured.

    They are points and not bars: a logarithmic axis has no zero that a bar could begin at.
    """
    rows = [row for row in record["results"] if not row["error"]]
    figure = Figure(figsize=(9, 1.8 + 0.55 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for part, offset, colour in (("training", -0.2, "C0"), ("inference", 0.2, "C1")):
        heights = [number + offset for number in range(len(rows))]
        speeds = [row[part]["images_per_second"] for row in rows]
        axes.plot(speeds, heights, "o", color=colour, markersize=7, label=part)
        for value, height in zip(speeds, heights, strict=True):
            axes.annotate(f"{value:,.0f}", (value, height), (8, 0), textcoords="offset points", va="center", fontsize=8)
        if record["floor"] and rows:
            bounds = [row[part]["floor_images_per_second"] for row in rows]
            label_once = "upper bound: only the multiplications" if part == "training" else None
            axes.plot(bounds, heights, "|", color=INK, markersize=13, markeredgewidth=2, label=label_once)
    axes.set_yticks(range(len(rows)), [label(row) for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    if rows:
        axes.set_xscale("log")
        axes.margins(x=0.15)
        narrow = axes.get_xlim()[1] < 10 * axes.get_xlim()[0]  # maybe no power of ten among the values
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if narrow else (1,)))
        axes.xaxis.set_major_formatter(EngFormatter())
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(axis="x", which="major")
    axes.set_xlabel("images per second, on a logarithmic scale")
    device = record["machine"]["device"] if record["machine"] else "no device"
    figure.suptitle("Speed of training and inference", x=0.01, ha="left", weight="bold")
    rounds = f"n = {record['rounds']} rounds"
    axes.set_title(f"{device}; images: {record['images']}; recipe {record['recipe']}; {rounds}", fontsize=9, color=SOFT)
    if rows:
        figure.legend(loc="outside lower center", ncols=3, fontsize=8)
    save_figure(figure, file)


def label(row: Mapping[str, Any]) -> str:
    """Return a combination in words."""
    compiled = "" if row["compile"] == "off" else f", {row['compile']}"
    return f"{row['model']}, batch {row['batch_size']}, {row['precision']}{compiled}"


def _speeds(results: list[dict[str, Any]]) -> Table:
    table = _table("train/s", "infer/s", "step ms", "IQR", "GB", "start", "warm")
    for row in results:
        if row["error"]:
            table.add_row(*_names(row), "failed")
            continue
        training, inference = row["training"], row["inference"]
        speeds = [f"{part['images_per_second']:,.0f}" for part in (training, inference)]
        step = [_milliseconds(training[key]) for key in ("step_seconds", "step_iqr")]
        start = [f"{row[key]:.1f}" for key in ("startup_seconds", "compile_seconds")]
        table.add_row(*_names(row), *speeds, *step, f"{row['peak_memory_bytes'] / 1e9:.2f}", *start)
    return table


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:,.{0 if seconds >= 0.1 else 2}f}"


def _upper_bounds(results: list[dict[str, Any]]) -> Table:
    table = _table("MMACs", "train bound", "reached", "infer bound", "reached")
    for row in results:
        if not row["error"]:
            cells = [f"{row['macs'] / 1e6:,.1f}"]
            for part in (row["training"], row["inference"]):
                cells += [f"{part['floor_images_per_second']:,.0f}", f"{part['floor_share']:.1%}"]
            table.add_row(*_names(row), *cells)
    return table


def _names(row: Mapping[str, Any]) -> list[str]:
    return [str(row[key]) for key in ("model", "precision", "compile", "batch_size")]


def _table(*figures: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False)
    for number, name in enumerate(("model", "precision", "compile", "batch", *figures)):
        table.add_column(name, justify="left" if number < 3 else "right", no_wrap=True)
    return table
