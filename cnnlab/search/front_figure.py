"""Draw the trials of a study by several figures, such as accuracy against MACs, with the Pareto front."""

from collections.abc import Iterable, Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cnnlab.search.score import SCORES, Score
from cnnlab.search.terminal import describe_counts
from cnnlab.style import SOFT

Record = Mapping[str, Any]  # content of tune.json
TITLE: Any = {"x": 0.01, "ha": "left", "weight": "bold"}


def draw_front(record: Record) -> Figure:
    """Draw the first figure that ranks the trials against each of the others, with the Pareto front."""
    first, *others = [SCORES[name] for name in record["objective"]]
    figure = Figure(figsize=(max(6.0, 4.6 * len(others)), 4.6), layout="constrained")
    panels = figure.subplots(1, len(others), squeeze=False, sharey=True)[0]
    for axes, other in zip(panels, others, strict=True):
        _draw_trade(axes, record, first, other)
        if len(others) == 1:  # with three figures or more the front is no line
            x, y = _points(record, record["front"], other, first)
            axes.plot(x, y, color="C1", lw=1, zorder=0)
    panels[0].set_ylabel(first.axis)
    front = f"{len(record['front'])} of {record['counts']['completed']} completed trials are on the Pareto front"
    figure.suptitle(f"{record['name']}: {front}", **TITLE)
    panels[0].set_title(describe_trials(record), color=SOFT)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


def _draw_trade(axes: Axes, record: Record, first: Score, other: Score) -> None:
    """Draw the completed trials by two figures, with their spreads; number those of the front."""
    front, baseline = record["front"], record["baseline"]
    completed = [trial["number"] for trial in record["trials"] if trial["state"] == "completed"]
    rest = [number for number in completed if number not in front]
    for numbers, colour, label in ((rest, SOFT, "other trials"), (front, "C1", "on the Pareto front")):
        x, y = _points(record, numbers, other, first)
        x_spread, y_spread = (
            [score.factor * record["trials"][number]["spread"].get(score.objective, 0.0) for number in numbers]
            for score in (other, first)
        )
        axes.errorbar(x, y, y_spread, x_spread, fmt="o", color=colour, elinewidth=0.8, label=label, zorder=2)
    names: dict[tuple[float, float], list[str]] = {}  # of the trials at a point
    for number, x, y in zip(front, *_points(record, front, other, first), strict=True):
        names.setdefault((x, y), []).append(f"{number:03}")
    for point, numbers in names.items():
        axes.annotate(", ".join(numbers), point, xytext=(5, -10), textcoords="offset points", fontsize=8)
    if baseline in completed:
        x, y = _points(record, [baseline], other, first)
        axes.scatter(x, y, s=130, facecolors="none", edgecolors="C0", lw=1.8, zorder=4, label="as given")
    values, _ = _points(record, completed, other, first)
    if other.factor != 100 and min(values) > 0 and max(values) > 20 * min(values):
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel(other.axis)
    axes.grid(True)


def _points(record: Record, numbers: Iterable[int], *scores: Score) -> list[list[float]]:
    """Return figures of trials for the axes, a list for each figure."""
    chosen = [record["trials"][number]["values"] for number in numbers]
    return [[score.factor * values[score.objective] for values in chosen] for score in scores]


def describe_trials(record: Record) -> str:
    """Return the number of trials in each state, and of how many seeds their values are."""
    seeds = len(record["seeds"])
    several = f"; means of {seeds} seeds with their standard deviation" if seeds > 1 else ""
    return f"{describe_counts(record)} trials{several}"
