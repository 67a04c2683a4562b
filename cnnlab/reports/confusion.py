"""Draw a confusion matrix."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import ListedColormap, PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from cnnlab.display import cut
from cnnlab.style import LINE, styled

MOST_CLASSES_WITH_COUNTS = 20  # with more classes, cells are too small for counts


@styled
def draw_confusion_matrix(counts: Sequence[Sequence[int]] | np.ndarray, classes: Sequence[str]) -> Figure:
    """Draw a confusion matrix, coloured by the share of each true class, with counts if there is room for them.

    The counts are numbers of images by true class (row) and predicted class (column).
    """
    matrix, number = np.asarray(counts), len(classes)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    few = number <= MOST_CLASSES_WITH_COUNTS
    side = max(2.8, 0.62 * number) if few else min(16.0, 6 + 0.09 * number)  # side of the matrix in inches
    letters = 9.0 if few else max(3.0, 50 * side / number)
    figure = Figure(figsize=(side + 2.2, side + 1.2), layout="constrained")
    axes = figure.subplots()
    # The square root makes confusions of a few percent visible beside a diagonal near 100 %. Zero is white.
    image = axes.imshow(np.ma.masked_equal(shares, 0), cmap=_colour_map(), norm=PowerNorm(0.5, 0, 1))
    if few:
        for (row, column), count in np.ndenumerate(matrix):
            if count:
                colour = "white" if shares[row, column] > 0.2 else "black"
                axes.text(column, row, f"{count:,}", ha="center", va="center", color=colour, fontsize=8.5)
    names = [cut(name) for name in classes]
    turned: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if few else {"rotation": 90}
    axes.set_xticks(range(number), names, fontsize=letters, **turned)
    axes.set_yticks(range(number), names, fontsize=letters)
    axes.tick_params(length=0)
    axes.spines[:].set(color=LINE, visible=True)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    bar = figure.colorbar(image, ax=axes, shrink=0.6, ticks=[0, 0.01, 0.05, 0.1, 0.25, 0.5, 1], pad=0.02)
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    bar.set_label("share of the true class", fontsize=9)
    bar.ax.tick_params(labelsize=8, length=0)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    return figure


def _colour_map() -> ListedColormap:
    """Return Matplotlib's perceptually uniform magma from light to dark, without its blackest part."""
    return ListedColormap(colormaps["magma_r"](np.linspace(0.04, 0.82, 256)))
