"""Draw the trials of a study, the importance of its hyperparameters, and a slice for each of them.

Optuna's own plots leave out pruned and failed trials, and put all slices into one row, where their names overlap.
"""

from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, PercentFormatter

from cnnlab.display import save_figure
from cnnlab.search.front_figure import TITLE, describe_trials, draw_front
from cnnlab.search.score import SCORES
from cnnlab.search.terminal import describe_counts
from cnnlab.style import INK, SOFT, styled

Record = Mapping[str, Any]  # content of tune.json
SLICES_PER_ROW = 3


@styled
def draw_study(record: Record, folder: Path) -> None:
    """Draw the figures of a record with completed trials; the importance if it is known.

    With several figures that rank the trials this is front.png, else history.png, importance.png and slices.png.
    """
    if record["front"]:
        save_figure(draw_front(record), folder / "front.png")
        return
    save_figure(draw_history(record), folder / "history.png")
    save_figure(draw_slices(record), folder / "slices.png")
    if record["importance"]:
        save_figure(draw_importance(record), folder / "importance.png")


def draw_history(record: Record) -> Figure:
    """Draw the value of every trial in their order, and the best value so far."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for state, marker, colour in (("pruned", "x", SOFT), ("completed", "o", "C0")):
        if trials := _in_state(record, state):
            numbers, values = [trial["number"] for trial in trials], [trial["value"] for trial in trials]
            spreads = [spread for trial in trials for spread in trial["spread"].values()]
            axes.errorbar(numbers, values, spreads or None, fmt=marker, color=colour, label=state, elinewidth=0.8)
    completed, score, chosen = _in_state(record, "completed"), SCORES[record["objective"][0]], record["best"]
    best = list(accumulate((trial["value"] for trial in completed), min if score.lower_is_better else max))
    numbers = [trial["number"] for trial in completed] + [record["trials"][-1]["number"]]
    axes.step(numbers, [*best, best[-1]], where="post", color="C1", label="best so far", zorder=0)
    for place, trial in enumerate(_in_state(record, "failed")):
        axes.axvline(trial["number"], color="C3", ls=":", lw=1, label=None if place else "failed")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("trial")
    _label_value(axes, record)
    figure.suptitle(f"{record['name']}: trial {chosen['number']} is best, {score.name} {score.of(chosen)}", **TITLE)
    axes.set_title(describe_trials(record), color=SOFT)
    figure.legend(loc="outside lower center", ncols=4)
    return figure


def draw_importance(record: Record) -> Figure:
    """Draw the share of the value's variance that each entry of the space explains by itself."""
    importance = record["importance"]
    figure = Figure(figsize=(8, 1.5 + 0.45 * len(importance)), layout="constrained")
    axes = figure.subplots()
    bars = axes.barh(list(importance), list(importance.values()), height=0.6)
    axes.bar_label(bars, [f"{share:.0%}" for share in importance.values()], padding=4)
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.xaxis.set_major_formatter(PercentFormatter(1, 0))
    axes.set_xlabel(f"share of the variance in {SCORES[record['objective'][0]].name} over the whole search range")
    axes.grid(axis="x")
    first = max(importance, key=importance.get)
    figure.suptitle(f"{record['name']}: {first} matters most", **TITLE)
    axes.set_title(f"importance of the hyperparameters by fANOVA, {describe_counts(record)} trials", color=SOFT)
    return figure


def draw_slices(record: Record) -> Figure:
    """Draw the value of the trials against each entry of the space, later trials darker."""
    used = [entry for entry in record["space"] if any(entry["name"] in t["params"] for t in record["trials"])]
    columns = min(SLICES_PER_ROW, len(used))
    rows = -(-len(used) // columns)
    figure = Figure(figsize=(max(6.0, 3.6 * columns), 0.9 + 2.9 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for axes in panels.flat[len(used) :]:
        axes.remove()
    for axes, entry in zip(panels.flat, used, strict=False):
        _draw_slice(axes, record, entry)
    for row in panels:
        _label_value(row[0], record)
    about = f"{describe_counts(record)} trials; the best is ringed, later ones are darker, pruned ones grey"
    figure.suptitle(f"{record['name']}: {about}", **TITLE)
    return figure


def _draw_slice(axes: Axes, record: Record, entry: Record) -> None:
    name = entry["name"]
    choices = [_label(value) for value in entry["values"]] if entry["kind"] == "choice" else None

    def position(trial: Record) -> float:
        value = trial["params"][name]
        return choices.index(_label(value)) if choices else value

    last = record["trials"][-1]["number"]
    shades = {"cmap": "Blues", "vmin": -last / 2 - 1, "vmax": last, "edgecolors": INK, "lw": 0.5, "s": 32}
    for state in ("pruned", "completed"):
        trials = [trial for trial in _in_state(record, state) if name in trial["params"]]
        colours: dict[str, Any] = {"marker": "x", "color": SOFT, "s": 28}
        if state == "completed":
            colours = {"c": [trial["number"] for trial in trials], **shades}
        axes.scatter([position(trial) for trial in trials], [trial["value"] for trial in trials], **colours)
    best = record["best"]
    if name in best["params"]:
        axes.scatter([position(best)], [best["value"]], s=110, facecolors="none", edgecolors="C1", lw=1.8)
    low, high = (0, len(choices) - 1) if choices else entry["values"]
    if entry["log"]:
        axes.set_xscale("log")
        axes.set_xlim(low * (low / high) ** 0.05, high * (high / low) ** 0.05)
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high / low < 200 else (1.0,)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        margin = 0.5 if choices else 0.05 * (high - low)
        axes.set_xlim(low - margin, high + margin)
    if choices:
        axes.set_xticks(range(len(choices)), choices)
    axes.set_xlabel(name)
    axes.grid(True)


def _label(value: Any) -> str:
    """Return a choice as text, the same for a value of the space and for its stored form."""
    return f"[{','.join(map(str, value))}]" if isinstance(value, list | tuple) else str(value)


def _in_state(record: Record, state: str) -> list[Record]:
    """Return the trials in a state; of the completed and pruned ones, those with a value."""
    return [t for t in record["trials"] if t["state"] == state and (state == "failed" or t["value"] is not None)]


def _label_value(axes: Axes, record: Record) -> None:
    score = SCORES[record["objective"][0]]
    if not score.lower_is_better:
        axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_ylabel(score.name)
    axes.grid(True)
