"""Draw what faults look like in the curves of a training, for `doctor.md`, from runs of the corpus of the doctor.

    python docs/draw_faults.py FOLDER

FOLDER is the one of `experiments/doctor/corpus.py`. Of each fault, the strongest run on the digits is drawn (else on
CIFAR-10), beside the healthy run with the same network and images; writes `docs/images/faults.png`.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.append(str(Path(__file__).resolve().parents[1]))  # if cnnlab is not installed

import numpy as np
from matplotlib.ticker import MaxNLocator

from cnnlab.display import save_figure
from cnnlab.doctor.findings import FAULTS
from cnnlab.runs.reading import read_run
from cnnlab.style import SOFT, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = 6
CLEAREST = ("lagging_weights-2-article-digits",)  # rather than the strongest
CHANCE = 0.1  # accuracy of an answer that is always the same, of ten classes
# Which two curves show a fault. The first is drawn in the colour of what matters.
LOSSES, ACCURACIES = ("train/loss", "val/loss"), ("train/accuracy", "val/accuracy")
SHOWN = {
    **dict.fromkeys(("rate_diverges", "rate_oscillates", "warmup_missing", "gradients_explode", "overfitting"), LOSSES),
    **dict.fromkeys(("softmax_before_loss", "rate_ended_early", "rate_too_low"), LOSSES),
}


def chosen_runs(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the tags of the strongest run of each fault; of equal ones, that with digits."""
    tags = [json.loads(file.read_text()) for file in sorted(folder.glob("runs/*/corpus.json"))]
    faulty = [tag for tag in tags if tag["fault"]]
    order = sorted(faulty, key=lambda tag: (tag["name"] in CLEAREST, tag["cell"]["data"] == "digits", tag["strength"]))
    return {tag["fault"]: tag for tag in order}


@styled
def draw(folder: Path, file: Path) -> None:
    """Draw a small picture for each fault."""
    from matplotlib.figure import Figure

    runs = chosen_runs(folder)
    names = [name for name in FAULTS if name in runs]
    rows = -(-len(names) // COLUMNS)
    figure = Figure(figsize=(COLUMNS * 2.3, rows * 1.85 + 0.7), layout="constrained")
    for number, name in enumerate(names):
        axes = figure.add_subplot(rows, COLUMNS, number + 1)
        draw_one(axes, folder, name, runs[name])
        if number % COLUMNS == 0:
            axes.set_ylabel("accuracy or loss")
        if number >= len(names) - COLUMNS:
            axes.set_xlabel("epoch")
    figure.suptitle(
        "What each fault looks like: loss (orange) or accuracy (blue) in training (solid) and validation (dashed), "
        "n = 1; grey: validation of a healthy run"
    )
    save_figure(figure, file, dpi=100)


def draw_one(axes: "Axes", folder: Path, name: str, tag: dict[str, Any]) -> None:
    """Draw the curves of a fault beside those of a healthy run."""
    shown = SHOWN.get(name, ACCURACIES)
    cell = tag["cell"]
    healthy = folder / "runs" / f"twin-0-{cell['network']}-{cell['data']}"
    curves = read_run(folder / "runs" / tag["name"]).curve
    most = 0.0
    if (healthy / "metrics.csv").exists():
        others = np.array(read_run(healthy).curve[shown[1]], dtype=float)
        axes.plot(range(1, len(others) + 1), others, "--", color=SOFT, linewidth=1)
        most = float(np.nanmax(others))
    for curve, style in zip(shown, ("-", "--"), strict=True):
        values = np.array(curves.get(curve, []), dtype=float)
        values[values > 1e3] = np.nan
        axes.plot(range(1, len(values) + 1), values, style, marker=".", color="C1" if shown is LOSSES else "C0")
        if np.isfinite(values).any():
            most = max(most, float(np.nanmax(values)))
    ends = len(curves.get(shown[0], [])) and not np.isfinite(np.array(curves[shown[0]][-1:], float)).all()
    if ends:
        axes.text(0.5, 0.5, "not finite", transform=axes.transAxes, ha="center", color="C1")
    axes.set_ylim(0, 1.02 if shown is ACCURACIES else max(2.5, 1.05 * most))
    axes.set_title(
        f"{name}\n{'loss' if shown is LOSSES else 'accuracy'}, {cell['network']}, {cell['data']}", fontsize=8
    )
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    draw(parser.parse_args().folder, Path(__file__).parent / "images" / "faults.png")
