"""What kernels, strides, padding and pooling make of an image's size: as formulas, and as pictures."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from cnnlab.analysis.feature_maps import Stage
from cnnlab.analysis.layers import Layer, LayerTable
from cnnlab.analysis.operations import Window
from cnnlab.reports.inside.style import WIDTH, Sheet

COLUMNS = 5  # maps in a row of the path
RULERS = 4  # windows that are drawn
CELLS = 34  # of a longer row of pixels, the middle is left out


@dataclass(frozen=True)
class Step:
    """A layer that moves a window, and the arithmetic of its output's size.

    Attributes:
        layer: as `describe` lists it.
        window: its own.
        formula: how its output's height comes about, and its width where that is another.
    """

    layer: Layer
    window: Window
    formula: str


def steps(table: LayerTable) -> list[Step]:
    """The layers with windows in the order of their calls, with their formulas."""
    return [
        Step(layer, layer.window, formula(layer.window, layer.output))
        for layer in table.layers
        if layer.window and layer.output and layer.is_map
    ]


def formula(window: Window, output: Sequence[int]) -> str:
    """How a window makes the output's height of the input's, such as `⌊(32 + 2·1 − 4) / 1⌋ + 1 = 31`.

    Args:
        window: of a convolution or pooling.
        output: (C, H, W), as it was computed.

    Returns:
        The formula; for height and width where they differ; where it does not give what was computed (a transposed
        convolution), the sizes alone.
    """
    texts = []
    for axis in (0, 1):
        size, kernel, stride = window.input[axis], window.kernel[axis], window.stride[axis]
        padding, dilation = window.padding[axis], window.dilation[axis]
        reach = dilation * (kernel - 1) + 1
        rest = size + 2 * padding - reach
        count, brackets = rest // stride + 1, "⌊⌋"
        if window.ceil_mode:
            count, brackets = -(-rest // stride) + 1, "⌈⌉"
            if (count - 1) * stride >= size + padding:  # a window may not begin beyond the border
                count -= 1
        spread = f"({dilation}·({kernel} − 1) + 1)" if dilation > 1 else str(kernel)
        inner = f"{size} + 2·{padding} − {spread}"
        text = f"{brackets[0]}({inner}) / {stride}{brackets[1]} + 1 = {output[1 + axis]}"
        texts.append(text if count == output[1 + axis] else f"{size} becomes {output[1 + axis]}")
    return texts[0] if texts[0] == texts[1] else f"height {texts[0]}, width {texts[1]}"


def in_words(window: Window) -> str:
    """Such as `4×4, stride 2, padding 1`; a padding of 0 and a stride of 1 are left out."""
    words = [_product(window.kernel)]
    for name, value, usual in (
        ("stride", window.stride, (1, 1)),
        ("padding", window.padding, (0, 0)),
        ("dilation", window.dilation, (1, 1)),
    ):
        if value != usual:
            words.append(f"{name} {value[0] if value[0] == value[1] else _product(value)}")
    return ", ".join(words)


def _product(pair: Sequence[int]) -> str:
    return f"{pair[0]}×{pair[1]}"


# --- the path --------------------------------------------------------------------------------------------------------


def draw_path(pixels: Tensor, stages: Sequence[Stage]) -> Figure:
    """Draws the image and the map of every stage to scale, and below what its middle value can see of the image.

    Args:
        pixels: uint8 (H, W, 3).
        stages: in the order of the network.
    """
    image = pixels.numpy() / 255
    height, width = pixels.shape[:2]
    rows = [stages[start : start + COLUMNS] for start in range(0, len(stages), COLUMNS)]
    cell = WIDTH / (COLUMNS + 1)
    side = 0.8 * cell
    band = 2 * side + 1.35
    sheet = Sheet(band * max(len(rows), 1))
    for row, part in enumerate(rows or [()]):
        top = band * row + 0.12
        middle, words, below = top + 0.12 + side / 2, top + side + 0.32, top + side + 0.92
        if row == 0:
            sheet.image((cell - side) / 2, middle - side / 2, side, side, image)
            sheet.text(cell / 2, words, f"{height} × {width} × 3\nthe image", fontsize=8)
        for column, stage in enumerate(part, start=1):
            centre = cell * (column + 0.5)
            sheet.text(centre - cell / 2, middle, "→", va="center", fontsize=11, color="C0")
            scale = side * stage.sides[0] / height
            _draw_stack(sheet, centre, middle, scale, stage)
            channels = len(stage.maps)
            about = f"{stage.sides[0]} × {stage.sides[1]} × {channels}\n{_shortened(stage.name)}"
            sheet.text(centre, words, about, fontsize=8)
            _draw_sight(sheet, centre - side / 2, below, side, image, stage)
        sheet.text(cell / 2, below + side / 2, "what the\nmiddle value\nof each map\ncan see:", va="center", fontsize=8)
    return sheet.figure


def _draw_stack(sheet: Sheet, centre: float, middle: float, side: float, stage: Stage) -> None:
    """The most active map, with others behind it."""
    number = stage.most_active(1)[0]
    values = stage.maps[number].numpy()
    behind = min(4, len(stage.maps) - 1)
    for depth in range(behind, -1, -1):
        x, y = centre - side / 2 + 0.035 * depth, middle - side / 2 - 0.035 * depth
        sheet.box(x, y, side, side, fill=True, facecolor="C2", edgecolor="C0", linewidth=0.6)
    sheet.image(centre - side / 2, middle - side / 2, side, side, values, cmap="gray")


def _draw_sight(sheet: Sheet, x: float, y: float, side: float, image: np.ndarray, stage: Stage) -> None:
    """The image, with all darkened that the value in the middle of the map cannot see."""
    height, width = image.shape[:2]
    rows, columns = stage.sides
    box = stage.field.box(rows // 2, columns // 2, height, width) if stage.field else None
    if stage.field is None or box is None:
        sheet.image(x, y, side, side, 0.25 * image)
        sheet.text(x + side / 2, y + side + 0.06, "not known", fontsize=8)
        return
    top, left, bottom, right = box
    seen = 0.25 * image
    seen[top : bottom + 1, left : right + 1] = image[top : bottom + 1, left : right + 1]
    sheet.image(x, y, side, side, seen)
    pixel = side / height
    frame = (x + left * pixel, y + top * pixel, (right - left + 1) * pixel, (bottom - top + 1) * pixel)
    sheet.box(*frame, edgecolor="C1", linewidth=1.5)
    more = "\nmore than there is" if stage.field.exceeds(height, width) else ""
    sheet.text(x + side / 2, y + side + 0.06, f"{' × '.join(map(str, stage.field.size))} pixels{more}", fontsize=8)


def _shortened(name: str, length: int = 18) -> str:
    return name if len(name) <= length else "…" + name[1 - length :]


# --- windows ---------------------------------------------------------------------------------------------------------


def drawn_steps(found: Sequence[Step]) -> list[Step]:
    """The first layer of each kind and window, at most four of them."""
    first: dict[tuple[str, str], Step] = {}
    for step in found:
        if step.window.kernel != (1, 1):
            first.setdefault((step.layer.kind, in_words(step.window)), step)
    return list(first.values())[:RULERS]


def draw_windows(found: Sequence[Step]) -> Figure:
    """Draws for each layer a row of its input's pixels, with padding, and the places that its window takes.

    Args:
        found: layers; their height is drawn.
    """
    band = 1.62
    sheet = Sheet(band * len(found))
    for number, step in enumerate(found):
        _draw_ruler(sheet, band * number + 0.08, step)
    return sheet.figure


def _draw_ruler(sheet: Sheet, top: float, step: Step) -> None:
    window, (_, count, _) = step.window, step.layer.output or (0, 0, 0)
    size, kernel, stride, padding = window.input[0], window.kernel[0], window.stride[0], window.padding[0]
    reach = window.dilation[0] * (kernel - 1) + 1
    end = max(size + padding, (count - 1) * stride - padding + reach)  # ceil_mode reaches further
    cells = list(range(-padding, end))
    if len(cells) > CELLS:
        head, tail = CELLS // 2, CELLS // 2 - 1
        gap = (cells[head], cells[-tail])
        columns = {cell: place for place, cell in enumerate([*cells[:head], *cells[-tail:]])}
        columns = {cell: place + (cell >= gap[1]) for cell, place in columns.items()}
    else:
        columns = {cell: place for place, cell in enumerate(cells)}
    unit = min((WIDTH - 0.2) / (max(columns.values()) + 1), 0.3)
    covered = {start + offset for start in range(-padding, count * stride - padding, stride) for offset in range(reach)}
    sheet.text(0.1, top, f"{step.layer.name}  {step.layer.kind}  {in_words(window)}", ha="left", fontsize=8.5)
    sheet.text(WIDTH - 0.1, top, step.formula, ha="right", fontsize=8.5, color="C0")
    y = top + 0.28
    for cell, column in columns.items():
        inside = 0 <= cell < size
        look = {"facecolor": "C2", "edgecolor": "C0"} if inside else {"facecolor": "none", "edgecolor": "C0"}
        look["hatch"] = "" if inside else "////"
        if inside and cell not in covered:
            look["edgecolor"], look["facecolor"] = "C1", "C1"
        sheet.box(0.1 + column * unit, y, unit, 0.22, fill=True, linewidth=0.6, **look)
    shown = sorted({place for place in (0, 1, 2, count - 1) if 0 <= place < count})
    for line, place in enumerate(shown):
        start = place * stride - padding
        taken = [cell for cell in range(start, start + reach) if cell in columns]
        if len(taken) < reach:
            continue
        x = 0.1 + columns[taken[0]] * unit
        at = y + 0.3 + 0.19 * line
        for cell in range(start, start + reach, window.dilation[0]):
            sheet.box(0.1 + columns[cell] * unit, at, unit, 0.12, fill=True, facecolor="C0", edgecolor="none")
        beside = x + reach * unit + 0.06 if place < count - 1 or count == 1 else x - 0.06
        sheet.text(beside, at + 0.06, _ordinal(place, count), ha="left" if beside > x else "right", va="center", fontsize=7)


def _ordinal(place: int, count: int) -> str:
    words = ("first window", "second", "third")
    return f"last, number {count}" if place == count - 1 and count > 3 else words[place]
