"""Draw images for the tutorial `own-images.md`: signs on noise, few of some classes, with faults among them.

    python docs/draw_signs.py FOLDER

writes `FOLDER/signs` (40 hearts, 20 stars and 8 arrows, and 100 of each for the test) and `FOLDER/shapes` (six other
classes with 300 images each, from which a network can learn what edges and corners are).
"""

import sys
from math import cos, pi, sin
from pathlib import Path

import numpy as np
from draw_shapes import draw_on_noise
from PIL import Image, ImageDraw

SIGNS = {"heart": 40, "star": 20, "arrow": 8}  # training images of each class
TEST = 100  # test images of each class
OTHERS = ("circle", "cross", "hexagon", "pentagon", "square", "triangle")
OTHER_TRAIN, OTHER_TEST = 300, 50


def outline(name: str) -> list[tuple[float, float]]:
    """Return the corners of a shape about the centre (0, 0), with a radius of 1. The second coordinate points down."""
    if name == "heart":
        turns = np.linspace(0, 2 * pi, 40)
        across = 16 * np.sin(turns) ** 3
        up = 13 * np.cos(turns) - 5 * np.cos(2 * turns) - 2 * np.cos(3 * turns) - np.cos(4 * turns)
        return [(float(x) / 16, -float(y) / 16) for x, y in zip(across, up, strict=True)]
    if name == "star":
        return [((0.45, 1)[n % 2 == 0] * sin(n * pi / 5), -(0.45, 1)[n % 2 == 0] * cos(n * pi / 5)) for n in range(10)]
    if name == "arrow":
        return [(0, -1), (0.8, -0.1), (0.3, -0.1), (0.3, 1), (-0.3, 1), (-0.3, -0.1), (-0.8, -0.1)]
    if name == "cross":
        x, y = 0.33, 1.0
        return [
            (-x, -y),
            (x, -y),
            (x, -x),
            (y, -x),
            (y, x),
            (x, x),
            (x, y),
            (-x, y),
            (-x, x),
            (-y, x),
            (-y, -x),
            (-x, -x),
        ]
    corners = {"triangle": 3, "square": 4, "pentagon": 5, "hexagon": 6, "circle": 40}[name]
    return [(sin(2 * pi * n / corners), -cos(2 * pi * n / corners)) for n in range(corners)]


def draw_sign(name: str, random: np.random.Generator) -> Image.Image:
    """Return a sign, turned by up to 20 degrees, on noise."""
    turn = random.uniform(-pi / 9, pi / 9)

    def paint(draw: ImageDraw.ImageDraw, x: float, y: float, radius: float, colour: tuple[int, ...]) -> None:
        corners = [(a * cos(turn) - b * sin(turn), a * sin(turn) + b * cos(turn)) for a, b in outline(name)]
        draw.polygon([(x + 1.2 * radius * a, y + 1.2 * radius * b) for a, b in corners], colour)

    return draw_on_noise(paint, random, contrast=0.4)


def write_images(folder: Path, counts: dict[str, int], random: np.random.Generator) -> None:
    """Write as many images of each class into folders with the names of the classes."""
    for name, count in counts.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            draw_sign(name, random).save(folder / name / f"{number:03}.png")


def main(folder: Path) -> None:
    """Draw both sets of images, and plant three faults among the training images of the signs."""
    random = np.random.default_rng(0)
    write_images(folder / "signs" / "train", SIGNS, random)
    write_images(folder / "signs" / "test", dict.fromkeys(SIGNS, TEST), random)
    write_images(folder / "shapes" / "train", dict.fromkeys(OTHERS, OTHER_TRAIN), random)
    write_images(folder / "shapes" / "test", dict.fromkeys(OTHERS, OTHER_TEST), random)
    signs = folder / "signs"
    (signs / "train/heart/007.png").write_bytes((signs / "test/heart/003.png").read_bytes())  # a leak from the test
    (signs / "train/star/003.png").write_bytes((signs / "train/heart/005.png").read_bytes())  # a wrong label
    (signs / "train/heart/011.png").write_bytes((signs / "train/heart/011.png").read_bytes()[:300])  # a broken file
    print("signs: 1 copy of a test image, 1 heart that is also called a star, 1 broken file")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "images"))
