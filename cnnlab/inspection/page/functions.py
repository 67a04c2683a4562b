"""Draw the activation functions of a network as curves, with histograms of their inputs."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cnnlab.inspection.activations import ActivationUse
from cnnlab.inspection.page.style import WIDTH, Sheet, shortened

COLUMNS, DRAWN = 3, 9
WORDS = {"dead": "dead", "saturated": "always saturated", "left": "always ≤ 0"}


def drawn_uses(uses: Sequence[ActivationUse]) -> list[ActivationUse]:
    """Return at most nine uses: the first, the last, and others evenly spaced between them."""
    places = np.linspace(0, len(uses) - 1, min(DRAWN, len(uses))).round().astype(int)
    return [uses[place] for place in places]


def draw_functions(uses: Sequence[ActivationUse]) -> Figure:
    """Draw each function over the histogram of its inputs, with the number of units that were always quiet."""
    rows = -(-len(uses) // COLUMNS)
    across, down = WIDTH / COLUMNS, 1.9
    sheet = Sheet(rows * down)
    for place, use in enumerate(uses):
        row, column = divmod(place, COLUMNS)
        x, y = column * across, row * down
        sheet.text(x + 0.1, y + 0.08, f"{shortened(use.name, 22)}  {use.function}", ha="left", fontsize=8)
        share = f"{use.quiet_units:,} of {use.units:,} units {WORDS[use.quiet]}"
        sheet.text(x + 0.1, y + 0.25, share, ha="left", fontsize=8, color="C1")
        _draw_function(sheet.inset(x + 0.4, y + 0.48, across - 0.5, down - 0.75), use)
    return sheet.figure


def _draw_function(axes: Axes, use: ActivationUse) -> None:
    edges, counts, outputs = use.inputs.numpy(), use.counts.numpy(), use.outputs.numpy()
    axes.stairs(counts / counts.max(), edges, fill=True, color="C0", alpha=0.35)
    axes.set(xlim=(edges[0], edges[-1]), ylim=(0, 1.08), yticks=[])
    axes.spines["left"].set_visible(False)
    axes.tick_params(labelsize=7, length=2)
    curve = axes.twinx()
    curve.plot((edges[1:] + edges[:-1]) / 2, outputs, color="C1", linewidth=1.6)
    curve.axhline(0, color="C2", linewidth=0.8)
    curve.axvline(0, color="C2", linewidth=0.8)
    curve.spines["right"].set_visible(False)
    curve.tick_params(labelsize=7, length=2)
    curve.yaxis.tick_left()
    curve.yaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_locator(MaxNLocator(4))
