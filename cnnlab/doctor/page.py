"""Show what the doctor found on a page that needs no other file, with the curves that the evidence lies in."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import LogLocator, MaxNLocator

from cnnlab.style import templates

PANELS = {  # title: columns of metrics.csv
    "loss": ("train/loss", "val/loss"),
    "accuracy": ("train/accuracy", "val/accuracy"),
    "learning rate": ("lr",),
}
NAMES = {"train": "training images", "val": "validation images", "lr": "learning rate"}
WIDTH, HEIGHT = 640.0, 230.0  # of a drawing
LEFT, RIGHT, TOP, BOTTOM = 52.0, 10.0, 10.0, 24.0  # margins
STEEP = 50  # largest by smallest value from which on the axis of a loss is logarithmic
FEW = 12  # epochs that are drawn as points


@dataclass(frozen=True)
class Line:
    """A curve: polylines between its gaps, and points if it has few epochs. Places are x,y in the drawing."""

    name: str
    parts: list[str]
    points: list[tuple[float, float]]


@dataclass(frozen=True)
class Panel:
    """A drawing of curves over the epochs."""

    title: str
    lines: list[Line]
    rows: list[tuple[float, str]]  # y and text of the ticks
    columns: list[tuple[float, str]]  # x and text of the ticks
    mark: tuple[float, float] | None  # x and width of the epochs to look at


def render_page(record: Mapping[str, Any], curves: Mapping[str, np.ndarray]) -> str:
    """Return the page as HTML.

    Args:
        record: content of `doctor.json`.
        curves: columns of metrics.csv, a value per epoch; NaN leaves a gap.
    """
    marked = []
    for finding in record["findings"]:
        where = finding["where"]
        titles = [title for title, columns in PANELS.items() if where and where["curve"] in columns]
        marked.append(draw(titles[0], curves, (where["first"], where["last"])) if titles else None)
    panels = [panel for title in PANELS if (panel := draw(title, curves))]
    template = templates(Path(__file__).parent).get_template("doctor.html")
    sizes = {"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": RIGHT, "top": TOP, "bottom": BOTTOM}
    return template.render(record=record, marked=marked, panels=panels, **sizes)


def draw(title: str, curves: Mapping[str, np.ndarray], mark: tuple[float, float] | None = None) -> Panel | None:
    """Return the drawing of a panel, with marked epochs; None if it has no value."""
    shown = {name: curves[name] for name in PANELS[title] if name in curves and np.isfinite(curves[name]).any()}
    if not shown:
        return None
    length = max(map(len, shown.values()))
    epochs = curves.get("epoch", np.arange(1.0, length + 1))
    values = np.concatenate(list(shown.values()))
    values = values[np.isfinite(values)]
    low, high = float(values.min()), float(values.max())
    steep = title == "loss" and low > 0 and high / low > STEEP
    if steep:
        ticks = LogLocator(numticks=5).tick_values(low, high)
    else:
        ticks = MaxNLocator(4, steps=[1, 2, 5, 10]).tick_values(low, high)
        low, high = float(ticks[0]), float(ticks[-1])
    first, last = float(np.nanmin(epochs)), float(np.nanmax(epochs))

    def x(epoch: Any) -> Any:
        share = (np.asarray(epoch) - first) / (last - first) if last > first else np.asarray(epoch) * 0 + 0.5
        return np.round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def y(value: Any) -> Any:
        scale = np.log if steep else np.asarray
        share = (scale(value) - scale(low)) / ((scale(high) - scale(low)) or 1.0)
        return np.round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)

    def line(name: str, column: np.ndarray) -> Line:
        known = np.isfinite(column)
        places = list(zip(x(epochs), y(np.where(known, column, low)), strict=True))
        runs = np.split(np.arange(len(column)), np.flatnonzero(~known))
        parts = [" ".join("{:g},{:g}".format(*places[n]) for n in run if known[n]) for run in runs]
        points = [places[n] for n in np.flatnonzero(known)] if length <= FEW else []
        return Line(NAMES[name.partition("/")[0]], [part for part in parts if part], points)

    edges = None
    if mark:
        left, right = x(max(mark[0] - 0.5, first)), x(min(mark[1] + 0.5, last))
        edges = (float(left), float(max(right - left, 8.0)))
    return Panel(
        title,
        [line(name, column) for name, column in shown.items()],
        [(float(y(tick)), _text(title, tick)) for tick in ticks if low <= tick <= high],
        [
            (float(x(tick)), f"{tick:g}")
            for tick in MaxNLocator(8, integer=True).tick_values(first, last)
            if first <= tick <= last
        ],
        edges,
    )


def _text(title: str, value: float) -> str:
    return f"{100 * value:.3g} %" if title == "accuracy" else f"{value:.3g}"
