"""A page of pictures with what a network says about them, as a PNG."""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cnnlab.reports.terminal import printable
from cnnlab.runs.directory import replacing

# Sizes in pixels.
SIDE = 288  # of the square that a picture is fitted into: 9 times 32, 3 times 96
PADDING = 16  # within a card
GAP = 20  # between cards
MARGIN = 36  # of the page
WIDEST = 6  # columns, where nobody says how many
TITLE, NAME, TEXT = 28, 21, 17  # of letters
BAR = 6

PAGE, CARD, INK, FAINT, TRACK = "#f3f4f6", "#ffffff", "#1f2328", "#6a737d", "#e4e7eb"
PLAIN, RIGHT, WRONG = "#2f6fd0", "#15803d", "#c62828"


@dataclass(frozen=True)
class Tile:
    """A picture and what is written below it.

    Attributes:
        image: uint8 (H, W, 3), of any size.
        caption: the picture's name; its middle is left out where it is too long.
        predictions: names of classes with confidences in [0, 1], the best first; there may be none.
        label: the true class, where it is known: predictions are then marked as right or wrong.
        note: a last line.
    """

    image: np.ndarray
    caption: str
    predictions: Sequence[tuple[str, float]]
    label: str | None = None
    note: str = ""


def draw_gallery(tiles: Sequence[Tile], file: Path, title: str = "", columns: int | None = None) -> None:
    """Writes a page of cards, row by row. Small pictures are enlarged pixel by pixel, large ones made smaller.

    Args:
        tiles: the pictures; with none the page says so.
        file: a `.png`; the page is put there in one step.
        title: a line above them.
        columns: cards side by side; None for about as many as rows, at most six.
    """
    columns = columns or min(WIDEST, max(1, math.ceil(math.sqrt(len(tiles) * 1.3))))
    _draw_page([tiles[start : start + columns] for start in range(0, len(tiles), columns)], file, title)


def draw_neighbours(rows: Sequence[Sequence[Tile]], file: Path, title: str = "") -> None:
    """Writes a page with a row for each picture: the picture itself, and a little apart those that are compared to it.

    Args:
        rows: each starts with the picture.
        file: as for `draw_gallery`.
        title: as for `draw_gallery`.
    """
    _draw_page(rows, file, title, apart=2 * GAP)


def _draw_page(rows: Sequence[Sequence[Tile]], file: Path, title: str, apart: int = 0) -> None:
    """Writes a page; the cards of a row are as high as the highest, and the first column is so far from the others."""
    columns = max((len(row) for row in rows), default=2)
    step = SIDE + 2 * PADDING + GAP
    width = 2 * MARGIN + columns * step - GAP + apart
    heading = _wrapped(title, typeface(TITLE, bold=True), width - 2 * MARGIN)
    if not rows:
        heading.append("No images.")
    tops = [MARGIN + len(heading) * (TITLE + 12) + (12 if heading else 0)]
    for row in rows:
        tops.append(tops[-1] + max(_height(tile) for tile in row) + GAP)
    page = Image.new("RGB", (width, tops[-1] - (GAP if rows else 0) + MARGIN), PAGE)
    draw = ImageDraw.Draw(page)
    for number, line in enumerate(heading):
        draw.text((MARGIN, MARGIN + number * (TITLE + 12)), line, INK, typeface(TITLE, bold=True))
    for row, top, below in zip(rows, tops, tops[1:], strict=False):
        for column, tile in enumerate(row):
            left = MARGIN + column * step + (apart if column else 0)
            box = (left, top, left + SIDE + 2 * PADDING - 1, below - GAP - 1)
            draw.rounded_rectangle(box, 12, CARD)
            _draw_tile(page, draw, tile, left + PADDING, top + PADDING)
    with replacing(file) as temporary:
        page.save(temporary, "PNG")


def _draw_tile(page: Image.Image, draw: ImageDraw.ImageDraw, tile: Tile, left: int, top: int) -> None:
    """Draws what is on a card; `_height` counts the same lines."""
    picture = _fitted(tile.image)
    x, y = left + (SIDE - picture.width) // 2, top + (SIDE - picture.height) // 2
    draw.rectangle((left, top, left + SIDE - 1, top + SIDE - 1), PAGE)
    page.paste(picture, (x, y))
    top += SIDE + 10
    draw.text((left, top), shortened(tile.caption, typeface(TEXT), SIDE, keep_end=True), FAINT, typeface(TEXT))
    top += TEXT + 12
    for number, (name, confidence) in enumerate(tile.predictions):
        best = number == 0
        font, colour = (typeface(NAME, bold=True), INK) if best else (typeface(TEXT), FAINT)
        mark = ""
        if tile.label is not None and best:
            mark, colour = ("✓ ", RIGHT) if name == tile.label else ("✗ ", WRONG)
        share = f"{confidence:.1%}"
        room = SIDE - int(font.getlength(share)) - 12
        draw.text((left, top), shortened(mark + name, font, room), colour, font)
        draw.text((left + SIDE, top), share, colour, font, anchor="ra")
        top += int(font.size) + 8
        filled = RIGHT if name == tile.label else colour if best and tile.label is not None else PLAIN
        _draw_bar(draw, left, top, confidence, filled if best or name == tile.label else "#a9b4c2")
        top += BAR + 12
    for text, font, colour in _closing(tile):
        draw.text((left, top), shortened(text, font, SIDE), colour, font)
        top += int(font.size) + 10


def _height(tile: Tile) -> int:
    lines = [NAME, *[TEXT] * (len(tile.predictions) - 1)] if tile.predictions else []
    below = sum(size + 8 + BAR + 12 for size in lines) + sum(int(font.size) + 10 for _, font, _ in _closing(tile))
    return PADDING + SIDE + 10 + TEXT + 12 + below + PADDING // 2


def _closing(tile: Tile) -> list[tuple[str, ImageFont.FreeTypeFont, str]]:
    """Lines below the predictions, with their fonts and colours."""
    lines = []
    if tile.label is not None and not tile.predictions:
        lines.append((tile.label, typeface(NAME, bold=True), INK))
    elif tile.label is not None and tile.label != tile.predictions[0][0]:
        lines.append((f"true: {tile.label}", typeface(TEXT), INK))
    if tile.note:
        lines.append((tile.note, typeface(TEXT), FAINT))
    return lines


def _draw_bar(draw: ImageDraw.ImageDraw, left: int, top: int, share: float, colour: str) -> None:
    draw.rounded_rectangle((left, top, left + SIDE - 1, top + BAR - 1), BAR // 2, TRACK)
    if (length := round(share * SIDE)) >= BAR:
        draw.rounded_rectangle((left, top, left + length - 1, top + BAR - 1), BAR // 2, colour)


def _fitted(pixels: np.ndarray) -> Image.Image:
    """A picture whose longer side is SIDE. The pixels of a small one stay squares with sharp edges."""
    picture = Image.fromarray(pixels)
    longer = max(picture.size)
    width, height = (max(1, round(side * SIDE / longer)) for side in picture.size)
    if 2 * longer > SIDE:
        return picture.resize((width, height), Image.Resampling.LANCZOS)
    factor = math.ceil(SIDE / longer)
    enlarged = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    return enlarged.resize((width, height), Image.Resampling.BOX)


@functools.cache
def typeface(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which Matplotlib ships, in a size in pixels."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return ImageFont.truetype(folder / ("DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"), size)


def shortened(text: str, font: ImageFont.FreeTypeFont, width: int, keep_end: bool = False) -> str:
    """The text, without its end or its middle where it is wider than that."""
    text = printable(text)
    shown, kept = text, min(len(text), width)
    while font.getlength(shown) > width and kept > 1:
        kept -= 1
        end = kept // 2 if keep_end else 0
        shown = f"{text[: kept - end].rstrip()}…{text[len(text) - end :]}"
    return shown


def _wrapped(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Lines of words that are no wider than that."""
    lines: list[str] = []
    for word in text.split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(shortened(word, font, width, keep_end=True))
    return lines
