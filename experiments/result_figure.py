"""Draw the figure of an experiment's result: the panels that its file asks for."""

import textwrap
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullFormatter
from matplotlib.transforms import Bbox

from cnnlab.comparison.columns import COSTS
from cnnlab.comparison.records import ComparisonRecord, GroupRecord, SectionRecord
from cnnlab.comparison.tables import metric_words
from cnnlab.display import save_figure
from cnnlab.style import COLOURS, INK, SOFT, styled

Names = list[tuple[str, float, float, float, float]]  # of points: name, x, y, and the ends of the error bar

LINE, LETTERS, BOLD_LETTERS = 0.19, 12.5, 11.2  # height of a line of the heading in inches; letters on an inch of it
# Where a name may stand: alignment, and the distance from the point in typographic points.
NAME_PLACES = [(side, sign * 7, up) for up in (0, 10, -10, 20, -20) for side, sign in (("left", 1), ("right", -1))]
WIDE_RANGE = 3  # ratio of the largest to the smallest cost above which a logarithmic axis is easier to read
LINE_STYLES = ("-", "--", ":", "-.")
MAX_TICKS = 12  # that an axis has room for


@styled
def draw_result(
    record: ComparisonRecord, section: SectionRecord, panels: Sequence[str], file: Path, question: str, answer: str
) -> None:
    """Draw panels (see `cnnlab.comparison.spec.PANELS`) into a PNG file, two in a row, below question and answer."""
    groups = section.groups
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    curves = any("/" in panel for panel in panels)
    legend = 0.25 * (-(-len(groups) // 3)) + 0.2 if curves else 0
    height = max(3.9, 1.2 + 0.42 * len(groups)) if "accuracy" in panels else 3.9
    width = 7.2 if columns == 1 else 11.5
    bars = any("/" not in panel for panel in panels) and any(group.low is not None for group in groups)
    heading = _heading(question, answer, section, width, bars, curves)
    top = LINE * sum(text.count("\n") + 1 for text, _ in heading) + 0.25
    whole = height * rows + legend + top
    figure = Figure(figsize=(width, whole), layout="constrained")
    figure.get_layout_engine().set(rect=(0, 0, 1, 1 - top / whole))  # pyright: ignore
    names: dict[Axes, Names] = {}
    for axes, panel in zip(figure.subplots(rows, columns, squeeze=False).flat, panels, strict=False):
        names[axes] = _draw_panel(axes, panel, record, section)
        axes.grid(True)
    for axes in figure.axes[len(panels) :]:
        axes.set_axis_off()
    place = 1 - 0.1 / whole
    for text, style in heading:
        figure.text(0.1 / width, place, text, va="top", linespacing=1.15, **style)
        place -= LINE * (text.count("\n") + 1) / whole
    if curves:
        handles = [Line2D([], [], color=group_colour(i), linestyle=line_style(g, groups)) for i, g in enumerate(groups)]
        labels = [_with_n(group) for group in groups]
        if section.reference:
            handles.append(Line2D([], [], color=INK, marker="x", linestyle=":"))
            labels.append(section.reference["name"])
        figure.legend(handles, labels, loc="outside lower center", ncols=3 if columns == 1 else 4, fontsize=8)
    figure.draw_without_rendering()  # names are placed where the points are in the end
    for axes, points in names.items():
        place_names(axes, points, fontsize=8)
    save_figure(figure, file)


def _heading(
    question: str, answer: str, section: SectionRecord, width: float, bars: bool, bands: bool
) -> list[tuple[str, dict[str, Any]]]:
    """Return question, answer, and what was compared, in lines that fit the width, each with the style of its text.

    `bars` and `bands` say whether a panel has error bars, or the bands of learning curves.
    """
    counts = sorted({group.n for group in section.groups})
    about = f"{section.title}; n = {counts[0]}" + (f" to {counts[-1]}" if counts[1:] else "")
    about += "; bars are 95 % intervals" if bars else ""
    about += "; bands reach from the lowest to the highest run" if bands and counts[-1] > 1 else ""
    return [
        (textwrap.fill(question, int(BOLD_LETTERS * width)), {"weight": "bold", "size": 10.5}),
        (textwrap.fill(answer, int(LETTERS * width)), {"size": 10}),
        (textwrap.fill(about, int(LETTERS * width)), {"size": 9, "color": SOFT}),
    ]


def _draw_panel(axes: Axes, panel: str, record: ComparisonRecord, section: SectionRecord) -> Names:
    """Draw a panel; return the names of its points, which have no place yet."""
    if "/" in panel:
        _curves(axes, panel, record, section)
        return []
    if panel == "accuracy":
        _accuracies(axes, section)
        return []
    places = [group.place if panel == "axis" else getattr(group, panel) for group in section.groups]
    axes.set_ylabel(f"{section.figure_words}, %")
    axes.set_xlabel(str(record.axis) if panel == "axis" else COSTS[panel])
    names = _scatter(axes, section.groups, places)
    _scale(axes, [place for place in places if place is not None], panel != "axis")
    return names


def _accuracies(axes: Axes, section: SectionRecord) -> None:
    """Draw a row for each group: every run, their mean and its interval."""
    groups = section.groups
    for place, group in enumerate(groups):
        runs, mean, colour = [100 * run[group.figure] for run in group.runs], 100 * group.mean, group_colour(place)
        if len(runs) > 1:
            axes.plot(runs, [place] * len(runs), "|", color=colour, alpha=0.6, markersize=12)
        axes.errorbar(mean, place, xerr=_bar(group), fmt="o", color=colour, capsize=3)
        text = {"xytext": (0, 7), "textcoords": "offset points", "ha": "center", "fontsize": 8}
        axes.annotate(f"{mean:.2f}", (mean, place), **text)
    axes.set_yticks(range(len(groups)), [_with_n(group) for group in groups], fontsize=9)
    axes.set_ylim(len(groups) - 0.4, -0.6)
    axes.margins(x=0.12)
    axes.set_xlabel(f"{section.figure_words}, %: every run, mean, 95 % interval")


def _scatter(axes: Axes, groups: Sequence[GroupRecord], places: Sequence[float | None]) -> Names:
    """Draw accuracy against a number, and return the points with names; a line joins groups of the same line."""
    points = [(x, 100 * group.mean, group) for x, group in zip(places, groups, strict=True) if x is not None]
    lines = list(dict.fromkeys(group.line for group in groups if group.line))
    for number, line in enumerate(lines):
        members = sorted((x, y) for x, y, group in points if group.line == line)
        xs, ys = zip(*members, strict=True) if members else ((), ())
        axes.plot(xs, ys, LINE_STYLES[number % len(LINE_STYLES)], color=SOFT, linewidth=1, zorder=1, label=line)
    for x, y, group in points:
        colour = group_colour([g.label for g in groups].index(group.label))
        axes.errorbar(x, y, yerr=_bar(group), fmt="o", color=colour, capsize=3)
    if lines:
        axes.legend(fontsize=8)
    axes.margins(x=0.2, y=0.15)
    axes.set_ylim(top=min(axes.get_ylim()[1], 101))  # an interval over two seeds may reach beyond 100
    sizes = {group.label: [side[0] for side in error_bars([group])] for group in groups}
    return [(g.label, x, y, y - sizes[g.label][0], y + sizes[g.label][1]) for x, y, g in points]


def place_names(axes: Axes, points: Names, **style: Any) -> dict[str, Text]:
    """Write each name beside its point where it lies on no point, error bar or other name, if there is such a place.

    The axes must have their final limits and their place in the figure. Returns the texts that were written.
    """
    pixels = [axes.transData.transform([(x, y), (x, low), (x, high)]) for _, x, y, low, high in points]
    taken = [Bbox.from_extents(x - 3, low, x + 3, high) for ((x, _), (_, low), (_, high)) in pixels]
    places = [place for place, *_ in pixels]
    for line in axes.lines:  # those that join points count as many points
        corners = axes.transData.transform(line.get_xydata()) if line.get_linestyle() != "None" else ()
        places += [start + part * (end - start) for start, end in pairwise(corners) for part in np.linspace(0, 1, 40)]
    taken += [Bbox.from_extents(x - 4, y - 4, x + 4, y + 4) for x, y in places]
    written: dict[str, Text] = {}
    for name, x, y, *_ in points:
        for side, right, up in NAME_PLACES:
            where: dict[str, Any] = {"textcoords": "offset points", "ha": side, "va": "center", "zorder": 5}
            text = axes.annotate(name, (x, y), (right, up), **where, **style)
            box = text.get_window_extent()
            if axes.bbox.containsx(box.x0) and axes.bbox.containsx(box.x1) and not box.count_overlaps(taken):
                taken.append(box)
                written[name] = text
                break
            text.remove()
    return written


def _scale(axes: Axes, values: Sequence[float], cost: bool) -> None:
    if cost and values and min(values) > 0 and max(values) > WIDE_RANGE * min(values):
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
    """Put the ticks of the x-axis at the values if they are far enough apart, else at round integers."""
    places = sorted(set(values))
    gaps = [after - before for before, after in pairwise(places)]
    if gaps and min(gaps) >= (places[-1] - places[0]) / MAX_TICKS:
        axes.set_xticks(places)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _curves(axes: Axes, panel: str, record: ComparisonRecord, section: SectionRecord) -> None:
    """Draw a metric over the epochs, with the value that is to be reached."""
    scaled = draw_metric(axes, section, section.groups, panel)
    metric = panel.replace("error", "accuracy")
    if record.reach and record.reach["metric"] == metric:
        value = float(scaled([record.reach["value"]])[0])
        axes.axhline(value, color=SOFT, linestyle="--", linewidth=0.9)
        axes.annotate(
            f"{value:g}{' %' if metric.endswith('accuracy') else ''}", (1, value), xycoords=axes.get_yaxis_transform(),
            xytext=(0, 3), textcoords="offset points", ha="right", fontsize=8,
        )  # fmt: skip


def _bar(group: GroupRecord) -> list[list[float]] | None:
    return None if group.low is None else error_bars([group])


def _with_n(group: GroupRecord) -> str:
    return f"{group.label} (n = {group.n})"


def group_colour(place: int) -> str:
    """Return the colour of the group at this place of a section."""
    return COLOURS[place % len(COLOURS)]


def line_style(group: GroupRecord, groups: Sequence[GroupRecord]) -> Any:
    """Return the line style of a group; groups on the same line of an axis share it."""
    lines = list(dict.fromkeys(other.line for other in groups if other.line))
    return LINE_STYLES[lines.index(group.line) % len(LINE_STYLES)] if group.line else "-"


def draw_metric(axes: Axes, section: SectionRecord, groups: Sequence[GroupRecord], metric: str) -> Callable[[Any], Any]:
    """Draw a metric over the epochs: mean of the runs with lowest and highest, and the published curve if there is one.

    The metric is a column of metrics.csv; or `train/error` or `val/error`, which is 100 % minus the accuracy. Returns a
    function that scales values of the metric to those that are drawn.
    """
    is_error, column = metric.endswith("error"), metric.replace("error", "accuracy")
    in_percent = not column.endswith("loss")

    def scaled(values: Any) -> np.ndarray:
        numbers = np.array(values, dtype=float) * (100 if in_percent else 1)
        return 100 - numbers if is_error else numbers

    for place, group in enumerate(groups):
        mean, low, high = (scaled(group.curve[column][name]) for name in ("mean", "low", "high"))
        known = ~np.isnan(mean)
        epochs = np.array(group.curve["epoch"], dtype=float)[known]
        style = {"color": group_colour(place), "linestyle": line_style(group, groups)}
        axes.plot(epochs, mean[known], label=group.label, marker="." if len(epochs) < 4 else "", **style)
        axes.fill_between(epochs, low[known], high[known], color=style["color"], alpha=0.18, linewidth=0)
    reference = section.reference
    if reference and reference["metric"] == column:
        axes.plot(reference["epochs"], scaled(reference["values"]), "x:", color=INK, label=reference["name"])
    if not in_percent and axes.dataLim.y1 > 0:  # damaged records may hold no loss
        axes.set_yscale("log")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epoch")
    words = metric_words(column, section.protocol)
    axes.set_ylabel((words.replace("accuracy", "error") if is_error else words) + (", %" if in_percent else ""))
    axes.grid(True)
    return scaled


def error_bars(groups: Sequence[GroupRecord]) -> list[list[float]]:
    """Return how far the intervals reach below and above the means, in percentage points; 0 if there is none."""
    below = [0.0 if group.low is None else 100 * (group.mean - group.low) for group in groups]
    above = [0.0 if group.high is None else 100 * (group.high - group.mean) for group in groups]
    return [below, above]
