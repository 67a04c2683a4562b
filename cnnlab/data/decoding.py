"""Decode images into pixels."""

import ctypes
import functools
import importlib.util
import io
import logging
import os
import platform
import stat
import struct
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from PIL import ExifTags, Image, TiffImagePlugin
from torch import Tensor, nn

from cnnlab.data.formats import RAW, picture_formats, why_unreadable

MAX_PIXELS = 100_000_000  # per picture: a small file can claim to hold any number
MAX_BYTES = 1_000_000_000  # that many pixels of 8 bytes, and some more
TOO_LARGE = f"it has more than {MAX_PIXELS:,} pixels"
JPEG, PNG = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"  # first bytes of such files
RGB = 3  # torchvision's number for the colours of what it decodes
FRAMES, SCAN, APP1 = (0xC0, 0xC1, 0xC2), 0xDA, 0xE1  # parts of a JPEG file: sizes, pixels, EXIF or XMP data
# torchvision advertises TorchCodec, and Pillow warns about files that it then reads. Silenced here once, since filters
# set within a thread would affect all threads.
warnings.filterwarnings("ignore", "The image decoding", DeprecationWarning)
warnings.filterwarnings("ignore", module="PIL")
logging.getLogger("PIL").setLevel(logging.CRITICAL)


class _Silence:
    """Keep what libjpeg prints about damaged files from the terminal: its lines name no file.

    C's variable `stderr` leads elsewhere meanwhile, for all threads. What Python prints does not go through it.
    """

    def __init__(self) -> None:
        self.threads: set[int] = set()  # no lock, because a process may be forked while a thread holds one
        if platform.libc_ver()[0] == "glibc":  # the variable has another name, or cannot be written to, elsewhere
            libc = ctypes.CDLL(None)
            libc.fopen.restype = ctypes.c_void_p
            self.stream = ctypes.c_void_p.in_dll(libc, "stderr")
            self.open, self.null = self.stream.value, libc.fopen(os.devnull.encode(), b"w")
        else:
            self.stream, self.open, self.null = ctypes.c_void_p(), None, None

    def __enter__(self) -> None:
        self.threads.add(threading.get_ident())
        self.stream.value = self.null

    def __exit__(self, *_: object) -> None:
        self.threads.discard(threading.get_ident())
        if not self.threads:
            self.stream.value = self.open


_silence = _Silence()


class UnreadablePicture(ValueError):
    """Raised for a picture that is damaged, empty, of no known format, or suspiciously large."""


def decode(picture: bytes | Path) -> Tensor:
    """Decode an image, or the first frame of an animation. Training, prediction and all else read files with this.

    The picture is turned as its EXIF or XMP data say, transparency is dropped, colour profiles are ignored, and the
    upper 8 of 16 bits are kept.

    Args:
        picture: a file of a format in `cnnlab.data.formats.picture_formats`, or its content; the suffix is ignored.

    Returns:
        uint8 (C, H, W) with 1 or 3 channels.

    Raises:
        UnreadablePicture: if it cannot be read. The message says why in a few words, but not the file's name.
    """
    content = picture if isinstance(picture, bytes) else read_content(picture)
    try:
        if _is_plain_jpeg(content):
            with suppress(RuntimeError):  # Pillow knows better what is wrong
                return _decode_jpeg(content)
        with Image.open(io.BytesIO(content), formats=_formats(content)) as opened:
            _check_size(opened)
            if opened.format in ("JPEG", "MPO") and opened.mode in ("L", "RGB"):
                with suppress(RuntimeError):
                    return _turned(_decode_jpeg(content), _orientation(opened))
            if isinstance(opened, TiffImagePlugin.TiffImageFile) and _is_raw(content, opened):
                raise UnreadablePicture(f"it is {RAW}")
            return to_rgb(opened)
    except UnreadablePicture:
        raise
    except Image.DecompressionBombError:
        raise UnreadablePicture(TOO_LARGE) from None
    except MemoryError:
        raise UnreadablePicture("its pixels do not fit into memory") from None
    except Exception as error:  # the readers of the formats raise nearly anything on damaged files
        raise UnreadablePicture(why_unreadable(content, error)) from None


def to_square(image: Tensor, size: int) -> Tensor:
    """Bring a decoded image (C, H, W) to the form that is trained on: uint8 (size, size, 3); see `to_rgb_square`."""
    return to_rgb_square(image, size).permute(1, 2, 0).contiguous()


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
        raise UnreadablePicture(f"its {image.shape[-1]} x {image.shape[-2]} pixels are too long and narrow")
    resized = resize(image, tuple(side * size // shorter for side in image.shape[-2:]))
    top, left = (round((side - size) / 2) for side in resized.shape[-2:])
    return resized[..., top : top + size, left : left + size]


def resize(image: Tensor, sides: tuple[int, ...]) -> Tensor:
    """Resize images, uint8 (..., C, H, W), to a height and width in pixels, with antialiasing."""
    stacked = image.reshape(-1, *image.shape[-3:])
    if len(stacked) == 1:  # torch keeps the order of its bytes only if the stride of the batch is that of a batch
        stacked = stacked.as_strided(stacked.shape, (stacked.numel(), *stacked.stride()[1:]))
    native = torch.backends.cpu.get_cpu_capability() != "DEFAULT" or platform.machine() in ("aarch64", "arm64")
    values = stacked if native else stacked.float()  # without vector instructions, torch resizes bytes less exactly
    resized = nn.functional.interpolate(values, size=sides, mode="bilinear", antialias=True)
    resized = resized if native else resized.round_().byte()
    return resized.reshape(*image.shape[:-2], *sides)


def to_rgb(picture: Image.Image) -> Tensor:
    """Return the pixels of a picture that Pillow opened or made; see `decode`.

    Returns:
        uint8 (C, H, W) with 1 or 3 channels.

    Raises:
        UnreadablePicture: if the value of white is unknown, or if it has more than `MAX_PIXELS` pixels.
        Exception: of many kinds, if it is damaged.
    """
    _check_size(picture)
    picture.load()  # EXIF data may stand behind the pixels
    if picture.mode.startswith("I"):
        pixels = _upper_bits(picture)[..., None]
    elif picture.mode == "F":
        raise UnreadablePicture("its values are floats, and the value of white is unknown")
    else:
        # A direct conversion from a palette would blend transparent colours in.
        opaque = picture.convert("RGBA") if picture.mode in ("P", "PA") else picture
        pixels = np.array(opaque.convert("RGB"))
    return _turned(torch.from_numpy(pixels).permute(2, 0, 1), _orientation(picture))


def read_content(path: Path) -> bytes:
    """Return the content of an image file; errors as in `decode`."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise UnreadablePicture("it is a folder, perhaps without permission to read it")
        if not stat.S_ISREG(status.st_mode):  # reading a pipe or a device may take forever
            raise UnreadablePicture("it is not a file")
        if status.st_size > MAX_BYTES:
            raise UnreadablePicture(f"it has more than {MAX_BYTES:,} bytes")
        return path.read_bytes()
    except OSError as error:
        raise UnreadablePicture(error.strerror or type(error).__name__) from None
    except ValueError as error:  # also of a path with a null character
        raise UnreadablePicture(str(error)) from None


def form_of(content: bytes) -> tuple[str, str]:
    """Return Pillow's names of the format and colour mode of an image that `decode` reads, such as `JPEG`, `RGB`."""
    try:
        with Image.open(io.BytesIO(content), formats=_formats(content)) as opened:
            return opened.format or "", opened.mode
    except Exception:  # of a file that only torchvision reads
        return "", ""


def _formats(content: bytes) -> tuple[str, ...]:
    """Return the formats to try; to load Pillow's readers of all formats takes 0.1 s."""
    if content.startswith(JPEG):
        return ("JPEG",)
    return ("PNG",) if content.startswith(PNG) else picture_formats()


def _is_plain_jpeg(content: bytes) -> bool:
    """Return whether this is a JPEG file in grey or colour, of a size that is read, with neither EXIF nor XMP data.

    Pillow could tell too, but that takes half as long as it takes to decode a small image.
    """
    place, plain = 2, False
    while content.startswith(JPEG) and content[place : place + 1] == b"\xff" and place + 10 < len(content):
        kind, length = content[place + 1], int.from_bytes(content[place + 2 : place + 4])
        if kind in (SCAN, APP1):
            return plain and kind == SCAN
        if kind in FRAMES:
            height, width = struct.unpack(">HH", content[place + 5 : place + 9])
            plain = 0 < height * width <= MAX_PIXELS and content[place + 9] in (1, 3)
        place += 2 + length
    return False


def _decode_jpeg(content: bytes) -> Tensor:
    """Decode a JPEG file with torchvision, twice as fast as with Pillow, to the same pixels.

    No other format is for torchvision: it drops orientations, and its PNG reader ends the whole process if a file is
    damaged (93 of 150 files that were cut short or changed did so; no JPEG file did).
    """
    # A bytearray, because torch warns about memory that cannot be written to.
    with _silence:
        return _jpeg_reader()(torch.frombuffer(bytearray(content), dtype=torch.uint8), RGB, False)


@functools.cache
def _jpeg_reader() -> Callable[[Tensor, int, bool], Tensor]:
    """Load torchvision's decoder alone: the whole of torchvision takes two seconds to import.

    Raises:
        RuntimeError: if this torchvision has none.
    """
    spec = importlib.util.find_spec("torchvision")
    libraries = list(Path(spec.origin).parent.glob("image*.so")) if spec and spec.origin else []
    if not libraries:
        raise RuntimeError("torchvision has no decoder")
    torch.ops.load_library(str(libraries[0]))
    return torch.ops.image.decode_image


def _check_size(picture: Image.Image) -> None:
    """Raise UnreadablePicture for more than `MAX_PIXELS` pixels, before memory is taken for them."""
    if picture.width * picture.height > MAX_PIXELS:
        raise UnreadablePicture(TOO_LARGE)


def _upper_bits(picture: Image.Image) -> np.ndarray:
    """Return the upper 8 of 16 bits of grey, uint8 (H, W)."""
    bits, white_is_zero = 16, False
    if isinstance(picture, TiffImagePlugin.TiffImageFile):
        bits, white_is_zero = picture.tag_v2.get(258, (16,))[0], picture.tag_v2.get(262) == 0
    if bits > 16 or picture.mode == "I" and picture.format not in ("PNG", "PPM", None):
        raise UnreadablePicture("its values are signed or have 32 bits, and the value of white is unknown")
    values = np.asarray(picture).astype(np.int64).clip(0, 2**bits - 1) >> bits - 8
    return (255 - values if white_is_zero else values).astype(np.uint8)


def _orientation(picture: Image.Image) -> int:
    """Return the orientation from EXIF or XMP data, 1 to 8; 1, upright, if it is missing, invalid or damaged."""
    try:
        value = picture.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # Pillow's reader raises nearly anything
        return 1
    number = int.from_bytes(value) if isinstance(value, bytes) else value  # some programs store it as a byte
    return next((turn for turn in range(2, 9) if turn == number), 1)


def _turned(image: Tensor, orientation: int) -> Tensor:
    """Turn or reflect an image (..., H, W) as its orientation says."""
    if orientation >= 5:
        image = image.transpose(-2, -1)
    axes = [axis for axis, turns in ((-1, (2, 3, 6, 7)), (-2, (3, 4, 7, 8))) if orientation in turns]
    return image.flip(axes) if axes else image


def _is_raw(content: bytes, opened: TiffImagePlugin.TiffImageFile) -> bool:
    """Return whether a TIFF file is a raw photo, of which Pillow would read a small preview (Canon, DNG, others)."""
    preview = opened.tag_v2.get(254) == 1 and 330 in opened.tag_v2
    return content[8:10] == b"CR" or 50706 in opened.tag_v2 or preview
