"""Decode images into pixels."""

import io
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms.v2 import functional

from cnnlab.data.listing import picture_formats
from cnnlab.instantiate import first_line

MAX_PIXELS = 100_000_000  # per picture: a small file can claim to hold any number
TOO_LARGE = f"it has more than {MAX_PIXELS:,} pixels"
# torchvision advertises TorchCodec. Silenced here once, since filters set within a thread would affect all threads.
warnings.filterwarnings("ignore", "The image decoding", DeprecationWarning)


class UnreadablePicture(ValueError):
    """Raised for a picture that is damaged, empty, of no known format, or suspiciously large."""


def decode(picture: bytes | Path) -> Tensor:
    """Decode an image, or the first frame of an animation. Training, prediction and all else read files with this.

    Pillow decodes PNG, although it takes twice as long: torchvision's reader ends the whole process if a PNG file is
    damaged (93 of 150 files that were cut short or changed did so; no JPEG file did).

    Args:
        picture: a file of a format in `cnnlab.data.listing.picture_formats`, or its content.

    Returns:
        uint8 (C, H, W) with 1 or 3 channels.

    Raises:
        UnreadablePicture: if it cannot be read. The message says why in a few words, but not the file's name.
    """
    with _explained():
        return _decode(picture if isinstance(picture, bytes) else _content(picture))


def read_square(picture: bytes | Path, size: int) -> Tensor:
    """Decode an image and bring it to RGB and `size` x `size` pixels, uint8 (size, size, 3).

    Raises:
        UnreadablePicture: as `decode` and `to_rgb_square` do.
    """
    return to_rgb_square(decode(picture), size).permute(1, 2, 0).contiguous()


def to_rgb_square(image: Tensor, size: int) -> Tensor:
    """Bring images to RGB and `size` x `size` pixels: resize the shorter side, then cut out the middle.

    Args:
        image: uint8 (..., C, H, W) with one or three channels.
        size: height and width in pixels.

    Returns:
        uint8 (..., 3, size, size).

    Raises:
        UnreadablePicture: if there would be more than `MAX_PIXELS` pixels after resizing.
    """
    if image.shape[-3] == 1:
        image = image.expand(*image.shape[:-3], 3, *image.shape[-2:])
    if image.shape[-2:] == (size, size):
        return image
    shorter, longer = sorted(image.shape[-2:])
    if longer * size * size > MAX_PIXELS * shorter:
        raise UnreadablePicture(f"{image.shape[-1]} x {image.shape[-2]} pixels are too long and narrow")
    return functional.center_crop(functional.resize(image, [size], antialias=True), [size])


@contextmanager
def _explained() -> Iterator[None]:
    """Turn every error into UnreadablePicture."""
    try:
        yield
    except UnreadablePicture:
        raise
    except Image.DecompressionBombError:
        raise UnreadablePicture(TOO_LARGE) from None
    except Image.UnidentifiedImageError:
        raise UnreadablePicture("it is not an image of a known format") from None
    except OSError as error:
        raise UnreadablePicture(error.strerror or first_line(error)) from None
    except Exception as error:  # the readers of the formats raise nearly anything on damaged files
        raise UnreadablePicture(first_line(error)) from None


def _content(path: Path) -> bytes:
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise UnreadablePicture("it is a folder, perhaps without permission to read it")
    if not stat.S_ISREG(mode):  # reading a pipe or a device may take forever
        raise UnreadablePicture("it is not a file")
    return path.read_bytes()


def _decode(content: bytes) -> Tensor:
    with Image.open(io.BytesIO(content), formats=picture_formats()) as opened:
        if opened.format != "JPEG":
            return to_rgb(opened)
        if opened.width * opened.height > MAX_PIXELS:
            raise UnreadablePicture(TOO_LARGE)
    # A bytearray, because torch warns about memory that cannot be written to.
    return decode_image(torch.frombuffer(bytearray(content), dtype=torch.uint8), ImageReadMode.RGB, True)


def decode_opened(picture: Image.Image) -> Tensor:
    """Return the pixels of a picture that Pillow opened or made; see `decode`."""
    with _explained():
        return to_rgb(picture)


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
