"""Pictures, as people have them: files of any format that Pillow reads, opened ones, arrays or tensors."""

import io
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional

from cnnlab.cpu import available_cores
from cnnlab.data.decoding import MAX_PIXELS, UnreadablePicture, to_rgb, too_large
from cnnlab.data.formats import picture_formats
from cnnlab.data.images import Images, StoredImages, to_rgb_square
from cnnlab.data.stream import map_by_threads, read_by_threads
from cnnlab.instantiate import first_line

Picture = str | Path | bytes | Image.Image | np.ndarray | Tensor

CHUNK = 32  # files that a thread reads at a time


def read_picture(picture: Picture, size: int) -> Tensor:
    """A picture the way that training sees images: RGB, its shorter side resized, the middle cut out.

    Of PNG and JPEG files it gives the very pixels that `cnnlab.data.images` does; see `open_picture`.

    Args:
        picture: as for `open_picture`.
        size: height and width in pixels that it is brought to.

    Returns:
        uint8 (size, size, 3).

    Raises:
        UnreadablePicture: when it cannot be read.
        ValueError: for an array or tensor of another shape, type or range.
    """
    return _to_square(open_picture(picture), size)


def open_picture(picture: Picture) -> Tensor:
    """A picture in its own size.

    Transparency is dropped, of 16 bits the upper 8 are kept, EXIF turns the picture, and of an animation the first
    frame is taken.

    Args:
        picture: a path, the bytes of a file, a PIL image, an array (H, W) or (H, W, C), or a tensor (H, W) or
            (C, H, W). Arrays and tensors are uint8, or floats in [0, 1]; C is 1 (grey), 3, or 4 (the last is dropped).

    Returns:
        uint8 (C, H, W), where C is 1 or 3.

    Raises:
        UnreadablePicture: when it cannot be read.
        ValueError: for an array or tensor of another shape, type or range.
    """
    if isinstance(picture, Tensor):
        return _checked(picture.detach().cpu(), channels_at=0)
    if isinstance(picture, np.ndarray):
        return _checked(torch.from_numpy(np.ascontiguousarray(picture)), channels_at=-1)
    try:
        if isinstance(picture, Image.Image):
            return to_rgb(picture)
        with Image.open(_file(picture), formats=picture_formats()) as opened:
            return to_rgb(opened)
    except UnreadablePicture:
        raise
    except Image.DecompressionBombError:
        raise too_large() from None
    except Image.UnidentifiedImageError:
        raise UnreadablePicture("it is not an image of a known format") from None
    except OSError as error:
        raise UnreadablePicture(error.strerror or first_line(error)) from None
    except Exception as error:  # on damaged files, the readers of the many formats raise nearly anything
        raise UnreadablePicture(first_line(error)) from None


@dataclass(frozen=True)
class Reading:
    """A picture that was asked for, or why it cannot be had.

    Attributes:
        name: its path, or its place in a data set, such as `test/7`.
        pixels: uint8 (size, size, 3), or None where it cannot be read.
        error: why not.
        label: its class number, where that is known.
        thumbnail: to be shown, uint8 (H, W, 3), where one was asked for.
    """

    name: str
    pixels: Tensor | None = None
    error: str = ""
    label: int | None = None
    thumbnail: np.ndarray | None = None


def read_pictures(paths: Iterable[Path], size: int, shown: int = 0, thumbnail: int = 576) -> Iterator[Reading]:
    """Reads any number of files a little ahead of whoever uses them, by as many threads as there are cores.

    Args:
        paths: of the files, taken as they are needed.
        size: as in `read_picture`.
        shown: of how many, from the first, a thumbnail is wanted.
        thumbnail: pixels that one has at most, a side.

    Returns:
        One reading for each path, in their order, also where a file cannot be read.
    """

    def read(numbered: tuple[int, Path]) -> Reading:
        number, path = numbered
        try:
            image = open_picture(path)
            pixels = _to_square(image, size)
            return Reading(str(path), pixels, thumbnail=_thumbnail(image, thumbnail) if number < shown else None)
        except UnreadablePicture as error:
            return Reading(str(path), error=str(error))

    numbered = enumerate(paths)
    chunks = iter(lambda: list(islice(numbered, CHUNK)), [])
    for readings in map_by_threads(lambda chunk: [read(one) for one in chunk], chunks, available_cores()):
        yield from readings


def read_images(
    images: Images | StoredImages, split: str, limit: int | None = None, shown: int = 0, batch_size: int = 256
) -> Iterator[Reading]:
    """Reads the images of a data set, in their order, a little ahead of whoever uses them.

    Args:
        images: of the split.
        split: its name, which the images' names start with.
        limit: of how many, from the first; None for all.
        shown: of how many, from the first, a thumbnail is wanted.
        batch_size: images that are read at a time.
    """
    batches = torch.arange(len(images))[:limit].split(batch_size)
    for positions, batch in zip(batches, read_by_threads(images, batches), strict=True):
        for number, pixels in zip(positions.tolist(), batch, strict=True):
            small = pixels.numpy() if number < shown else None
            yield Reading(f"{split}/{number}", pixels, label=int(images.labels[number]), thumbnail=small)


def _to_square(image: Tensor, size: int) -> Tensor:
    shorter, longer = sorted(image.shape[-2:])
    if longer * size * size > MAX_PIXELS * shorter:  # what is left when the shorter side was resized
        raise UnreadablePicture(f"{image.shape[-1]} x {image.shape[-2]} pixels are too long and narrow")
    return to_rgb_square(image, size).permute(1, 2, 0).contiguous()


def _thumbnail(image: Tensor, side: int) -> np.ndarray:
    if (longest := max(image.shape[-2:])) > side:
        fitting = [max(1, pixels * side // longest) for pixels in image.shape[-2:]]  # of a line, a pixel is left
        image = functional.resize(image, fitting, antialias=True)
    return image.expand(3, -1, -1).permute(1, 2, 0).numpy()


def _file(picture: str | Path | bytes) -> Path | io.BytesIO:
    if isinstance(picture, bytes):
        return io.BytesIO(picture)
    path = Path(picture)
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise UnreadablePicture("it is a folder, or one that cannot be looked into")
    if not stat.S_ISREG(mode):  # a pipe or a device: to read it may take for ever
        raise UnreadablePicture("it is not a file")
    return path


def _checked(values: Tensor, channels_at: int) -> Tensor:
    """uint8 (1 or 3, H, W)."""
    if values.ndim == 2:
        values = values[None]
    elif values.ndim == 3:
        values = values.movedim(channels_at, 0)
    if values.ndim != 3 or values.shape[0] not in (1, 3, 4) or 0 in values.shape:
        order = "(H, W, C)" if channels_at else "(C, H, W)"
        raise ValueError(f"an image must be (H, W) or {order} with 1, 3 or 4 channels, got {tuple(values.shape)}")
    values = values[:3]
    if values.is_floating_point():
        if not 0 <= float(values.min()) <= float(values.max()) <= 1:
            raise ValueError("floats must be in [0, 1]: images are normalized here")
        return (values.float() * 255).round().to(torch.uint8)
    if values.dtype != torch.uint8:
        raise ValueError(f"an image must be uint8 or floats in [0, 1], got {values.dtype}")
    return values
