"""Draw filters, the maps of a few channels through the layers, and class activation maps."""

import math
from collections.abc import Sequence

import matplotlib
import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from torch import Tensor

from cnnlab.inspection.attribution import ClassMap, spread_over_image
from cnnlab.inspection.feature_maps import Chain, maps_of
from cnnlab.inspection.page.style import HEAD, WIDTH, Sheet
from cnnlab.inspection.receptive_field import ReceptiveField
from cnnlab.inspection.titles import in_words

GAP = 0.1  # between tiles, as a share of a tile's width
FILTERS_A_ROW = 8
CHANNELS = 8  # that are followed through a chain
LABELLED = 144  # with more filters, they are too small for numbers
WEAK = 0.1  # share of the strongest filter's norm; a filter below it has hardly any effect


def weak_filters(filters: Tensor) -> list[int]:
    """Return the numbers of the filters whose norm is less than a tenth of the strongest filter's norm."""
    norms = filters.flatten(1).norm(dim=1)
    return (norms < WEAK * norms.max()).nonzero().flatten().tolist()


def filter_tiles(filters: Tensor, grey: bool) -> list[tuple[int, np.ndarray]]:
    """Return pictures in [0, 1] of filters (out, in, height, width), each with the number of its filter.

    A filter with three channels is one picture in colours; for grey images, whose channels are equal, it is the sum of
    its channels. Other filters have a grey picture for each channel. Grey stands for a weight of zero, and each filter
    is scaled by its own largest weight.
    """
    if grey and filters.shape[1] == 3:
        filters = filters.sum(dim=1, keepdim=True)
    scaled = (0.5 + 0.5 * filters / filters.abs().amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-12)).numpy()
    if filters.shape[1] == 3:
        return [(number, weights.transpose(1, 2, 0)) for number, weights in enumerate(scaled)]
    return [(number, channel) for number, weights in enumerate(scaled) for channel in weights]


def draw_filters(filters: Tensor, grey: bool) -> Figure:
    """Draw every filter with its number; weak filters have a frame."""
    tiles, weak = filter_tiles(filters, grey), set(weak_filters(filters))
    several = len(tiles) > len(filters)  # a filter with several tiles gets a row of its own
    labelled = len(tiles) <= LABELLED
    columns = filters.shape[1] if several else FILTERS_A_ROW if labelled else math.ceil(math.sqrt(2 * len(tiles)))
    columns = min(columns, len(tiles))
    above = 0.2 if labelled else 0.04
    side = (WIDTH - 0.1) / (max(columns, 6) * (1 + GAP))
    sheet = Sheet(HEAD + (side + above) * math.ceil(len(tiles) / columns) + 0.1)
    count, _, height, width = filters.shape
    sheet.title(f"{count} filters of the first convolution, {height} × {width} pixels each")
    for place, (number, pixels) in enumerate(tiles):
        x = 0.05 + side * (1 + GAP) * (place % columns)
        y = HEAD + above + (side + above) * (place // columns)
        sheet.image(x, y, side, side, pixels, cmap="gray", vmin=0, vmax=1)
        if number in weak:
            sheet.box(x, y, side, side, edgecolor="C1", linewidth=2)
        if labelled:
            sheet.text(x + side / 2, y - 0.03, str(number), va="bottom", fontsize=8)
    return sheet.figure


def signed_colours() -> LinearSegmentedColormap:
    """Return colours from negative over zero, which is the paper, to positive, in the theme of the picture."""
    return LinearSegmentedColormap.from_list("signed", ["C1", matplotlib.rcParams["figure.facecolor"], "C0"])


def draw_chain(chain: Chain, filters: Tensor | None = None, grey: bool = False) -> Figure:
    """Draw the strongest channels of a chain: a row for each layer, and the channel's filter above if it is given."""
    channels = chain.strongest(CHANNELS)
    left, right = 1.25, 0.6
    side = (WIDTH - left - right) / (CHANNELS * (1 + GAP))
    down = side * (1 + GAP)
    top = HEAD + 0.22
    rows = len(chain.layers) + (filters is not None)
    sheet = Sheet(top + down * rows + 0.1)
    total = len(maps_of(chain.layers[0]))
    shown = f"{len(channels)} strongest of {total} channels" if len(channels) < total else f"all {total} channels"
    sheet.title(f"{chain.layers[0].title}, and what follows it: {shown}")
    lefts = [left + side * (1 + GAP) * column for column in range(len(channels))]
    for x, number in zip(lefts, channels, strict=True):
        sheet.text(x + side / 2, top - 0.03, str(number), va="bottom", fontsize=8)
    sheet.text(
        lefts[-1] + side + 0.08,
        top + (down if filters is not None else 0) - 0.03,
        "value",
        ha="left",
        va="bottom",
        fontsize=7,
    )
    if filters is not None:
        sheet.text(0.05, top + side / 2, f"filter\n{filters.shape[2]} × {filters.shape[3]}", ha="left", va="center")
        pictures = dict(filter_tiles(filters, grey))
        for x, number in zip(lefts, channels, strict=True):
            sheet.image(x, top, side, side, pictures[number], cmap="gray", vmin=0, vmax=1)
        top += down
    colours = signed_colours()
    for layer in chain.layers:
        maps = maps_of(layer)[channels].numpy()
        limit = max(float(np.quantile(np.abs(maps), 0.998)), 1e-12)
        norm = Normalize(-limit, limit)
        sheet.text(
            0.05, top + side / 2, f"{in_words(layer.kind)}\n{maps.shape[1]} × {maps.shape[2]}", ha="left", va="center"
        )
        for x, values in zip(lefts, maps, strict=True):
            sheet.image(x, top, side, side, values, norm=norm, cmap=colours)
            sheet.box(x, top, side, side, edgecolor="C2", linewidth=0.6)
        bar = sheet.inset(lefts[-1] + side + 0.08, top, 0.08, side)
        lowest = 0 if maps.min() >= 0 else -limit
        sheet.figure.colorbar(ScalarMappable(norm, colours), cax=bar, ticks=[])
        bar.set_ylim(lowest, limit)
        bar.spines["outline"].set_visible(False)
        for y, value, place in ((top, limit, "top"), (top + side, lowest, "bottom")):
            sheet.text(lefts[-1] + side + 0.2, y, f"{value:.2g}", ha="left", va=place, fontsize=7)
        top += down
    return sheet.figure


def draw_class_maps(pixels: Tensor, class_maps: Sequence[ClassMap], field: ReceptiveField | None) -> Figure:
    """Draw the image, uint8 (H, W, 3), and over it, for each class, its activation map and its occlusion map.

    The values of the activation maps have this receptive field; None if it is unknown.
    """
    height, width = pixels.shape[:2]
    colours = pixels.numpy() / 255
    grey = colours.mean(axis=2, keepdims=True).repeat(3, axis=2)
    gap = 0.16
    side = (WIDTH - 0.1 - gap * len(class_maps)) / (len(class_maps) + 1)
    upper, lower = HEAD + 0.25, HEAD + side + 0.4
    sheet = Sheet(lower + side + 0.1)
    sheet.title("Which parts of the image speak for a class: bright speaks for it, dark does not")
    lefts = [0.05 + column * (side + gap) for column in range(len(class_maps) + 1)]
    sheet.image(lefts[0], upper, side, side, colours)
    sheet.text(lefts[0] + side / 2, upper - 0.07, "the image", va="bottom")
    about = "above: Grad-CAM,\nfrom a layer's maps\n\nhere: occlusion,\nby covering parts"
    sheet.text(lefts[0] + side, lower + side / 2, about, ha="right", va="center")
    placed = spread_over_image(torch.stack([class_map.values for class_map in class_maps]), field, height, width)
    for left, class_map, spread in zip(lefts[1:], class_maps, placed, strict=True):
        sheet.text(left + side / 2, upper - 0.07, f"{class_map.name}, {class_map.confidence:.1%}", va="bottom")
        for top, values, largest in (
            (upper, spread, class_map.values.max()),
            (lower, class_map.occlusion, class_map.occlusion.max()),
        ):
            heat = (values / max(float(largest), 1e-12)).clamp(0, 1).numpy()
            opacity = 0.75 * heat[..., None]
            overlaid = (1 - opacity) * grey + opacity * colormaps["inferno"](heat)[..., :3]
            sheet.image(left, top, side, side, overlaid)
    return sheet.figure
