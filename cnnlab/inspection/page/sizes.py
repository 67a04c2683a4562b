"""Show how kernel, stride, padding and pooling determine the sizes of maps, with formulas and pictures."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from cnnlab.inspection import titles
from cnnlab.inspection.feature_maps import maps_of, strongest
from cnnlab.inspection.layers import Layer, LayerTable
from cnnlab.inspection.page.style import HEAD, WIDTH, Sheet
from cnnlab.inspection.receptive_field_rules import Pair, Window

COLUMNS = 5  # most maps in a row of the path
LISTED = 4  # most kinds of windows under a map


@dataclass(frozen=True)
class Step:
    """Layer that moves a window, with the formula for the size of its output."""

    layer: Layer  # row of the layer table
    window: Window  # of the layer
    formula: str  # computes the height of the output, and the width if it differs


def steps(table: LayerTable) -> list[Step]:
    """Return the layers with windows, in the order of their calls."""
    return [
        Step(layer, layer.window, formula(layer.window, layer.sides))
        for layer in table.layers
        if layer.window and layer.sides
    ]


def formula(window: Window, output: Pair) -> str:
    """Return the formula for the height of the output, such as `⌊(32 + 2·1 − 4) / 1⌋ + 1 = 31`.

    `output` is the computed height and width. If the formula for the width differs, both are given. For a transposed
    convolution, the formula does not hold and only the sizes are given.
    """
    height, width = (_formula(window, axis, output[axis]) for axis in (0, 1))
    return height if height == width else f"height {height}, width {width}"


def _formula(window: Window, axis: int, output: int) -> str:
    size, kernel, stride, padding, dilation = window.along(axis)
    rest = size + 2 * padding - dilation * (kernel - 1) - 1
    count, brackets = rest // stride + 1, "⌊⌋"
    if window.ceil_mode:
        count, brackets = -(-rest // stride) + 1, "⌈⌉"
        if (count - 1) * stride >= size + padding:  # no window begins beyond the border
            count -= 1
    if count != output:
        return f"{size} becomes {output}"
    reach = f"({dilation}·({kernel} − 1) + 1)" if dilation > 1 else str(kernel)
    return f"{brackets[0]}({size} + 2·{padding} − {reach}) / {stride}{brackets[1]} + 1 = {output}"


def in_words(window: Window) -> str:
    """Return a text such as `4 × 4, stride 2, padding 1`; a padding of 0 and a stride of 1 are left out."""
    words = [" × ".join(map(str, window.kernel))]
    for name, value, usual in (
        ("stride", window.stride, (1, 1)),
        ("padding", window.padding, (0, 0)),
        ("dilation", window.dilation, (1, 1)),
    ):
        if value != usual:
            words.append(f"{name} {_short(value)}")
    return ", ".join(words)


def _short(pair: Pair) -> str:
    return str(pair[0]) if pair[0] == pair[1] else "×".join(map(str, pair))


def draw_path(pixels: Tensor, layers: Sequence[Layer], found: Sequence[Step]) -> Figure:
    """Draw the image, uint8 (H, W, 3), and a map of every size to scale, above the middle value's receptive field.

    The layers with windows are listed under the maps of their output's size.
    """
    image = pixels.numpy() / 255
    height, width = pixels.shape[:2]
    columns = min(COLUMNS, len(layers))
    rows = [layers[start : start + columns] for start in range(0, len(layers), columns)]
    windows = {layer.sides: _windows_of(layer, found) for layer in layers}
    lines = max(len(listed) for listed in windows.values())
    cell = WIDTH / (columns + 1)
    side = min(0.72 * cell, 1.0)
    band = 2 * side + 1.15 + 0.14 * lines
    sheet = Sheet(HEAD + band * len(rows))
    sheet.title("From the image to the last maps: height × width × channels, drawn to scale")
    for row, part in enumerate(rows):
        top = HEAD + band * row + 0.1
        middle, words, below = top + side / 2, top + side + 0.1, top + side + 0.43 + 0.14 * lines
        if row == 0:
            sheet.image((cell - side) / 2, top, side, side, image)
            sheet.text(cell / 2, words, f"{height} × {width} × 3\nthe image", fontsize=8)
            sheet.text(cell / 2, words + 0.34, "layers that made it:", fontsize=7)
        for column, layer in enumerate(part, start=1):
            centre = cell * (column + 0.5)
            sheet.text(centre - cell / 2, middle, "→", va="center", fontsize=10, color="C0")
            _draw_stack(sheet, centre, middle, side * maps_of(layer).shape[1] / height, layer)
            channels, *sides = maps_of(layer).shape
            sheet.text(centre, words, " × ".join(map(str, (*sides, channels))), fontsize=8)
            sheet.text(centre, words + 0.2, "\n".join(windows[layer.sides]), fontsize=7)
            _draw_sight(sheet, centre - side / 2, below, side, image, layer)
        sheet.text(cell / 2, below + side / 2, "what the\nmiddle value\nof each map\ncan see", va="center", fontsize=8)
    return sheet.figure


def _windows_of(layer: Layer, found: Sequence[Step]) -> list[str]:
    """Return lines such as `3 × convolution 3×3` for the windows whose output has the layer's size, at most four."""
    counts: Counter[str] = Counter()
    for step in found:
        if step.layer.sides == layer.sides:
            counts[f"{titles.in_words(step.layer.kind)} {'×'.join(map(str, step.window.kernel))}"] += 1
    listed = [f"{count} × {text}" if count > 1 else text for text, count in counts.items()]
    return listed if len(listed) <= LISTED else [*listed[: LISTED - 1], f"and {len(listed) - LISTED + 1} more kinds"]


def _draw_stack(sheet: Sheet, centre: float, middle: float, side: float, layer: Layer) -> None:
    """Draw the most active map, with others behind it."""
    values = maps_of(layer)[strongest(maps_of(layer), 1)[0]].numpy()
    behind = min(4, len(maps_of(layer)) - 1)
    for depth in range(behind, -1, -1):
        x, y = centre - side / 2 + 0.02 * depth, middle - side / 2 - 0.02 * depth
        sheet.box(x, y, side, side, fill=True, facecolor="C2", edgecolor="C0", linewidth=0.6)
    sheet.image(centre - side / 2, middle - side / 2, side, side, values, cmap="gray", zorder=2)


def _draw_sight(sheet: Sheet, x: float, y: float, side: float, image: np.ndarray, layer: Layer) -> None:
    """Draw the image, darkened outside the receptive field of the value in the middle of the map."""
    height, width = image.shape[:2]
    _, rows, columns = maps_of(layer).shape
    box = layer.field.box(rows // 2, columns // 2, height, width) if layer.field else None
    if layer.field is None or box is None:
        sheet.image(x, y, side, side, 0.25 * image)
        sheet.text(x + side / 2, y + side + 0.06, "unknown", fontsize=8)
        return
    top, left, bottom, right = box
    seen = 0.25 * image
    seen[top : bottom + 1, left : right + 1] = image[top : bottom + 1, left : right + 1]
    sheet.image(x, y, side, side, seen)
    pixel = side / height
    frame = (x + left * pixel, y + top * pixel, (right - left + 1) * pixel, (bottom - top + 1) * pixel)
    sheet.box(*frame, edgecolor="C1", linewidth=1.5)
    sheet.text(x + side / 2, y + side + 0.06, f"{' × '.join(map(str, layer.field.size))} pixels", fontsize=8)
    if layer.field.exceeds(height, width):
        sheet.text(x + side / 2, y + side + 0.21, "beyond the image", fontsize=7)
