"""Encoded images to pixels."""

import io
import warnings

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.io import ImageReadMode, decode_image

MAX_PIXELS = 100_000_000  # of a picture; a small file can claim to hold any number
# Of the way to TorchCodec. Said once here: what silences warnings within a thread does so in all of them.
warnings.filterwarnings("ignore", "The image decoding", DeprecationWarning)
PNG = b"\x89PNG\r\n\x1a\n"  # what such a file starts with


class UnreadablePicture(ValueError):
    """A picture that cannot be read: broken, empty, of no known format, or so large that it must be an attack."""


def decode(content: bytes) -> Tensor:
    """The pixels of an encoded image; of an animation the first picture.

    PNG is left to Pillow, though it takes twice as long: torchvision's reader ends the whole process where a file
    is damaged (of 150 that were cut short or changed, 93 did so; of JPEG, GIF and WebP none did).

    Args:
        content: of a PNG, JPEG, GIF or WebP file.

    Returns:
        uint8 (C, H, W), where C is 1 or 3.

    Raises:
        Exception: of many kinds, when it is damaged or of another format.
    """
    if content.startswith(PNG):
        with Image.open(io.BytesIO(content), formats=["PNG"]) as opened:
            return to_rgb(opened)
    # A bytearray, for torch warns of bytes that cannot be written to.
    image = decode_image(torch.frombuffer(bytearray(content), dtype=torch.uint8), ImageReadMode.RGB, True)
    return image[0] if image.ndim == 4 else image


def to_rgb(picture: Image.Image) -> Tensor:
    """The pixels of an opened picture: turned as EXIF says, transparency dropped, of 16 bits the upper 8.

    Returns:
        uint8 (C, H, W), where C is 1 or 3.

    Raises:
        UnreadablePicture: when its values are floats, or when it has more than `MAX_PIXELS`.
        OSError: when it is damaged.
    """
    if picture.width * picture.height > MAX_PIXELS:
        raise too_large()
    picture = ImageOps.exif_transpose(picture)
    if picture.mode in ("I", "I;16", "I;16B", "I;16L"):  # 16 bits of grey
        values = np.asarray(picture).astype(np.int64).clip(0, 65535)
        return torch.from_numpy((values >> 8).astype(np.uint8))[None]
    if picture.mode == "F":
        raise UnreadablePicture("its values are floats, of which nobody says what is white")
    if picture.mode == "P" or picture.mode == "PA":  # a palette may hold transparent colours, which convert mixes in
        picture = picture.convert("RGBA")
    return torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)


def too_large() -> UnreadablePicture:
    """What is raised for a picture of more than `MAX_PIXELS`."""
    return UnreadablePicture(f"it has more than {MAX_PIXELS:,} pixels")
