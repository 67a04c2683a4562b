"""What a search has found, drawn: the trials in their order, the importance of each entry, and slices."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, PercentFormatter

from cnnlab.search.terminal import counted

Record = Mapping[str, Any]
COLUMNS = 3  # of slices
FIGURES = ("history.png", "importance.png", "slices.png")


def draw_study(record: Record, folder: Path) -> None:
    """Draws history.png and slices.png into a folder, and importance.png where it is known.

    Args:
        record: as tune.json holds it, with a best trial.
        folder: that exists.
    """
    draw_history(record).savefig(folder / FIGURES[0], dpi=150)
    if record["importance"]:
        draw_importance(record).savefig(folder / FIGURES[1], dpi=150)
    draw_slices(record).savefig(folder / FIGURES[2], dpi=150)


def draw_history(record: Record) -> Figure:
    """Every trial's val accuracy, in their order, and the best so far."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    completed, pruned = _of(record, "completed"), _of(record, "pruned")
    axes.plot(
        [t["number"] for t in pruned],
        [t["value"] for t in pruned],
        "x",
        color="0.55",
        label="pruned" if pruned else None,
    )
    axes.plot([t["number"] for t in completed], [t["value"] for t in completed], "o", label="completed")
    numbers, best = [], []
    for trial in completed:
        numbers.append(trial["number"])
        best.append(max([*best[-1:], trial["value"]]))
    last = max(trial["number"] for trial in record["trials"])
    axes.step([*numbers, last], [*best, best[-1]], where="post", color="tab:orange", label="best so far", zorder=0)
    for number, trial in enumerate(_of(record, "failed")):
        axes.axvline(trial["number"], color="tab:red", ls=":", lw=1, label="failed" if not number else None)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("trial")
    _as_accuracy(axes)
    axes.set_title(f"{record['name']}: {counted(record)}", fontsize=10, loc="left")
    figure.legend(loc="outside lower center", ncols=4, fontsize=8)
    return figure


def draw_importance(record: Record) -> Figure:
    """How much of the accuracy's variance over the searched range each entry explains by itself."""
    importance = record["importance"]
    figure = Figure(figsize=(8, 1.5 + 0.45 * len(importance)), layout="constrained")
    axes = figure.subplots()
    bars = axes.barh(list(importance), list(importance.values()), height=0.6)
    axes.bar_label(bars, [f"{share:.0%}" for share in importance.values()], padding=4, fontsize=9)
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.xaxis.set_major_formatter(PercentFormatter(1, 0))
    axes.set_xlabel("effect on val accuracy by itself, over the whole range searched; together 100 %")
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    axes.set_title(f"{record['name']}: importance (fANOVA)", fontsize=10, loc="left")
    return figure


def draw_slices(record: Record) -> Figure:
    """The val accuracy over each entry of the space, darker for later trials."""
    used = [entry for entry in record["space"] if any(entry["name"] in t["params"] for t in record["trials"])]
    columns = min(COLUMNS, len(used))
    rows = -(-len(used) // columns)
    figure = Figure(figsize=(max(6.0, 3.6 * columns), 0.9 + 2.9 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for axes in panels.flat[len(used) :]:
        axes.remove()
    for axes, entry in zip(panels.flat, used, strict=False):
        _draw_slice(axes, record, entry)
    for row in panels:
        _as_accuracy(row[0])
    figure.suptitle(f"{record['name']}: pruned trials are grey, later ones darker, the best ringed", fontsize=10)
    return figure


def _draw_slice(axes: Axes, record: Record, entry: Record) -> None:
    name = entry["name"]
    categories = [_label(value) for value in entry["values"]] if entry["kind"] == "choice" else None

    def place(trial: Record) -> float:
        value = trial["params"][name]
        return categories.index(_label(value)) if categories else value

    for state in ("pruned", "completed"):
        trials = [trial for trial in _of(record, state) if name in trial["params"]]
        x, y = [place(trial) for trial in trials], [trial["value"] for trial in trials]
        if state == "pruned":
            axes.scatter(x, y, marker="x", color="0.6", s=28)
        else:
            last = max(trial["number"] for trial in record["trials"])
            shades = [trial["number"] for trial in trials]
            axes.scatter(x, y, c=shades, cmap="Blues", vmin=-last / 2 - 1, vmax=last, edgecolors="0.3", lw=0.5, s=32)
    best = record["best"]
    if name in best["params"]:
        axes.scatter([place(best)], [best["value"]], s=110, facecolors="none", edgecolors="tab:orange", lw=1.8)
    if categories:
        axes.set_xticks(range(len(categories)), categories)
        axes.set_xlim(-0.5, len(categories) - 0.5)
    elif not entry["log"]:
        low, high = entry["values"]
        axes.set_xlim(low - 0.05 * (high - low), high + 0.05 * (high - low))
    else:
        low, high = entry["values"]
        axes.set_xscale("log")
        axes.set_xlim(low * (low / high) ** 0.05, high * (high / low) ** 0.05)
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high / low < 200 else (1.0,)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(name, fontsize=9)
    axes.grid(alpha=0.3)


def _label(value: Any) -> str:
    """A choice, as a study has it or as the space has it."""
    return f"[{','.join(map(str, value))}]" if isinstance(value, list | tuple) else str(value)


def _of(record: Record, state: str) -> list[Record]:
    """Trials in that state that have a value, or have failed."""
    found = [trial for trial in record["trials"] if trial["state"] == state]
    return found if state == "failed" else [trial for trial in found if trial["value"] is not None]


def _as_accuracy(axes: Axes) -> None:
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_ylabel("val accuracy")
    axes.grid(alpha=0.3)
