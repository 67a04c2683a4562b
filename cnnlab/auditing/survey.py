"""Look at every image of a data set once, and keep what an audit needs: some numbers and a small grey copy of each."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cnnlab.cpu import available_cores
from cnnlab.data.decoding import UnreadablePicture, decode, form_of, read_content, resize
from cnnlab.data.exclusion import split_sizes
from cnnlab.data.images import ImageData, Images
from cnnlab.data.stream import map_by_threads
from cnnlab.display import progress_bar
from cnnlab.files import from_here

SMALL = 16  # height and width of the grey copies
LONGEST = 256  # larger images are made smaller before their borders are measured
PLAIN = 12  # most difference of the values in a row of pixels that belongs to a border
CHUNK = 64  # images that a thread looks at, at a time
GREY = torch.tensor([0.299, 0.587, 0.114])  # weights of the channels (ITU-R BT.601)
NUMBERS = ("width", "height", "bytes", "brightness", "contrast", "colour", "range", "border", "border_brightness")


@dataclass(frozen=True)
class Survey:
    """Hold what was seen of the images that can be read: those for training, then for validation, then for the test.

    All arrays have a row for each image, in this order.
    """

    data: ImageData  # the images that can be read
    numbers: dict[str, np.ndarray]  # by the names in NUMBERS, float32; see `_measure`
    forms: np.ndarray  # format and colour mode, such as `JPEG RGB`, texts
    digests: np.ndarray  # of the pixels, uint64: equal for equal images
    small: Tensor  # grey copies, uint8 (N, SMALL, SMALL)
    labels: np.ndarray  # class numbers, int64
    names: Sequence[str]  # path, or split and number
    unreadable: Sequence[tuple[str, str, int, str]]  # split, name, class number, and why

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def splits(self) -> np.ndarray:
        """Name of the split of each image."""
        return _places(self.data)[0]

    @property
    def index(self) -> np.ndarray:
        """Position of each image in its split, from 0."""
        return _places(self.data)[1]

    def with_data(self, data: ImageData) -> "Survey":
        """Return the same with other class numbers."""
        return replace(self, data=data, labels=torch.cat([data.train.labels, data.test.labels]).numpy())

    def read(self, positions: Tensor, size: int) -> Tensor:
        """Return the pixels of images at one size in pixels, uint8 (B, size, size, 3)."""
        pixels = torch.empty(len(positions), size, size, 3, dtype=torch.uint8)
        of_test = positions >= len(self.data.train)
        for images, own, start in ((self.data.train, ~of_test, 0), (self.data.test, of_test, len(self.data.train))):
            if own.any():
                pixels[own] = replace(images, size=size).read(positions[own] - start)
        return pixels


def survey(data: ImageData) -> Survey:
    """Look at all images, with a thread for each core.

    Args:
        data: images that were not decoded, from `cnnlab.data.images.streamed_images`.
    """
    looks, good, unreadable = [], [], []
    trained = len(data.train) - data.validation
    with progress_bar(len(data.train) + len(data.test), "looking at the images") as bar:
        for images in (data.train, data.test):
            kept = []
            for position, (name, look) in enumerate(_look_at_all(images)):
                bar.update()
                if isinstance(look, str):
                    split = "test" if images is data.test else "train" if position < trained else "val"
                    unreadable.append((split, name, int(images.labels[position]), look))
                else:
                    kept.append(position)
                    looks.append((name, *look))
            good.append(torch.tensor(kept, dtype=torch.int64))
    train, test = data.train.take(good[0]), data.test.take(good[1])
    data = replace(data, train=train, test=test, validation=int((good[0] >= trained).sum()))
    names, rows, forms, digests, small = zip(*looks, strict=True) if looks else ((), (), (), (), ())
    columns = np.array(rows, np.float32).reshape(-1, len(NUMBERS)).T
    return Survey(
        data,
        dict(zip(NUMBERS, columns, strict=True)),
        np.array(forms, dtype=str),
        np.array(digests, dtype=np.uint64),
        torch.from_numpy(np.array(small, np.uint8).reshape(-1, SMALL, SMALL)),
        torch.cat([train.labels, test.labels]).numpy(),
        [name or f"{split}/{index}" for name, split, index in zip(names, *_places(data), strict=True)],
        unreadable,
    )


def _places(data: ImageData) -> tuple[np.ndarray, np.ndarray]:
    """Return split and position within the split of each image."""
    sizes = split_sizes(data)
    return np.repeat(list(sizes), list(sizes.values())), np.concatenate([np.arange(size) for size in sizes.values()])


Look = tuple[tuple[float, ...], str, int, np.ndarray]


def _look_at_all(images: Images) -> Iterator[tuple[str, Look | str]]:
    """Yield the path of each image, if it is a file, and what is seen of it, or why it cannot be read."""

    def look(positions: Tensor) -> list[tuple[str, Look | str]]:
        found: list[tuple[str, Look | str]] = []
        for row in images.rows[positions].tolist():
            item = images.items[row]
            name = str(from_here(item)) if isinstance(item, Path) else ""
            try:
                found.append((name, _look_at(item)))
            except UnreadablePicture as error:
                found.append((name or f"image {row} of {images.split}", str(error)))
        return found

    for found in map_by_threads(look, torch.arange(len(images)).split(CHUNK), available_cores()):
        yield from found


def _look_at(item: bytes | Path | Tensor) -> Look:
    if isinstance(item, Tensor):
        image, form, size = item.permute(2, 0, 1), "pixels", 0
    else:
        content = item if isinstance(item, bytes) else read_content(item)
        image, form, size = decode(content), " ".join(form_of(content)), len(content)
    whole = image.contiguous().numpy()
    digest = hashlib.blake2b(whole.data, digest_size=8, key=repr(whole.shape).encode()).digest()
    numbers, small = _measure(image, size)
    return numbers, form, int.from_bytes(digest), small


def _measure(image: Tensor, size: int) -> tuple[tuple[float, ...], np.ndarray]:
    """Return the numbers of NUMBERS for an image, uint8 (C, H, W), and a small grey copy.

    `bytes` is the size of the file. `brightness` is the mean, and `contrast` the deviation, of the grey copy, in
    [0, 255]. `colour` is the mean difference of the channels in a small copy. `range` is the difference of the largest
    and the smallest value of all pixels. `border` is the share of the image that plain rows and columns at its sides
    take, and `border_brightness` their mean, or -1 without a border.
    """
    channels, height, width = image.shape
    spread = int(image.max()) - int(image.min())
    if max(height, width) > LONGEST:
        longest = max(height, width)
        image = resize(image, (max(1, height * LONGEST // longest), max(1, width * LONGEST // longest)))
    small = resize(image, (SMALL, SMALL)).expand(3, -1, -1).float()
    grey = (small * GREY[:, None, None]).sum(0)
    colour = float((small.amax(0) - small.amin(0)).mean()) if channels == 3 else 0.0
    border, border_brightness = _border(image.numpy()) if spread > PLAIN else (0.0, -1.0)
    deviation, mean = torch.std_mean(grey, correction=0)
    numbers = (width, height, size, float(mean), float(deviation), colour, spread, border, border_brightness)
    return numbers, grey.round().byte().numpy()


def _border(image: np.ndarray) -> tuple[float, float]:
    """Return the share of an image, uint8 (C, H, W), that plain rows and columns at its sides take, and their mean."""
    inner = image
    for axis in (1, 2):
        across = inner.max(3 - axis).astype(int) - inner.min(3 - axis)
        busy = (across.max(0) > PLAIN).nonzero()[0]
        if not len(busy):  # stripes
            return 0.0, -1.0
        inner = inner[:, busy[0] : busy[-1] + 1] if axis == 1 else inner[:, :, busy[0] : busy[-1] + 1]
    outside = image.size - inner.size
    if not outside:
        return 0.0, -1.0
    return outside / image.size, float((image.sum(dtype=np.int64) - inner.sum(dtype=np.int64)) / outside)
