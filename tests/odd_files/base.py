"""What odd files are made of."""

import io
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class OddFile:
    """A file, and what reading it gives.

    Attributes:
        content: content of the file.
        suffix: the file's suffix, which may be wrong.
        pixels: uint8 (H, W, 3), or None if it is refused.
        reason: a part of the reason why it is refused.
    """

    content: bytes
    suffix: str
    pixels: np.ndarray | None = None
    reason: str = ""


HEIGHT, WIDTH = 10, 14
ROWS, COLUMNS = np.mgrid[0:HEIGHT, 0:WIDTH]
# Survives JPEG, and none of its turns and reflections are alike.
SMOOTH = np.stack([17 * COLUMNS, 24 * ROWS, 5 * (ROWS + 2 * COLUMNS)], axis=-1).astype(np.uint8)
NOISE = np.random.default_rng(2).integers(0, 256, (HEIGHT, WIDTH, 4), dtype=np.uint8)
RGB, GREY, ALPHA = NOISE[..., :3], NOISE[..., 0], NOISE[..., 3]
DEEP = np.random.default_rng(3).integers(0, 65536, (HEIGHT, WIDTH, 4), dtype=np.uint16)
TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {  # what a viewer does for each orientation
    1: lambda image: image,
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: np.rot90(image, -1),
    7: lambda image: image[::-1, ::-1].swapaxes(0, 1),
    8: lambda image: np.rot90(image),
}
TRUNCATED, DAMAGED = "it is truncated", "it is truncated or damaged"
TOO_LARGE = "it has more than 100,000,000 pixels"


def encoded(image: Image.Image | np.ndarray, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture(image).save(buffer, form, **options)
    return buffer.getvalue()


def picture(image: Image.Image | np.ndarray) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(image)) if isinstance(image, np.ndarray) else image


def with_alpha(image: np.ndarray) -> Image.Image:
    transparent = picture(image)
    transparent.putalpha(picture(ALPHA))
    return transparent


def palette(colours: int = 32) -> Image.Image:
    return picture(RGB).convert("P", palette=Image.Palette.ADAPTIVE, colors=colours)


def black_and_white() -> Image.Image:
    return picture(GREY).convert("1")


def shown(image: Image.Image | bytes) -> np.ndarray:
    """The pixels of an image in which nothing is odd."""
    return np.asarray((Image.open(io.BytesIO(image)) if isinstance(image, bytes) else image).convert("RGB"))


def grey(values: np.ndarray) -> np.ndarray:
    return np.stack([values] * 3, axis=-1)


def upper(values: np.ndarray) -> np.ndarray:
    """The upper 8 of 16 bits."""
    return (values >> 8).astype(np.uint8)


def changed(content: bytes, place: int, new: bytes) -> bytes:
    return content[:place] + new + content[place + len(new) :]


def exif(orientation: bytes, kind: int = 3, count: int = 1, endian: str = ">") -> bytes:
    """EXIF data with nothing but an orientation; kind 1 is BYTE, 2 ASCII, 3 SHORT, 4 LONG, 11 FLOAT."""
    start = (b"MM\0*" if endian == ">" else b"II*\0") + struct.pack(endian + "IH", 8, 1)
    return start + struct.pack(endian + "HHI", 0x0112, kind, count) + orientation.ljust(4, b"\0") + bytes(4)


def turn(value: int, endian: str = ">") -> bytes:
    """EXIF data with an orientation in the usual form."""
    return exif(struct.pack(endian + "H", value), endian=endian)


def xmp(orientation: int, as_element: bool = False) -> bytes:
    element = f"<tiff:Orientation>{orientation}</tiff:Orientation>" if as_element else ""
    attribute = "" if as_element else f' tiff:Orientation="{orientation}"'
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/"{attribute}>{element}</rdf:Description>'
        "</rdf:RDF></x:xmpmeta>"
    ).encode()
