"""Draw a page of pictures with their predictions, as a PNG."""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cnnlab.errors import printable
from cnnlab.files import replacing

# Sizes in pixels.
SIDE = 288  # square that a picture is fitted into: 9 times 32, 3 times 96
PADDING = 16  # inside a card
GAP = 20  # between cards
MARGIN = 36  # around the page
TITLE, NAME, TEXT = 28, 21, 17  # font sizes
BAR = 6
MOST_COLUMNS = 6  # unless a number of columns is asked for

PAGE, CARD, INK, FAINT, TRACK = "#f3f4f6", "#ffffff", "#1f2328", "#6a737d", "#e4e7eb"
PLAIN, OTHER, RIGHT, WRONG = "#2f6fd0", "#a9b4c2", "#15803d", "#c62828"


@dataclass(frozen=True)
class Tile:
    """Hold a picture and the text below it."""

    image: np.ndarray  # uint8 (H, W, 3), of any size
    caption: str  # name of the picture; shortened in the middle if it is too long
    predictions: Sequence[tuple[str, float]]  # class names with confidences in [0, 1], most probable first
    label: str | None = None  # true class; if it is known, the prediction is marked as right or wrong
    note: str = ""  # last line


def draw_gallery(tiles: Sequence[Tile], file: Path, title: str = "", columns: int | None = None) -> None:
    """Write a page of cards, row by row, as a `.png`; without columns, it is nearly square and at most six wide."""
    columns = columns or min(MOST_COLUMNS, max(1, math.ceil(math.sqrt(len(tiles) * 1.3))))
    _draw_page([tiles[start : start + columns] for start in range(0, len(tiles), columns)], file, title)


def draw_neighbours(rows: Sequence[Sequence[Tile]], file: Path, title: str = "") -> None:
    """Write a page, as a `.png`, with a row for each picture: the picture first and, set apart, its neighbours."""
    _draw_page(rows, file, title, apart=2 * GAP)


def _draw_page(rows: Sequence[Sequence[Tile]], file: Path, title: str, apart: int = 0) -> None:
    """Write a page whose first column is `apart` pixels farther from the others; cards of a row are equally high."""
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
    picture = fit_into_square(tile.image, SIDE)
    x, y = left + (SIDE - picture.width) // 2, top + (SIDE - picture.height) // 2
    draw.rectangle((left, top, left + SIDE - 1, top + SIDE - 1), PAGE)
    page.paste(picture, (x, y))
    top += SIDE + 10
    draw.text((left, top), shortened(tile.caption, typeface(TEXT), SIDE, keep_end=True), FAINT, typeface(TEXT))
    top += TEXT + 12
    for line in _lines(tile):
        room = SIDE
        if line.share is not None:
            share = f"{line.share:.1%}"
            draw.text((left + SIDE, top), share, line.colour, line.font, anchor="ra")
            _draw_bar(draw, left, top + int(line.font.size) + 8, line.share, line.bar)
            room -= int(line.font.getlength(share)) + 12
        draw.text((left, top), shortened(line.text, line.font, room), line.colour, line.font)
        top += line.height


@dataclass(frozen=True)
class _Line:
    """Hold a line of text; with a share, it has a bar in a colour of its own below it."""

    text: str
    font: ImageFont.FreeTypeFont
    colour: str
    share: float | None = None
    bar: str = ""

    @property
    def height(self) -> int:
        return int(self.font.size) + (10 if self.share is None else 8 + BAR + 12)


def _lines(tile: Tile) -> list[_Line]:
    """Return the lines below the caption: the predictions, the true class and the note."""
    lines = []
    for place, (name, confidence) in enumerate(tile.predictions):
        best, right = place == 0, name == tile.label
        font, colour, mark = (typeface(NAME, bold=True), INK, "") if best else (typeface(TEXT), FAINT, "")
        bar = RIGHT if right else PLAIN if best else OTHER
        if best and tile.label is not None:
            mark, colour = ("✓ ", RIGHT) if right else ("✗ ", WRONG)
            bar = colour
        lines.append(_Line(mark + name, font, colour, confidence, bar))
    if tile.label is not None and not tile.predictions:
        lines.append(_Line(tile.label, typeface(NAME, bold=True), INK))
    elif tile.label is not None and tile.label != tile.predictions[0][0]:
        lines.append(_Line(f"true: {tile.label}", typeface(TEXT), INK))
    if tile.note:
        lines.append(_Line(tile.note, typeface(TEXT), FAINT))
    return lines


def _height(tile: Tile) -> int:
    return PADDING + SIDE + 10 + TEXT + 12 + sum(line.height for line in _lines(tile)) + PADDING // 2


def _draw_bar(draw: ImageDraw.ImageDraw, left: int, top: int, share: float, colour: str) -> None:
    draw.rounded_rectangle((left, top, left + SIDE - 1, top + BAR - 1), BAR // 2, TRACK)
    if (length := round(share * SIDE)) >= BAR:
        draw.rounded_rectangle((left, top, left + length - 1, top + BAR - 1), BAR // 2, colour)


def fit_into_square(pixels: np.ndarray, side: int) -> Image.Image:
    """Resize a picture so that its longer side has `side` pixels; enlarged pixels keep sharp edges."""
    picture = Image.fromarray(pixels)
    longer = max(picture.size)
    width, height = (max(1, round(length * side / longer)) for length in picture.size)
    if 2 * longer > side:
        return picture.resize((width, height), Image.Resampling.LANCZOS)
    factor = math.ceil(side / longer)
    enlarged = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    return enlarged.resize((width, height), Image.Resampling.BOX)


@functools.cache
def typeface(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Return DejaVu Sans, which Matplotlib ships, in a size in pixels."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return ImageFont.truetype(folder / ("DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"), size)


def shortened(text: str, font: ImageFont.FreeTypeFont, width: int, keep_end: bool = False) -> str:
    """Return the text, cut at its end or in its middle if it is wider than `width` pixels."""
    text = printable(text)
    shown, kept = text, min(len(text), width)
    while font.getlength(shown) > width and kept > 1:
        kept -= 1
        end = kept // 2 if keep_end else 0
        shown = f"{text[: kept - end].rstrip()}…{text[len(text) - end :]}"
    return shown


def _wrapped(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Return the text in lines of at most `width` pixels."""
    lines: list[str] = []
    for word in text.split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(shortened(word, font, width, keep_end=True))
    return lines
