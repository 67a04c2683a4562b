"""Draw a confusion matrix."""

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from cnnlab.display import cut
from cnnlab.style import COLOURS, INK, LINE, PAGE_COLOURS, SOFT, styled

MOST_CLASSES_WITH_COUNTS = 20  # with more classes, cells are too small for counts
LETTERS = 11.5  # of the title on an inch
DARK = 0.55  # share above which a cell is so dark that its text is white


@styled
def draw_confusion_matrix(
    counts: Sequence[Sequence[int]] | np.ndarray, classes: Sequence[str], about: str, small: bool = False
) -> Figure:
    """Draw a confusion matrix with counts and rates, as far as there is room for them.

    The colours are linear in the share of the true class: a share of 0.2 % is nearly white.

    Args:
        counts: numbers of images by true class (row) and predicted class (column).
        classes: their names.
        about: what was tested on which images, such as `lenet5 on the test images of digits`; the title adds accuracy
            and number of images.
        small: whether to leave out the rates and the scale, so that the counts are legible in a small picture.
    """
    matrix, number = np.asarray(counts), len(classes)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    few = number <= MOST_CLASSES_WITH_COUNTS
    cell, margin = (0.4, 1.0) if small else (0.62, 2.2)
    side = max(2.8, cell * number) if few else min(16.0, 6 + 0.09 * number)  # side of the matrix in inches
    letters = 9.0 if few else max(3.0, 50 * side / number)
    total = int(matrix.sum())
    title = f"{about}: {100 * matrix.trace() / max(total, 1):.2f} % of {total:,} images recognized"
    title = textwrap.fill(title, int(LETTERS * (side + margin)))
    figure = Figure(figsize=(side + margin, side + 1.5 + 0.18 * title.count("\n")), layout="constrained")
    figure.suptitle(title, x=0.02, ha="left", weight="bold")
    axes = figure.subplots()
    colours = LinearSegmentedColormap.from_list("shares", [PAGE_COLOURS["paper"][0], COLOURS[0]])
    image = axes.imshow(shares, cmap=colours, vmin=0, vmax=1)
    if few:
        for (row, column), count in np.ndenumerate(matrix):
            if count:
                share = shares[row, column]
                colours_of_texts = ("white", "white") if share > DARK else (INK, INK if share > DARK / 2 else SOFT)
                texts, places = (f"{count:,}", f"{100 * share:.1f} %"), ((0.0,) if small else (-0.13, 0.2))
                for text, size, up, colour in zip(texts, (8.5, 6.5), places, colours_of_texts, strict=False):
                    axes.text(column, row + up, text, ha="center", va="center", color=colour, fontsize=size)
    names = [cut(name) for name in classes]
    turned: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if few else {"rotation": 90}
    axes.set_xticks(range(number), names, fontsize=letters, **turned)
    axes.set_yticks(range(number), names, fontsize=letters)
    axes.tick_params(length=0)
    axes.spines[:].set(color=LINE, visible=True)
    if few:  # lines between the cells
        axes.set_xticks(np.arange(number - 1) + 0.5, minor=True)
        axes.set_yticks(np.arange(number - 1) + 0.5, minor=True)
        axes.tick_params(which="minor", length=0)
        axes.grid(which="minor", linewidth=0.5)
    axes.set_xlabel("class that the network answers")
    axes.set_ylabel("true class")
    if small:
        return figure
    bar = figure.colorbar(image, ax=axes, shrink=0.6, ticks=[0, 0.25, 0.5, 0.75, 1], pad=0.02)
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    bar.set_label("share of the true class", fontsize=9)
    bar.ax.tick_params(labelsize=8, length=0)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    return figure
