"""Draw pictures of six classes of CIFAR-10 for a live page that anyone may pass on: python draw_pictures.py FOLDER."""

import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter

SIDE = 256  # pixels; the page makes 32 of them
Pen = ImageDraw.ImageDraw


def scene(above: str, below: str, horizon: int) -> tuple[Image.Image, Pen]:
    """Return a picture with a soft transition from one colour to another at the horizon, and a pen for it."""
    picture = Image.new("RGB", (SIDE, SIDE), above)
    ImageDraw.Draw(picture).rectangle((0, horizon, SIDE, SIDE), fill=below)
    picture = picture.filter(ImageFilter.GaussianBlur(10))
    return picture, ImageDraw.Draw(picture)


def wheels(pen: Pen, *middles: int, y: int = 178, radius: int = 22) -> None:
    """Draw wheels side by side."""
    for x in middles:
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill="#1b1b1d")
        pen.ellipse((x - 9, y - 9, x + 9, y + 9), fill="#a9adb3")


def airplane() -> Image.Image:
    """Draw an airplane in the sky."""
    picture, pen = scene("#6f9fd8", "#b9d4ee", 200)
    pen.polygon([(18, 138), (56, 118), (214, 112), (240, 124), (214, 138), (60, 148)], fill="#e9edf2")
    pen.polygon([(112, 126), (150, 126), (104, 196), (84, 196)], fill="#c3cad3")
    pen.polygon([(130, 114), (158, 114), (112, 66), (98, 66)], fill="#d4dae1")
    pen.polygon([(18, 138), (20, 84), (42, 84), (66, 120)], fill="#b34a3c")
    return picture


def automobile() -> Image.Image:
    """Draw a red car on a road."""
    picture, pen = scene("#a8b7a0", "#6b6b6e", 168)
    pen.rounded_rectangle((22, 118, 236, 178), 20, fill="#b3201f")
    pen.polygon([(66, 120), (92, 76), (172, 76), (206, 120)], fill="#8f1716")
    pen.polygon([(80, 116), (98, 86), (128, 86), (128, 116)], fill="#bcd0dd")
    pen.polygon([(138, 116), (138, 86), (166, 86), (188, 116)], fill="#bcd0dd")
    wheels(pen, 72, 184)
    return picture


def bird() -> Image.Image:
    """Draw a small brown bird on a branch."""
    picture, pen = scene("#9db69a", "#c8d3b4", 220)
    pen.line([(0, 206), (256, 190)], fill="#57432f", width=14)
    pen.ellipse((72, 82, 180, 190), fill="#8a6a48")
    pen.ellipse((84, 110, 150, 188), fill="#d9c9a9")
    pen.ellipse((140, 52, 204, 116), fill="#7a5c3d")
    pen.polygon([(200, 78), (230, 88), (200, 96)], fill="#d69a2d")
    pen.polygon([(84, 140), (20, 176), (34, 190), (104, 170)], fill="#5f472f")
    pen.ellipse((172, 72, 184, 84), fill="#141414")
    return picture


def frog() -> Image.Image:
    """Draw a green frog on the ground."""
    picture, pen = scene("#5a4a34", "#7d6a4b", 128)
    pen.ellipse((58, 92, 198, 204), fill="#5f8f2f")
    pen.ellipse((20, 142, 92, 214), fill="#4d7a26")
    pen.ellipse((164, 142, 236, 214), fill="#4d7a26")
    for x in (84, 148):
        pen.ellipse((x, 62, x + 42, 104), fill="#6fa23a")
        pen.ellipse((x + 12, 72, x + 30, 92), fill="#16160f")
    pen.arc((88, 110, 168, 168), 20, 160, fill="#2f4d16", width=6)
    return picture


def ship() -> Image.Image:
    """Draw a ship on the sea."""
    picture, pen = scene("#a9c6e4", "#2c5d8f", 164)
    pen.polygon([(22, 142), (236, 142), (206, 196), (52, 196)], fill="#26313d")
    pen.rectangle((36, 142, 224, 152), fill="#a3312a")
    pen.rectangle((84, 96, 184, 142), fill="#eef1f4")
    pen.rectangle((104, 66, 154, 96), fill="#dfe5ea")
    pen.rectangle((118, 38, 140, 66), fill="#c0492f")
    return picture


def truck() -> Image.Image:
    """Draw a truck on a road."""
    picture, pen = scene("#b8c9da", "#777779", 180)
    pen.rectangle((16, 62, 168, 170), fill="#e4e6e8")
    pen.polygon([(174, 96), (214, 96), (240, 134), (240, 170), (174, 170)], fill="#2456a0")
    pen.polygon([(186, 106), (210, 106), (228, 134), (186, 134)], fill="#c4d7e6")
    wheels(pen, 56, 112, 208)
    return picture


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(exist_ok=True)
    for draw in (airplane, automobile, bird, frog, ship, truck):
        draw().save(folder / f"{draw.__name__}.png")
