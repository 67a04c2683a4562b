"""Draw what a network has learned so far, as pictures small enough for TensorBoard's event file."""

import io
from collections.abc import Sequence

import torch
from matplotlib.figure import Figure
from PIL import Image, ImageDraw
from torch import Tensor

from cnnlab.display import prepare_texts
from cnnlab.inspection.page.tiles import draw_filters
from cnnlab.reports.confusion import draw_confusion_matrix
from cnnlab.reports.gallery import FAINT, INK, PAGE, RIGHT, WRONG, fit_into_square, shortened, typeface
from cnnlab.style import styled

COLUMNS = 4
# Sizes in pixels.
SIDE = 96  # sample image
LINE = 18
WIDTH = 116  # sample with its text
TITLE = 34
MOST_WIDTH = 1100  # figure


@styled
def filters_picture(filters: Tensor) -> Image.Image:
    """Draw the filters of a layer, float32 (out, in, height, width), with `draw_filters`."""
    return _picture(draw_filters(filters, grey=False), dpi=110)


@styled
def confusion_picture(logits: Tensor, labels: Tensor, classes: Sequence[str]) -> Image.Image:
    """Draw the confusion matrix of logits (N, classes) and class numbers, int64 (N,)."""
    number = len(classes)
    counts = torch.bincount(labels * number + logits.argmax(dim=1), minlength=number**2).reshape(number, number)
    return _picture(draw_confusion_matrix(counts.numpy(), classes, "Test images", small=True), dpi=100)


def samples_picture(pixels: Tensor, labels: Tensor, probabilities: Tensor, classes: Sequence[str]) -> Image.Image:
    """Draw images with predicted class and confidence: correct ones in green, the others with their true class.

    Pixels are uint8 (M, H, W, 3), square, of any size; labels int64 (M,); probabilities float32 (M, classes).
    """
    height = SIDE + 2 * LINE + 14
    rows = -(-len(pixels) // COLUMNS)
    page = Image.new("RGB", (COLUMNS * WIDTH + 8, rows * height + TITLE), PAGE)
    draw = ImageDraw.Draw(page)
    bold, plain = typeface(14, bold=True), typeface(13)
    draw.text((8, 8), f"{len(pixels)} images: the network's answer and its confidence", INK, plain)
    for place, (image, label, row) in enumerate(zip(pixels.numpy(), labels.tolist(), probabilities, strict=True)):
        left, top = 8 + place % COLUMNS * WIDTH, TITLE + place // COLUMNS * height
        page.paste(fit_into_square(image, SIDE), (left, top))
        predicted, confidence = int(row.argmax()), f"{float(row.max()):.0%}"
        room = WIDTH - 12
        top += SIDE + 3
        colour, mark = (RIGHT, "✓") if predicted == label else (WRONG, "✗")
        text = shortened(f"{mark} {classes[predicted]}", bold, room - int(plain.getlength(confidence)) - 4)
        draw.text((left, top), text, colour, bold)
        draw.text((left + bold.getlength(text) + 4, top + 1), confidence, INK, plain)
        if predicted != label:
            draw.text((left, top + LINE), shortened(f"true: {classes[label]}", plain, room), FAINT, plain)
    return page


def _picture(figure: Figure, dpi: int) -> Image.Image:
    buffer = io.BytesIO()
    prepare_texts(figure)
    figure.savefig(buffer, format="png", dpi=min(dpi, MOST_WIDTH / figure.get_figwidth()))
    return Image.open(buffer).convert("RGB")
