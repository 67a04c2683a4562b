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
from cnnlab.style import PAGE_COLOURS

# Sizes in pixels.
SIDE = 288  # square that a picture is fitted into: 9 times 32, 3 times 96
PADDING = 16  # inside a card
GAP = 20  # between cards
MARGIN = 36  # around the page
TITLE, NAME, TEXT = 28, 21, 17  # font sizes
BAR = 6
MOST_COLUMNS = 6  # unless a number of columns is asked for

PAGE, CARD, INK, FAINT, TRACK, PLAIN, OTHER, RIGHT, WRONG = (
    PAGE_COLOURS[name][0] for name in ("wash", "card", "ink", "soft", "line", "accent", "soft", "good", "warm")
)


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
    rows = [tiles[start : start + columns] for start in range(0, len(tiles), columns)]
    with replacing(file) as temporary:
        _draw_page(rows, title).save(temporary, "PNG")


def draw_neighbours(rows: Sequence[Sequence[Tile]], file: Path, title: str = "") -> None:
    """Write a page, as a `.png`, with a row for each picture: the picture first and, set apart, its neighbours."""
    with replacing(file) as temporary:
        _draw_page(rows, title, apart=2 * GAP).save(temporary, "PNG")


def _draw_page(rows: Sequence[Sequence[Tile]], title: str = "", apart: int = 0) -> Image.Image:
    """Return a page whose first column is `apart` pixels farther from the others; cards of a row are equally high."""
    columns = max((len(row) for row in rows), default=2)
    width = 2 * MARGIN + columns * (SIDE + 2 * PADDING + GAP) - GAP + apart
    heading = _wrapped(title, typeface(TITLE, bold=True), width - 2 * MARGIN) + ([] if rows else ["No images."])
    contents = [[_content(tile) for tile in row] for row in rows]
    heights = [max(content.height for content in row) + 2 * PADDING for row in contents]
    top = MARGIN + len(heading) * (TITLE + 12) + (12 if heading else 0)
    page = Image.new("RGB", (width, top + sum(heights) + (len(rows) - 1) * GAP + MARGIN), PAGE)
    draw = ImageDraw.Draw(page)
    for number, line in enumerate(heading):
        draw.text((MARGIN, MARGIN + number * (TITLE + 12)), line, INK, typeface(TITLE, bold=True))
    for row, height in zip(contents, heights, strict=True):
        left = MARGIN
        for content in row:
            draw.rounded_rectangle((left, top, left + SIDE + 2 * PADDING - 1, top + height - 1), 12, CARD)
            page.paste(content, (left + PADDING, top + PADDING))
            left += SIDE + 2 * PADDING + GAP + (apart if left == MARGIN else 0)
        top += height + GAP
    return page


def _content(tile: Tile) -> Image.Image:
    """Draw what is on a card: a picture, and below it its name, the predictions, the true class and the note."""
    lines = 3 + len(tile.predictions)  # at most, of which none is higher than a name with its bar
    card = Image.new("RGB", (SIDE, SIDE + 10 + lines * (NAME + 10 + BAR + 12)), CARD)
    draw = ImageDraw.Draw(card)
    draw.rectangle((0, 0, SIDE - 1, SIDE - 1), PAGE)
    picture = fit_into_square(tile.image, SIDE)
    card.paste(picture, ((SIDE - picture.width) // 2, (SIDE - picture.height) // 2))
    top = SIDE + 10

    def write(text: str, font: ImageFont.FreeTypeFont, colour: str, share: str = "", keep_end: bool = False) -> None:
        nonlocal top
        room = SIDE - (int(font.getlength(share)) + 12 if share else 0)
        draw.text((0, top), shortened(text, font, room, keep_end), colour, font)
        draw.text((SIDE, top), share, colour, font, anchor="ra")
        top += int(font.size) + 10

    plain, bold = typeface(TEXT), typeface(NAME, bold=True)
    write(tile.caption, plain, FAINT, keep_end=True)
    for place, (name, confidence) in enumerate(tile.predictions):
        best, is_right = place == 0, name == tile.label
        bar = RIGHT if is_right else PLAIN if best else OTHER
        if best and tile.label is not None:
            bar = RIGHT if is_right else WRONG
            write(f"{'✓' if is_right else '✗'} {name}", bold, bar, f"{confidence:.1%}")
        else:
            write(name, *((bold, INK) if best else (plain, FAINT)), f"{confidence:.1%}")
        draw.rounded_rectangle((0, top, SIDE - 1, top + BAR - 1), BAR // 2, TRACK)
        if (length := round(confidence * SIDE)) >= BAR:
            draw.rounded_rectangle((0, top, length - 1, top + BAR - 1), BAR // 2, bar)
        top += BAR + 12
    if tile.label is not None and not tile.predictions:
        write(tile.label, bold, INK)
    elif tile.label is not None and tile.label != tile.predictions[0][0]:
        write(f"true: {tile.label}", plain, INK)
    if tile.note:
        write(tile.note, plain, FAINT)
    return card.crop((0, 0, SIDE, top - PADDING // 2))


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
