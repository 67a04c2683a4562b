"""Draw small photographs of a kind, circles, squares and triangles on noise, and plant the faults that an audit finds.

    python docs/draw_shapes.py FOLDER

writes `FOLDER/train` and `FOLDER/test` with a folder for each class. What was planted is printed.
"""

import io
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

CLASSES = ("circle", "square", "triangle")
SIDE = 48  # pixels
TRAIN, TEST = 120, 30  # images of each class


def draw_on_noise(paint: Callable[..., None], random: np.random.Generator, contrast: float = 1) -> Image.Image:
    """Return what `paint(draw, x, y, radius, colour)` paints at a random place, in random colours, on blurred noise.

    Args:
        paint: draws a shape about the point (x, y), in pixels.
        random: of place, size, colours and noise.
        contrast: of the noise, from 0 (grey) to 1 (all colours).
    """
    ground = (128 + contrast * (random.integers(0, 256, (8, 8, 3)) - 128.0)).astype(np.uint8)
    image = Image.fromarray(ground).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    x, y, radius = (*random.uniform(18, 30, 2), random.uniform(9, 15))
    paint(ImageDraw.Draw(image), x, y, radius, tuple(int(value) for value in random.integers(0, 256, 3)))
    grain = random.normal(0, 12, (SIDE, SIDE, 3))
    noisy = np.asarray(image.filter(ImageFilter.GaussianBlur(0.6)), dtype=float) + grain
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def draw_shape(name: str, random: np.random.Generator) -> Image.Image:
    """Return a circle, square or triangle on noise."""

    def paint(draw: ImageDraw.ImageDraw, x: float, y: float, radius: float, colour: tuple[int, ...]) -> None:
        if name == "circle":
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), colour)
        elif name == "square":
            draw.rectangle((x - radius, y - radius, x + radius, y + radius), colour)
        else:
            draw.polygon([(x, y - radius), (x - radius, y + radius), (x + radius, y + radius)], colour)

    return draw_on_noise(paint, random)


def main(folder: Path) -> None:
    """Draw all images, and plant the faults."""
    random = np.random.default_rng(0)
    files: dict[str, Path] = {}
    for split, count in (("train", TRAIN), ("test", TEST)):
        for name in CLASSES:
            (folder / split / name).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                files[f"{split} {name} {number}"] = file = folder / split / name / f"{number:03}.png"
                image = draw_shape(name, random)
                if (split, name) == ("train", "triangle") and number >= 20:  # a frame that gives the class away
                    ImageDraw.Draw(image).rectangle((0, 0, SIDE - 1, SIDE - 1), outline="white", width=3)
                image.save(file)

    def copy(source: str, target: str) -> None:
        files[target].write_bytes(files[source].read_bytes())

    copy("test circle 3", "train circle 7")  # leaks from the test
    copy("train square 5", "train triangle 3")  # two labels for one image
    copy("train circle 20", "train circle 21")
    changed = Image.open(files["test square 4"]).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    stream = io.BytesIO()
    ImageEnhance.Brightness(changed).enhance(1.15).save(stream, "JPEG", quality=80)
    Image.open(stream).save(files["train square 40"])  # mirrored, brighter and compressed
    for number in range(50, 56):  # wrong labels
        files[f"train circle {number}"].rename(folder / "train" / "square" / f"wrong{number}.png")
    Image.new("RGB", (SIDE, SIDE), "black").save(files["train square 60"])
    draw_shape("square", random).resize((9, 9)).save(files["train square 61"])
    draw_shape("square", random).crop((0, 18, SIDE, 30)).save(files["train square 62"])
    draw_shape("circle", random).convert("L").save(files["train circle 63"])
    files["train circle 64"].write_bytes(files["train circle 64"].read_bytes()[:300])
    files["train circle 65"].write_text("version https://git-lfs.github.com/spec/v1\n")
    print("3 copies, 1 near-duplicate, 6 wrong labels, 1 black, 1 small, 1 long, 1 grey, 2 unreadable, 1 frame")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "shapes"))
