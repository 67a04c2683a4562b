"""Read pictures: files of any format that Pillow decodes, PIL images, arrays or tensors."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cnnlab.cpu import available_cores
from cnnlab.data.decoding import UnreadablePicture, decode, resize, to_rgb, to_square
from cnnlab.data.images import Images
from cnnlab.data.stream import map_by_threads, read_by_threads

Picture = str | Path | bytes | Image.Image | np.ndarray | Tensor

CHUNK = 32  # files that a thread reads at a time


def read_picture(picture: Picture, size: int) -> Tensor:
    """Read a picture as training reads images: as RGB, resized and cut out, uint8 (size, size, 3).

    See `open_picture` for what a picture may be, and for errors.
    """
    return to_square(open_picture(picture), size)


def open_picture(picture: Picture) -> Tensor:
    """Read a picture in its own size, as `cnnlab.data.decoding.decode` does.

    Args:
        picture: a path, the bytes of a file, a PIL image, an array (H, W) or (H, W, C), or a tensor (H, W) or
            (C, H, W). Arrays and tensors are uint8, or floats in [0, 1]; C is 1 (grey), 3, or 4 (the last is dropped).

    Returns:
        uint8 (C, H, W) with 1 or 3 channels.

    Raises:
        UnreadablePicture: if it cannot be read.
        ValueError: if an array or tensor has another shape, type or range.
    """
    if isinstance(picture, Tensor):
        return _checked(picture.detach().cpu(), channels_at=0)
    if isinstance(picture, np.ndarray):
        return _checked(torch.from_numpy(np.ascontiguousarray(picture)), channels_at=-1)
    if isinstance(picture, Image.Image):
        try:
            return to_rgb(picture)
        except UnreadablePicture:
            raise
        except Exception:  # the readers of the formats raise nearly anything on damaged files
            raise UnreadablePicture("it is truncated or damaged") from None
    return decode(picture if isinstance(picture, bytes) else Path(picture))


@dataclass(frozen=True)
class Reading:
    """Hold a picture, or the reason why it cannot be read."""

    name: str  # its path, or its place in a data set, such as `test/7`
    pixels: Tensor | None = None  # uint8 (size, size, 3), or None if it cannot be read
    error: str = ""  # why it cannot be read
    label: int | None = None  # class number, or None if it is unknown
    thumbnail: np.ndarray | None = None  # uint8 (H, W, 3), or None if none was asked for


def read_pictures(paths: Iterable[Path], size: int, shown: int = 0, thumbnail: int = 576) -> Iterator[Reading]:
    """Read any number of files a little ahead, with a thread for each core, and yield a reading for each path in order.

    Args:
        paths: paths of the files, taken one by one.
        size: height and width in pixels.
        shown: number of pictures, from the first, for which a thumbnail is made.
        thumbnail: largest height and width of a thumbnail in pixels.
    """

    def read(numbered: tuple[int, Path]) -> Reading:
        number, path = numbered
        try:
            image = open_picture(path)
            pixels = to_square(image, size)
            return Reading(str(path), pixels, thumbnail=_thumbnail(image, thumbnail) if number < shown else None)
        except UnreadablePicture as error:
            return Reading(str(path), error=str(error))

    numbered = enumerate(paths)
    chunks = iter(lambda: list(islice(numbered, CHUNK)), [])
    for readings in map_by_threads(lambda chunk: [read(one) for one in chunk], chunks, available_cores()):
        yield from readings


def read_images(
    images: Images, split: str, limit: int | None = None, shown: int = 0, batch_size: int = 256
) -> Iterator[Reading]:
    """Read the images of a data set in their order, a little ahead.

    Args:
        split: name of the split, with which the images' names start.
        limit: number of images to read, from the first; None reads all.
        shown: number of images, from the first, for which a thumbnail is made.
        batch_size: number of images that are read at a time.
    """
    batches = torch.arange(len(images))[:limit].split(batch_size)
    for positions, batch in zip(batches, read_by_threads(images, batches), strict=True):
        for number, pixels in zip(positions.tolist(), batch, strict=True):
            small = pixels.numpy() if number < shown else None
            yield Reading(f"{split}/{number}", pixels, label=int(images.labels[number]), thumbnail=small)


def _thumbnail(image: Tensor, side: int) -> np.ndarray:
    if (longest := max(image.shape[-2:])) > side:
        fitting = [max(1, pixels * side // longest) for pixels in image.shape[-2:]]  # a line keeps one pixel
        image = resize(image, tuple(fitting))
    return image.expand(3, -1, -1).permute(1, 2, 0).numpy()


def _checked(values: Tensor, channels_at: int) -> Tensor:
    """Return uint8 (1 or 3, H, W)."""
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
