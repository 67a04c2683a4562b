"""Pictures of what a network has learned so far, small enough for an event file."""

import io
from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image, ImageDraw
from torch import Tensor

from cnnlab.inspection.page.tiles import draw_filters
from cnnlab.reports.confusion import draw_confusion_matrix
from cnnlab.reports.gallery import FAINT, INK, PAGE, RIGHT, WRONG, shortened, typeface

COLUMNS = 4
SIDE = 96  # pixels of a sample image
LINE = 15
WIDTH = 132  # of a sample with its lines
WIDEST = 1100  # pixels of a figure


def filters_picture(filters: Tensor) -> Image.Image:
    """All filters of a layer; see `cnnlab.inspection.page.tiles.draw_filters`.

    Args:
        filters: float32 (out, in, height, width).
    """
    return _picture(draw_filters(filters), dpi=110)


def confusion_picture(logits: Tensor, labels: Tensor, classes: Sequence[str]) -> Image.Image:
    """The confusion matrix of some answers.

    Args:
        logits: (N, classes).
        labels: class numbers, int64 (N,).
        classes: names by class number.
    """
    number = len(classes)
    counts = torch.bincount(labels * number + logits.argmax(dim=1), minlength=number**2).reshape(number, number)
    return _picture(draw_confusion_matrix(counts.numpy(), classes), dpi=100)


def samples_picture(pixels: Tensor, labels: Tensor, probabilities: Tensor, classes: Sequence[str]) -> Image.Image:
    """Images with what a network takes them for and how sure it is: green where it is right, else with the true class.

    Args:
        pixels: uint8 (M, H, W, 3), of any size.
        labels: class numbers, int64 (M,).
        probabilities: of the classes, float32 (M, classes).
        classes: names by class number.
    """
    height = SIDE + 2 * LINE + 14
    rows = -(-len(pixels) // COLUMNS)
    page = Image.new("RGB", (COLUMNS * WIDTH + 8, rows * height + 8), PAGE)
    draw = ImageDraw.Draw(page)
    bold, plain = typeface(12, bold=True), typeface(11)
    for place, (image, label, row) in enumerate(zip(pixels.numpy(), labels.tolist(), probabilities, strict=True)):
        left, top = 8 + place % COLUMNS * WIDTH, 8 + place // COLUMNS * height
        page.paste(_tile(image), (left, top))
        answer, confidence = int(row.argmax()), f"{float(row.max()):.0%}"
        room = WIDTH - 12
        top += SIDE + 3
        colour, mark = (RIGHT, "✓") if answer == label else (WRONG, "✗")
        text = shortened(f"{mark} {classes[answer]}", bold, room - int(plain.getlength(confidence)) - 4)
        draw.text((left, top), text, colour, bold)
        draw.text((left + bold.getlength(text) + 4, top + 1), confidence, INK, plain)
        if answer != label:
            draw.text((left, top + LINE), shortened(f"true: {classes[label]}", plain, room), FAINT, plain)
    return page


def _tile(pixels: np.ndarray) -> Image.Image:
    """A square picture; the pixels of a small one stay squares."""
    picture = Image.fromarray(pixels)
    smooth = picture.width > SIDE or SIDE % picture.width
    return picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS if smooth else Image.Resampling.NEAREST)


def _picture(figure: Figure, dpi: int) -> Image.Image:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=min(dpi, WIDEST / figure.get_figwidth()))
    return Image.open(buffer).convert("RGB")
