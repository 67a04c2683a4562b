"""Draw filters, feature maps and class activation maps."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from torch import Tensor

from cnnlab.inspection.attribution import ClassMap, spread_over_image
from cnnlab.inspection.feature_maps import Stage
from cnnlab.inspection.page.style import WIDTH, Sheet
from cnnlab.inspection.receptive_field import ReceptiveField

GAP = 0.1  # between tiles, as a share of a tile's width
LARGEST_TILE = 1.0  # inches
MAPS_A_ROW, MAPS_SHOWN = 8, 16
LABELLED = 144  # with more tiles, they are too small for numbers
WEAK = 0.1  # share of the strongest filter's norm; a filter below it has hardly any effect


def weak_filters(filters: Tensor) -> list[int]:
    """Return the numbers of the filters whose norm is less than a tenth of the strongest filter's norm."""
    norms = filters.flatten(1).norm(dim=1)
    return (norms < WEAK * norms.max()).nonzero().flatten().tolist()


def draw_filters(filters: Tensor) -> Figure:
    """Draw every filter: as one tile in colours if it has three channels, else as a grey tile for each channel.

    Filters are (out, in, height, width). Grey stands for a weight of zero. Each filter is scaled by its own largest
    weight. Weak filters have a frame.
    """
    scaled = (0.5 + 0.5 * filters / filters.abs().amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-12)).numpy()
    weak = set(weak_filters(filters))
    channels = filters.shape[1]
    if channels == 3:
        tiles = [(number, weights.transpose(1, 2, 0)) for number, weights in enumerate(scaled)]
    else:
        tiles = [(number, channel) for number, weights in enumerate(scaled) for channel in weights]
    # A filter with several tiles gets a row of its own.
    columns = _columns(len(tiles)) if channels in (1, 3) else channels
    labelled = len(tiles) <= LABELLED
    sheet, places, side = _tiled(len(tiles), columns, above=0.2 if labelled else 0.04)
    for (x, y), (number, pixels) in zip(places, tiles, strict=True):
        sheet.image(x, y, side, side, pixels, cmap="gray", vmin=0, vmax=1)
        if number in weak:
            sheet.box(x, y, side, side, edgecolor="C1", linewidth=2)
        if labelled:
            sheet.text(x + side / 2, y - 0.03, str(number), va="bottom", fontsize=7)
    return sheet.figure


def draw_maps(stage: Stage) -> Figure:
    """Draw the most active channels of a stage on one scale: brightness, or blue below zero and red above."""
    channels = stage.most_active(MAPS_SHOWN)
    shown = stage.maps[channels].numpy()
    limit = max(float(np.quantile(np.abs(shown), 0.998)), 1e-12)
    norm = Normalize(-limit if stage.signed else 0, limit)
    colours = "RdBu_r" if stage.signed else "magma"
    sheet, places, side = _tiled(len(channels), min(MAPS_A_ROW, max(len(channels), 6)), right=0.5)
    for (x, y), number, values in zip(places, channels, shown, strict=True):
        sheet.image(x, y, side, side, values, norm=norm, cmap=colours)
        sheet.text(x + side / 2, y - 0.03, str(number), va="bottom", fontsize=7)
    bar = sheet.inset(places[min(len(places), MAPS_A_ROW) - 1][0] + side + 0.1, places[0][1], 0.09, sheet.height - 0.3)
    sheet.figure.colorbar(ScalarMappable(norm, colours), cax=bar)
    bar.tick_params(labelsize=7, length=2, pad=2)
    bar.spines["outline"].set_visible(False)
    return sheet.figure


def draw_class_maps(pixels: Tensor, class_maps: Sequence[ClassMap], field: ReceptiveField | None) -> Figure:
    """Draw the image, uint8 (H, W, 3), and for each class its map, laid over the image and below it in its own size.

    The maps' values have this receptive field; None if it is unknown.
    """
    height, width = pixels.shape[:2]
    colours = pixels.numpy() / 255
    grey = colours.mean(axis=2, keepdims=True).repeat(3, axis=2)
    gap = 0.16
    side = (WIDTH - 0.1 - gap * len(class_maps)) / (len(class_maps) + 1)
    small = 0.5 * side
    upper, lower = 0.3, side + 0.45
    sheet = Sheet(lower + small + 0.1)
    lefts = [0.05 + column * (side + gap) for column in range(len(class_maps) + 1)]
    sheet.image(lefts[0], upper, side, side, colours)
    sheet.text(lefts[0] + side / 2, upper - 0.07, "the image", va="bottom")
    rows, columns = class_maps[0].values.shape
    about = f"the map itself,\n{rows} × {columns} values"
    sheet.text(lefts[0] + side, lower + small / 2, about, ha="right", va="center")
    placed = spread_over_image(torch.stack([class_map.values for class_map in class_maps]), field, height, width)
    for left, class_map, spread in zip(lefts[1:], class_maps, placed, strict=True):
        largest = max(float(class_map.values.max()), 1e-12)
        heat = (spread / largest).clamp(0, 1).numpy()
        opacity = 0.75 * heat[..., None]
        overlaid = (1 - opacity) * grey + opacity * colormaps["inferno"](heat)[..., :3]
        sheet.image(left, upper, side, side, overlaid)
        sheet.text(left + side / 2, upper - 0.07, f"{class_map.name}, {class_map.confidence:.1%}", va="bottom")
        values = class_map.values.numpy() / largest
        sheet.image(left + (side - small) / 2, lower, small, small, values, cmap="inferno", vmin=0, vmax=1)
    return sheet.figure


def _columns(tiles: int) -> int:
    """Return the number of tiles in a row, if possible such that all rows are full."""
    if tiles <= 12:
        return tiles
    return next((n for n in range(16, 7, -1) if tiles % n == 0 and tiles <= 12 * n), math.ceil(math.sqrt(2 * tiles)))


def _tiled(
    count: int, columns: int, above: float = 0.2, right: float = 0.0
) -> tuple[Sheet, list[tuple[float, float]], float]:
    """Make a sheet for square tiles, with room above each and to the right of all; return their corners and side too.

    All lengths are in inches.
    """
    side = min((WIDTH - right - 0.1) / (columns + GAP * (columns - 1)), LARGEST_TILE)
    down, across = side + above, side * (1 + GAP)
    places = [(0.05 + across * (n % columns), above + down * (n // columns)) for n in range(count)]
    return Sheet(down * math.ceil(count / columns) + 0.1), places, side
