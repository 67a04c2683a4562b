"""A comparison of runs as figures: learning curves, accuracy against cost, differences, classes, confusions, images."""

import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import EngFormatter, MaxNLocator

from cnnlab.comparison.tables import metric_words

Record = Mapping[str, Any]
Reader = Callable[[Sequence[int]], np.ndarray]

CURVES = 10  # groups whose curves one figure can hold
ROWS = 20  # groups that a list or heat map can hold
NAMED = 12  # groups that are named in a scatter plot
LABEL = 44  # characters of a group's name that stand on one line
COSTS = {"parameters": "parameters", "macs": "MACs of one image", "train_seconds": "seconds of training"}
COLOURS = mpl.colormaps["tab10"].colors  # pyright: ignore[reportAttributeAccessIssue]


def draw_comparison(section: Record, folder: Path, prefix: str, read: Reader | None) -> dict[str, str]:
    """Draws the figures of a section.

    Args:
        section: of the record of `cnnlab.comparison.compare.compare_runs`.
        folder: where the PNG files go.
        prefix: of their names.
        read: gives the pixels of test images, uint8 (N, H, W, 3); None where there are no images.

    Returns:
        The files' names by the figures' titles.
    """
    section = _wrap_names(section)
    figures = {
        "learning curves": ("curves", _curves(section)),
        "accuracy against cost": ("cost", _costs(section)),
        "differences to the best": ("differences", _differences(section)),
        "accuracy by class": ("classes", _by_class(section)),
        "difference of the confusions": ("confusion", _confusion(section)),
        "images that one gets right and the other wrong": ("images", _images(section, read) if read else None),
    }
    files = {}
    for title, (name, figure) in figures.items():
        if figure is not None:
            files[title] = f"{prefix}{name}.png"
            figure.savefig(folder / files[title], dpi=130)
    return files


def _wrap_names(section: Record) -> Record:
    """The section with names of groups that have lines of `LABEL` characters, and five at most."""

    def wrap(name: str) -> str:
        return textwrap.fill(name, LABEL, max_lines=5, placeholder=" ...")

    groups = [{**group, "label": wrap(group["label"])} for group in section["groups"]]
    pairs = [{**pair, "a": wrap(pair["a"]), "b": wrap(pair["b"])} for pair in section["pairs"]]
    return {**section, "groups": groups, "pairs": pairs}


def _row_height(names: Sequence[str]) -> float:
    """Inches of a row that is labelled by one of these names."""
    return 0.2 + 0.13 * max(name.count("\n") + 1 for name in names)


def _curves(section: Record) -> Figure | None:
    groups = [group for group in section["groups"] if group["curve"]["epoch"]][:CURVES]
    if not groups:
        return None
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, metric, scale, label in (
        (left, "val/accuracy", 100, f"{metric_words('val/accuracy', section['protocol'])}, %"),
        (right, "val/loss", 1, metric_words("val/loss", section["protocol"])),
    ):
        for group, colour in zip(groups, COLOURS, strict=False):
            curve, epochs = group["curve"], group["curve"]["epoch"]
            mean, low, high = (scale * np.array(curve[metric][name], dtype=float) for name in ("mean", "low", "high"))
            known = ~np.isnan(mean)
            places = np.array(epochs)[known]
            axes.plot(places, mean[known], color=colour, label=group["label"], marker="." if len(places) < 3 else "")
            axes.fill_between(places, low[known], high[known], color=colour, alpha=0.18, linewidth=0)
        reference = section["reference"]
        if reference and reference["metric"] == metric:
            values = scale * np.array(reference["values"])
            axes.plot(reference["epochs"], values, "x:", color="black", label=reference["name"])
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
    right.set_yscale("log")
    more = len(section["groups"]) - len(groups)
    title = "mean over the seeds, with lowest and highest" + (f"; the best {len(groups)} groups" if more > 0 else "")
    figure.suptitle(title, fontsize=9)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8)
    return figure


def _costs(section: Record) -> Figure:
    figure = Figure(figsize=(12, 4.2), layout="constrained")
    for axes, (cost, label) in zip(figure.subplots(1, 3, sharey=True), COSTS.items(), strict=True):
        known = [group for group in section["groups"] if group[cost] is not None]
        front = sorted((group for group in known if cost in group["front"]), key=lambda group: group[cost])
        axes.plot([g[cost] for g in front], [100 * g["mean"] for g in front], color="0.6", linewidth=1, zorder=1)
        others = [group for group in known if cost not in group["front"]]
        for members, style in ((front, {"color": "tab:blue", "fmt": "o"}), (others, {"color": "0.55", "fmt": "s"})):
            x, y = [group[cost] for group in members], [100 * group["mean"] for group in members]
            bars = axes.errorbar(x, y, yerr=_bars(members), linewidth=0.8, linestyle="", markersize=5, **style)
            bars.lines[0].set_zorder(4)  # the points themselves, above names
        for group in known[:NAMED]:
            name_point(axes, group["label"], (group[cost], 100 * group["mean"]), xytext=(5, 4), fontsize=7)
        if known and max(group[cost] for group in known) > 3 * min(group[cost] for group in known):
            axes.set_xscale("log")
        else:
            axes.xaxis.set_major_formatter(EngFormatter())
        if known:
            axes.margins(x=0.25)
        axes.set_xlabel(label)
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("test accuracy, %")
    figure.suptitle(
        "with 95 % intervals; round and blue: no other group is better and as cheap (Pareto front)", fontsize=9
    )
    return figure


def name_point(axes: Axes, name: str, point: tuple[float, float], **style: Any) -> None:
    """Writes a name beside a point, legible where it crosses the bar of another one.

    Args:
        style: `xytext`, the distance from the point in typographic points, and what else matplotlib's `annotate` takes.
    """
    halo = [withStroke(linewidth=2.5, foreground="white")]
    axes.annotate(name, point, textcoords="offset points", path_effects=halo, **style)


def _bars(groups: Sequence[Record]) -> list[list[float]]:
    """How far the intervals reach below and above; nothing where there is none."""
    below = [100 * (group["mean"] - group["low"]) if group["low"] is not None else 0.0 for group in groups]
    above = [100 * (group["high"] - group["mean"]) if group["low"] is not None else 0.0 for group in groups]
    return [below, above]


def _differences(section: Record) -> Figure | None:
    best = section["groups"][0]["label"]
    pairs = [pair for pair in section["pairs"] if pair["a"] == best and pair["low"] is not None][:ROWS]
    if not pairs:
        return None
    figure = Figure(figsize=(9, 1.5 + len(pairs) * _row_height([pair["b"] for pair in pairs])), layout="constrained")
    axes = figure.subplots()
    for place, pair in enumerate(pairs):
        colour = (
            "tab:blue" if pair["verdict"] == "better" else "tab:orange" if pair["verdict"].startswith("b") else "0.5"
        )
        axes.plot([100 * pair["low"], 100 * pair["high"]], [place, place], color=colour, linewidth=2)
        axes.plot(100 * pair["difference"], place, "o", color=colour, label=pair["verdict"])
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(pairs)), [pair["b"] for pair in pairs], fontsize=8)
    axes.invert_yaxis()
    axes.set_ylim(len(pairs) - 0.4, -0.6)
    axes.set_xlabel(f"points of test accuracy that {best} is above, with 95 % intervals")
    axes.grid(axis="x", alpha=0.3)
    handles, labels = axes.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    figure.legend(list(once.values()), list(once), loc="outside lower center", ncols=3, fontsize=8)
    return figure


def _by_class(section: Record) -> Figure | None:
    groups = [group for group in section["groups"] if group["per_class"]][:ROWS]
    if not groups:
        return None
    values = 100 * np.array([group["per_class"] for group in groups])
    names = [group["label"] for group in groups]
    size = (2.5 + 0.8 * values.shape[1], 1.4 + len(groups) * _row_height(names))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(values, aspect="auto", cmap="viridis")
    _write_cells(axes, values, "{:.1f}", values.min() + 0.6 * (values.max() - values.min()))
    axes.set_yticks(range(len(groups)), names, fontsize=8)
    axes.set_xticks(range(values.shape[1]), section["classes"], rotation=45, ha="right", fontsize=8)
    figure.colorbar(image, label="accuracy, %")
    return figure


def _confusion(section: Record) -> Figure | None:
    first, second = (section["groups"] + [None, None])[:2]
    if not second or not first["confusion"] or not second["confusion"]:
        return None
    difference = np.array(first["confusion"]) - np.array(second["confusion"])
    classes = len(difference)
    figure = Figure(figsize=(3 + 0.55 * classes, 2.4 + 0.5 * classes), layout="constrained")
    axes = figure.subplots()
    limit = max(np.abs(difference).max(), 1e-9)
    image = axes.imshow(difference, cmap="RdBu", vmin=-limit, vmax=limit)
    if classes <= 20:
        _write_cells(axes, difference, "{:+.1f}", None)
    axes.set_xticks(range(classes), section["classes"], rotation=45, ha="right", fontsize=8)
    axes.set_yticks(range(classes), section["classes"], fontsize=8)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(f"images: {first['label']}\nless {second['label']}", fontsize=9)
    figure.colorbar(image, shrink=0.8)
    return figure


def _write_cells(axes: Axes, values: np.ndarray, form: str, dark_below: float | None) -> None:
    limit = np.abs(values).max()
    for (row, column), value in np.ndenumerate(values):
        if dark_below is not None:
            colour = "white" if value < dark_below else "black"
        else:
            colour = "white" if abs(value) > 0.6 * limit else "black"
        if dark_below is not None or value:
            axes.text(column, row, form.format(value), ha="center", va="center", fontsize=7, color=colour)


def _images(section: Record, read: Reader) -> Figure | None:
    """Two rows of images for the best two groups: those that one of them alone gets right."""
    if not section["pairs"]:
        return None
    pair, names = section["pairs"][0], section["classes"]
    columns = max(len(pair["only_a_images"]), len(pair["only_b_images"]))
    if not columns:
        return None
    figure = Figure(figsize=(max(6, 1.15 * columns), 4.2), layout="constrained")
    upper, lower = figure.subfigures(2, 1)  # pyright: ignore[reportGeneralTypeIssues]
    for part, side, right, wrong in ((upper, "only_a", "a", "b"), (lower, "only_b", "b", "a")):
        images = pair[f"{side}_images"]
        part.suptitle(f"{pair[right]} right, {pair[wrong]} wrong: {pair[side]:,} images", fontsize=9)
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
