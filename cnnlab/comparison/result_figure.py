"""The figure of an experiment's result: one panel or several, as its file asks."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullFormatter

from cnnlab.comparison.figures import COLOURS, COSTS, name_point
from cnnlab.comparison.tables import metric_words

Record = Mapping[str, Any]

STYLES: tuple[Any, ...] = ("-", "--", ":", "-.")
TICKS = 12  # that an axis has room for
WIDE = 3  # times the smallest cost, from where on a logarithm is easier to read


def draw_result(record: Record, section: Record, panels: Sequence[str], file: Path) -> None:
    """Draws the panels side by side, two in a row.

    Args:
        record: of `cnnlab.comparison.compare.compare_runs`.
        section: one of its sections.
        panels: see `cnnlab.comparison.spec.Panel`.
        file: a `.png`.
    """
    groups = section["groups"]
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    curves = any("/" in panel for panel in panels)
    legend = 0.25 * (-(-len(groups) // 3)) + 0.2 if curves else 0
    height = max(3.9, 1.2 + 0.42 * len(groups)) if "accuracy" in panels else 3.9
    figure = Figure(figsize=(7.2 if columns == 1 else 11.5, height * rows + legend), layout="constrained")
    for axes, panel in zip(figure.subplots(rows, columns, squeeze=False).flat, panels, strict=False):
        _draw_panel(axes, panel, record, section)
        axes.grid(alpha=0.3)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in figure.axes[len(panels) :]:
        axes.set_axis_off()
    if curves:
        handles = [Line2D([], [], color=_colour(i), linestyle=_style(g, groups)) for i, g in enumerate(groups)]
        labels = [_with_n(group) for group in groups]
        if section["reference"]:
            handles.append(Line2D([], [], color="black", marker="x", linestyle=":"))
            labels.append(section["reference"]["name"])
        figure.legend(handles, labels, loc="outside lower center", ncols=3 if columns == 1 else 4, fontsize=8)
    figure.savefig(file, dpi=130)


def _draw_panel(axes: Axes, panel: str, record: Record, section: Record) -> None:
    if "/" in panel:
        _curves(axes, panel, record, section)
    elif panel == "accuracy":
        _accuracies(axes, section["groups"])
    else:
        key = "place" if panel == "axis" else panel
        _scatter(axes, section["groups"], lambda group: group[key])
        axes.set_xlabel(record["axis"] if panel == "axis" else COSTS[panel])
        _scale(axes, [group[key] for group in section["groups"] if group[key] is not None], panel != "axis")


def _accuracies(axes: Axes, groups: Sequence[Record]) -> None:
    """A line for each group: every run, their mean and its interval."""
    for place, group in enumerate(groups):
        runs = [100 * run["test_accuracy"] for run in group["runs"]]
        if len(runs) > 1:
            axes.plot(runs, [place] * len(runs), "|", color=_colour(place), alpha=0.6, markersize=12)
        axes.errorbar(100 * group["mean"], place, xerr=_bars(group), fmt="o", color=_colour(place), capsize=3)
        axes.annotate(
            f"{100 * group['mean']:.2f}", (100 * group["mean"], place), xytext=(0, 7), textcoords="offset points",
            ha="center", fontsize=8,
        )  # fmt: skip
    axes.set_yticks(range(len(groups)), [_with_n(group) for group in groups], fontsize=9)
    axes.set_ylim(len(groups) - 0.4, -0.6)
    axes.margins(x=0.12)
    axes.set_xlabel("test accuracy, %: every run, mean, 95 % interval")


def _scatter(axes: Axes, groups: Sequence[Record], x_of: Callable[[Record], float | None]) -> None:
    """Accuracy against a number, points with names; a line joins groups of the same line."""
    lines = list(dict.fromkeys(group["line"] for group in groups if group["line"]))
    for number, line in enumerate(lines):
        members = [(x, 100 * g["mean"]) for g in groups if g["line"] == line and (x := x_of(g)) is not None]
        xs, ys = zip(*sorted(members), strict=True) if members else ((), ())
        axes.plot(xs, ys, STYLES[number % len(STYLES)], color="0.55", linewidth=1, zorder=1, label=line)
    last = max((x for group in groups if (x := x_of(group)) is not None), default=None)
    for place, group in enumerate(groups):
        if (x := x_of(group)) is None:
            continue
        bar = axes.errorbar(x, 100 * group["mean"], yerr=_bars(group), fmt="o", color=_colour(place), capsize=3)
        bar.lines[0].set_zorder(4)  # the point itself, above names
        side, by = ("right", -6) if x == last and len(groups) > 1 else ("left", 6)  # a long name would leave the panel
        point = (x, 100 * group["mean"])
        name_point(axes, group["label"], point, xytext=(by, 5), ha=side, fontsize=8)
    if lines:
        axes.legend(fontsize=8)
    axes.margins(x=0.2, y=0.15)
    axes.set_ylim(top=min(axes.get_ylim()[1], 101))  # an interval over two seeds may reach beyond 100
    axes.set_ylabel("test accuracy, %")


def _scale(axes: Axes, values: Sequence[float], cost: bool) -> None:
    if cost and values and min(values) > 0 and max(values) > WIDE * min(values):
        axes.set_xscale("log")
        axes.margins(x=0.2)
        axes.xaxis.set_major_formatter(EngFormatter())
        few = max(values) < 10 * min(values)  # maybe not one power of ten among them
        if few:
            axes.xaxis.set_minor_locator(LogLocator(subs=(2, 3, 4, 6)))
        axes.xaxis.set_minor_formatter(EngFormatter() if few else NullFormatter())
    elif cost:
        axes.xaxis.set_major_formatter(EngFormatter())
    elif all(float(value).is_integer() for value in values):
        mark_places(axes, values)


def mark_places(axes: Axes, values: Sequence[float]) -> None:
    """Puts the ticks of the x-axis at the values, if they are far enough apart; else at round whole numbers."""
    places = sorted(set(values))
    gaps = [after - before for before, after in pairwise(places)]
    if gaps and min(gaps) >= (places[-1] - places[0]) / TICKS:
        axes.set_xticks(places)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _curves(axes: Axes, panel: str, record: Record, section: Record) -> None:
    """A metric over the epochs: mean of the runs, with lowest and highest; the value to be reached; another's curve."""
    is_error = panel.endswith("error")
    metric = panel.replace("error", "accuracy")
    in_percent = metric.endswith("accuracy")

    def shown(values: Sequence[float | None]) -> np.ndarray:
        numbers = np.array(values, dtype=float) * (100 if in_percent else 1)
        return 100 - numbers if is_error else numbers

    groups = section["groups"]
    for place, group in enumerate(groups):
        curve = group["curve"]
        mean, low, high = (shown(curve[metric][name]) for name in ("mean", "low", "high"))
        known = ~np.isnan(mean)
        epochs = np.array(curve["epoch"], dtype=float)[known]
        marker = "." if len(epochs) < 4 else ""
        axes.plot(epochs, mean[known], color=_colour(place), linestyle=_style(group, groups), marker=marker)
        axes.fill_between(epochs, low[known], high[known], color=_colour(place), alpha=0.18, linewidth=0)
    reference = section["reference"]
    if reference and reference["metric"] == metric:
        axes.plot(reference["epochs"], shown(reference["values"]), "x:", color="black")
    reach = record["reach"]
    if reach and reach["metric"] == metric:
        value = float(shown([reach["value"]])[0])
        axes.axhline(value, color="0.3", linestyle="--", linewidth=0.9)
        axes.annotate(
            f"{value:g}{' %' if in_percent else ''}", (1, value), xycoords=axes.get_yaxis_transform(),
            xytext=(0, 3), textcoords="offset points", ha="right", fontsize=8,
        )  # fmt: skip
    if not in_percent:
        axes.set_yscale("log")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epoch")
    words = metric_words(metric, section["protocol"])
    words = words.replace("accuracy", "error") if is_error else words
    axes.set_ylabel(words + (", %" if in_percent else ""))


def _bars(group: Record) -> list[list[float]] | None:
    if group["low"] is None:
        return None
    return [[100 * (group["mean"] - group["low"])], [100 * (group["high"] - group["mean"])]]


def _colour(place: int) -> Any:
    return COLOURS[place % len(COLOURS)]


def _style(group: Record, groups: Sequence[Record]) -> Any:
    lines = list(dict.fromkeys(other["line"] for other in groups if other["line"]))
    return STYLES[lines.index(group["line"]) % len(STYLES)] if group["line"] else "-"


def _with_n(group: Record) -> str:
    return f"{group['label']} (n = {group['n']})"
