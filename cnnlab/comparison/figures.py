"""Draw a comparison: learning curves, accuracy against cost, differences, classes, confusions, images."""

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import EngFormatter, MaxNLocator

from cnnlab.comparison.columns import COSTS
from cnnlab.comparison.records import GroupRecord, SectionRecord
from cnnlab.comparison.tables import metric_words
from cnnlab.display import cut, save_figure
from cnnlab.style import COLOURS, INK, SOFT, styled

Reader = Callable[[Sequence[int]], np.ndarray]  # returns the pixels of test images, uint8 (N, H, W, 3)

MAX_CURVES = 10  # groups with a curve in one figure
MAX_ROWS = 20  # groups in a list or heat map
NAMED_POINTS = 12  # groups with a name in a scatter plot
LABEL_WIDTH = 44  # characters of a group's label on one line
WIDE_RANGE = 3  # ratio of the largest to the smallest cost above which a logarithmic axis is easier to read
LINE_STYLES = ("-", "--", ":", "-.")


@styled
def draw_comparison(section: SectionRecord, folder: Path, prefix: str, read: Reader | None) -> dict[str, str]:
    """Draw the figures of a section into PNG files; return the files' names by the figures' titles."""
    section = _wrap_names(section)
    figures = {
        "learning curves": ("curves", _curves(section)),
        "accuracy against cost": ("cost", _costs(section)),
        "differences to the best": ("differences", _differences(section)),
        "accuracy by number of training images": ("training_images", _by_images(section)),
        "accuracy by class": ("classes", _by_class(section)),
        "difference of the confusions": ("confusion", _confusion(section)),
        "images that only one of the two classifies correctly": ("images", _images(section, read) if read else None),
    }
    files = {}
    for title, (name, figure) in figures.items():
        if figure is not None:
            files[title] = f"{prefix}{name}.png"
            save_figure(figure, folder / files[title])
    return files


def _wrap_names(section: SectionRecord) -> SectionRecord:
    """Return the section with labels in lines of `LABEL_WIDTH` characters, five at most, and names of classes cut."""

    def wrap(name: str) -> str:
        return textwrap.fill(name, LABEL_WIDTH, max_lines=5, placeholder=" ...")

    groups = [replace(group, label=wrap(group.label)) for group in section.groups]
    pairs = [replace(pair, a=wrap(pair.a), b=wrap(pair.b)) for pair in section.pairs]
    return replace(section, groups=groups, pairs=pairs, classes=[cut(name) for name in section.classes])


def _row_height(names: Sequence[str]) -> float:
    """Return the inches of a row that is labelled by one of these names."""
    return 0.2 + 0.13 * max(name.count("\n") + 1 for name in names)


# --- shared with the figure of a result ------------------------------------------------------------------------------


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
    axes.grid()
    return scaled


def name_point(axes: Axes, name: str, point: tuple[float, float], **style: Any) -> None:
    """Write a name beside a point, legible if it crosses the error bar of another one.

    `style` has `xytext`, the distance from the point in typographic points, and other arguments of `Axes.annotate`.
    """
    halo = [withStroke(linewidth=2.5, foreground="white")]
    axes.annotate(name, point, textcoords="offset points", path_effects=halo, **style)


def error_bars(groups: Sequence[GroupRecord]) -> list[list[float]]:
    """Return how far the intervals reach below and above the means, in percentage points; 0 if there is none."""
    below = [0.0 if group.low is None else 100 * (group.mean - group.low) for group in groups]
    above = [0.0 if group.high is None else 100 * (group.high - group.mean) for group in groups]
    return [below, above]


# --- the figures -----------------------------------------------------------------------------------------------------


def _curves(section: SectionRecord) -> Figure | None:
    groups = [group for group in section.groups if group.curve["epoch"]][:MAX_CURVES]
    if not groups:
        return None
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    draw_metric(left, section, groups, f"val/{section.figure.partition('_')[2]}")
    draw_metric(right, section, groups, "val/loss")
    fewer = f"; the best {len(groups)} groups" if len(groups) < len(section.groups) else ""
    figure.suptitle(f"mean, lowest and highest over the runs{fewer}", fontsize=9)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8)
    return figure


def _costs(section: SectionRecord) -> Figure:
    figure = Figure(figsize=(4 * len(COSTS), 4.2), layout="constrained")
    for axes, (cost, label) in zip(figure.subplots(1, len(COSTS), sharey=True), COSTS.items(), strict=True):
        known = [(getattr(group, cost), group) for group in section.groups if getattr(group, cost) is not None]
        front = sorted(((x, group) for x, group in known if cost in group.front), key=lambda point: point[0])
        axes.plot([x for x, _ in front], [100 * g.mean for _, g in front], color=SOFT, linewidth=1, zorder=1)
        others = [(x, group) for x, group in known if cost not in group.front]
        for points, style in ((front, {"color": "C0", "fmt": "o"}), (others, {"color": SOFT, "fmt": "s"})):
            x, y = [x for x, _ in points], [100 * group.mean for _, group in points]
            sizes = error_bars([group for _, group in points])
            bars = axes.errorbar(x, y, yerr=sizes, linewidth=0.8, linestyle="", markersize=5, **style)
            bars.lines[0].set_zorder(4)  # the points themselves, above names
        for x, group in known[:NAMED_POINTS]:
            name_point(axes, group.label, (x, 100 * group.mean), xytext=(5, 4), fontsize=7)
        costs = [x for x, _ in known]
        if costs and max(costs) > WIDE_RANGE * min(costs):
            axes.set_xscale("log")
        else:
            axes.xaxis.set_major_formatter(EngFormatter())
        if costs:
            axes.margins(x=0.25)
        axes.set_xlabel(label)
        axes.grid()
    figure.axes[0].set_ylabel(f"{section.figure_words}, %")
    figure.suptitle(
        "with 95 % intervals; blue circles: Pareto front, no other group is more accurate and as cheap", fontsize=9
    )
    return figure


def _differences(section: SectionRecord) -> Figure | None:
    best = section.groups[0].label
    pairs = [pair for pair in section.pairs if pair.a == best and pair.low is not None][:MAX_ROWS]
    if not pairs:
        return None
    figure = Figure(figsize=(9, 1.5 + len(pairs) * _row_height([pair.b for pair in pairs])), layout="constrained")
    axes = figure.subplots()
    for place, pair in enumerate(pairs):
        colour = "C0" if "joint" in pair.significant else "C1" if pair.significant else SOFT
        bounds = [100 * bound for bound in (pair.low, pair.high) if bound is not None]
        axes.plot(bounds, [place, place], color=colour, linewidth=2)
        axes.plot(100 * pair.difference, place, "o", color=colour, label=pair.verdict)
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_yticks(range(len(pairs)), [pair.b for pair in pairs], fontsize=8)
    axes.set_ylim(len(pairs) - 0.4, -0.6)
    axes.set_xlabel(f"{section.figure_words}: {best} minus the other group, in percentage points, with 95 % intervals")
    axes.grid(axis="x")
    once = {label: handle for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(list(once.values()), list(once), loc="outside lower center", ncols=2, fontsize=8)
    return figure


def _by_images(section: SectionRecord) -> Figure | None:
    curves = section.by_images[:MAX_CURVES]
    if not curves:
        return None
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for place, curve in enumerate(curves):
        images, means, lows, highs = (np.array(values, dtype=float) for values in zip(*curve.curve, strict=True))
        colour, most = group_colour(place), max(curve.images)
        limit = f" + {curve.law['c']:.3g}" if curve.law["c"] else ""
        law = f"1 - ({curve.law['a']:.3g} n^-{curve.law['b']:.3g}{limit})"
        axes.plot(curve.images, 100 * np.array(curve.accuracies), "o", color=colour, markersize=4)
        axes.plot(images, 100 * means, color=colour, label=f"{curve.label}: {law}")
        axes.fill_between(images, 100 * lows, 100 * highs, color=colour, alpha=0.18, linewidth=0)
        axes.axvline(most, color=colour, ls=":", lw=0.8)  # beyond it, nothing was measured
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(EngFormatter())
    points = [100 * accuracy for curve in curves for accuracy in (*curve.accuracies, *(p[1] for p in curve.curve))]
    margin = 0.1 * (max(points) - min(points)) + 1
    axes.set_ylim(max(0, min(points) - margin), min(101, max(points) + margin))
    axes.set(xlabel="training images, up to twice as many as were tried", ylabel=f"{section.figure_words}, %")
    axes.grid()
    figure.suptitle("runs, and the power law fitted to them with its 95 % interval", fontsize=9)
    figure.legend(loc="outside lower center", ncols=1, fontsize=8)
    return figure


def _by_class(section: SectionRecord) -> Figure | None:
    groups = [group for group in section.groups if group.per_class][:MAX_ROWS]
    if not groups:
        return None
    values = 100 * np.array([group.per_class for group in groups])
    names = [group.label for group in groups]
    figure = Figure(figsize=(2.5 + 0.8 * values.shape[1], 1.4 + len(groups) * _row_height(names)), layout="constrained")
    image = figure.subplots().imshow(values, aspect="auto", cmap="viridis")
    _write_cells(image.axes, values, "{:.1f}", values < values.min() + 0.6 * (values.max() - values.min()))
    _name_cells(image.axes, names, section.classes)
    figure.colorbar(image, label="accuracy, %")
    return figure


def _confusion(section: SectionRecord) -> Figure | None:
    if len(section.groups) < 2 or not all(group.confusion for group in section.groups[:2]):
        return None
    first, second = section.groups[:2]
    difference = np.array(first.confusion) - np.array(second.confusion)
    classes = len(difference)
    figure = Figure(figsize=(3 + 0.55 * classes, 2.4 + 0.5 * classes), layout="constrained")
    limit = max(np.abs(difference).max(), 1e-9)
    image = figure.subplots().imshow(difference, cmap="RdBu", vmin=-limit, vmax=limit)
    if classes <= 20:
        shown = np.where(difference, difference, np.nan)
        _write_cells(image.axes, shown, "{:+.1f}", np.abs(difference) > 0.6 * limit)
    _name_cells(image.axes, section.classes, section.classes)
    image.axes.set(xlabel="predicted", ylabel="true")
    image.axes.set_title(f"images: {first.label}\nminus {second.label}", fontsize=9)
    figure.colorbar(image, shrink=0.8)
    return figure


def _name_cells(axes: Axes, rows: Sequence[str], columns: Sequence[str]) -> None:
    axes.set_yticks(range(len(rows)), rows, fontsize=8)
    axes.set_xticks(range(len(columns)), columns, rotation=45, ha="right", fontsize=8)


def _write_cells(axes: Axes, values: np.ndarray, form: str, is_dark: np.ndarray) -> None:
    for place, value in np.ndenumerate(values):
        if not np.isnan(value):
            colour = "white" if is_dark[place] else "black"
            axes.text(place[1], place[0], form.format(value), ha="center", va="center", fontsize=7, color=colour)


def _images(section: SectionRecord, read: Reader) -> Figure | None:
    """Draw two rows of images for the best two groups: those that only one of them classifies correctly."""
    if not section.pairs:
        return None
    pair, names = section.pairs[0], section.classes
    columns = max(len(pair.only_a_images), len(pair.only_b_images))
    if not columns:
        return None
    figure = Figure(figsize=(max(6, 1.15 * columns), 4.2), layout="constrained")
    upper, lower = figure.subfigures(2, 1)  # pyright: ignore[reportGeneralTypeIssues]
    for part, (right, wrong, count, images) in zip((upper, lower), pair.sides, strict=True):
        part.suptitle(f"{right} correct, {wrong} wrong: {count:,} images", fontsize=9)
        pixels = read([entry["image"] for entry in images]) if images else []
        for axes, entry, picture in zip(part.subplots(1, columns, squeeze=False)[0], images, pixels, strict=False):
            axes.imshow(picture, interpolation="nearest")
            axes.set_title(f"{names[entry['true']]}\nnot {names[entry['instead']]}", fontsize=7)
            axes.set_xlabel(f"no. {entry['image']}", fontsize=6)
        for axes in part.axes:
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[:].set_visible(False)
    return figure
