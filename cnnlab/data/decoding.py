"""Decode images into pixels."""

import io
import warnings

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.io import ImageReadMode, decode_image

MAX_PIXELS = 100_000_000  # per picture: a small file can claim to hold any number
TOO_LARGE = f"it has more than {MAX_PIXELS:,} pixels"
# torchvision advertises TorchCodec. Silenced here once, since filters set within a thread would affect all threads.
warnings.filterwarnings("ignore", "The image decoding", DeprecationWarning)
PNG = b"\x89PNG\r\n\x1a\n"  # first bytes of a PNG file


class UnreadablePicture(ValueError):
    """Raised for a picture that is damaged, empty, of no known format, or suspiciously large."""


def decode(content: bytes) -> Tensor:
    """Decode an image, or the first frame of an animation.

    Pillow decodes PNG, although it takes twice as long: torchvision's reader ends the whole process if a PNG file is
    damaged (93 of 150 files that were cut short or changed did so; no JPEG, GIF or WebP file did).

    Args:
        content: content of a PNG, JPEG, GIF or WebP file.

    Returns:
        uint8 (C, H, W) with 1 or 3 channels.

    Raises:
        Exception: of many kinds, if the file is damaged or of another format.
    """
    if content.startswith(PNG):
        with Image.open(io.BytesIO(content), formats=["PNG"]) as opened:
            return to_rgb(opened)
    _check_size(content)
    # A bytearray, because torch warns about memory that cannot be written to.
    image = decode_image(torch.frombuffer(bytearray(content), dtype=torch.uint8), ImageReadMode.RGB, True)
    return image[0] if image.ndim == 4 else image


def _check_size(content: bytes) -> None:
    """Raise UnreadablePicture for more than `MAX_PIXELS` pixels: torchvision takes the memory that a file claims."""
    try:
        with Image.open(io.BytesIO(content), formats=["JPEG", "GIF", "WEBP"]) as opened:
            width, height = opened.size
    except Image.UnidentifiedImageError:
        raise UnreadablePicture("it is not an image of a known format") from None
    except Image.DecompressionBombError:
        raise UnreadablePicture(TOO_LARGE) from None
    if width * height > MAX_PIXELS:
        raise UnreadablePicture(TOO_LARGE)


def to_rgb(picture: Image.Image) -> Tensor:
    """Return the pixels of an opened picture.

    The picture is turned as its EXIF data say, transparency is dropped, and the upper 8 of 16 bits are kept.

    Returns:
        uint8 (C, H, W) with 1 or 3 channels.

    Raises:
        UnreadablePicture: if its values are floats, or if it has more than `MAX_PIXELS` pixels.
        OSError: if it is damaged.
    """
    if picture.width * picture.height > MAX_PIXELS:
        raise UnreadablePicture(TOO_LARGE)
    picture = ImageOps.exif_transpose(picture)
    if picture.mode in ("I", "I;16", "I;16B", "I;16L"):  # 16 bits of grey
        values = np.asarray(picture).astype(np.int64).clip(0, 65535)
        return torch.from_numpy((values >> 8).astype(np.uint8))[None]
    if picture.mode == "F":
        raise UnreadablePicture("its values are floats, and the value of white is unknown")
    if picture.mode == "P" or picture.mode == "PA":  # a direct conversion would blend transparent colours in
        picture = picture.convert("RGBA")
    return torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)
