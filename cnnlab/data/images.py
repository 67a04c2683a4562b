"""From a source to tensors: images are decoded and brought to one size, once for a cache that is checked, or each time
they are asked for."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.lib.format import open_memmap
from torch import Tensor
from torchvision.transforms.v2 import functional

from cnnlab.data.cache import cache_folder, read_cache, write_cache
from cnnlab.data.decoding import decode
from cnnlab.data.sources import RawImages, RawSplit, Source
from cnnlab.errors import RequestError
from cnnlab.instantiate import first_line

log = logging.getLogger(__name__)

TEST_SHARE = 1 / 6  # of the images, where a source has no test images of its own: CIFAR-10's proportion
SPLIT_SEED = 2009  # of every split, whatever the run's seed: runs with different seeds keep the same images apart


@dataclass(frozen=True)
class Images:
    """Images and what they show.

    Attributes:
        pixels: uint8 (N, H, W, 3).
        labels: class numbers, int64 (N,).
    """

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Tensor) -> "Images":
        """The images at these positions, in this order."""
        return Images(self.pixels[indices], self.labels[indices])

    def read(self, indices: Tensor) -> Tensor:
        """Pixels of the images at these positions, uint8 (B, H, W, 3)."""
        return self.pixels[indices]


@dataclass(frozen=True)
class StoredImages:
    """Images that are brought into memory when they are asked for.

    Attributes:
        items: of the whole split: encoded images (bytes, or paths of files), or uint8 (M, H, W, C), which may be mapped
            from a file.
        labels: class numbers, int64 (N,).
        rows: which of the items these images are, int64 (N,).
        size: height and width that they are brought to, in pixels.
        split: its name, for messages.
    """

    items: Sequence[bytes | Path] | Tensor
    labels: Tensor
    rows: Tensor
    size: int
    split: str = "train"

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def pixels(self) -> Tensor:
        """All of them at once, uint8 (N, size, size, 3); for few images."""
        return self.read(torch.arange(len(self)))

    def take(self, indices: Tensor) -> "StoredImages":
        """The images at these positions, in this order; nothing is read."""
        return replace(self, labels=self.labels[indices], rows=self.rows[indices])

    def read(self, indices: Tensor) -> Tensor:
        """Pixels of the images at these positions, uint8 (B, size, size, 3).

        Raises:
            RequestError: when one cannot be decoded.
        """
        rows = self.rows[indices]
        if isinstance(self.items, Tensor):
            pixels = self.items[rows]
            if pixels.shape[1:] == (self.size, self.size, 3):
                return pixels
            return to_rgb_square(pixels.permute(0, 3, 1, 2), self.size).permute(0, 2, 3, 1).contiguous()
        pixels = torch.empty(len(rows), self.size, self.size, 3, dtype=torch.uint8)
        for place, row in enumerate(rows.tolist()):
            image = _decode(self.items[row], row, self.split)
            pixels[place] = to_rgb_square(image, self.size).permute(1, 2, 0)
        return pixels


@dataclass(frozen=True)
class ImageData:
    """A data set: training and test images of the same classes.

    Attributes:
        train: the training images, in the source's order.
        test: the test images, in the source's order.
        classes: names by class number.
        fingerprint: of all pixels and labels, as 16 hexadecimal digits; equal exactly when they are. Of images that
            were not decoded: `files-` and as many digits, of the files' names and sizes and the labels.
    """

    train: Images | StoredImages
    test: Images | StoredImages
    classes: tuple[str, ...]
    fingerprint: str


def load_images(source: Source, image_size: int, cache: str | Path | None = None) -> ImageData:
    """All images of a source as tensors that are mapped into memory from the cache.

    The first call decodes and writes the cache; later calls check the cache's sums and decode again where they do not
    hold.

    Args:
        source: from `cnnlab.data.sources.find_source`.
        image_size: height and width in pixels; other images have their shorter side resized and their middle cut out.
        cache: where to keep decoded images; by default `$CNNLAB_CACHE`, else `cnnlab` in the user's cache folder.

    Raises:
        RequestError: when an image cannot be decoded or the source holds too little to train on.
    """
    folder = cache_folder(source, image_size, cache)
    cached = read_cache(folder)
    if cached is None:
        if folder.exists():
            log.warning("The cache %s is damaged; the images are decoded again.", folder)
        write_cache(folder, lambda temporary: _decode_all(source, image_size, temporary))
        cached = read_cache(folder)
    if cached is None:
        raise RuntimeError(f"the cache that was just written to {folder} does not read back as it was written")
    tensors = {name: torch.from_numpy(array) for name, array in cached.arrays.items()}
    return ImageData(
        train=Images(tensors["train_pixels"], tensors["train_labels"]),
        test=Images(tensors["test_pixels"], tensors["test_labels"]),
        classes=cached.classes,
        fingerprint=cached.fingerprint,
    )


def mapped_images(source: Source, image_size: int, cache: str | Path | None = None) -> ImageData:
    """The same images as those of `load_images`, left in the cache's files until they are asked for."""
    data = load_images(source, image_size, cache)
    return replace(
        data,
        train=_stored(data.train.pixels, data.train.labels, image_size, "train"),
        test=_stored(data.test.pixels, data.test.labels, image_size, "test"),
    )


def streamed_images(source: Source, image_size: int) -> ImageData:
    """The same images, left as they are in the source until they are asked for: nothing is decoded, nothing cached.

    Raises:
        RequestError: when the source holds too little to train on.
    """
    raw = source.read(lean=True)
    _check_classes(raw)
    splits = {
        name: _stored(_items(split), torch.from_numpy(split.labels), image_size, name)
        for name, split in (("train", raw.train), ("test", raw.test))
        if split is not None
    }
    train, test = splits["train"], splits.get("test")
    if test is None:
        stay, away = stratified_split(train.labels, TEST_SHARE)
        train, test = train.take(stay), train.take(away)
    _check_split("train", len(train))
    _check_split("test", len(test))
    digest = hashlib.sha256(repr(raw.classes).encode())
    for name, size in source.files():
        digest.update(f"{name}|{size}\n".encode("utf-8", "surrogateescape"))
    for images in (train, test):
        digest.update(images.labels.numpy().tobytes())
    return ImageData(train, test, raw.classes, f"files-{digest.hexdigest()[:16]}")


def stratified_split(labels: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Cuts a share of every class away by a fixed seed.

    Args:
        labels: class numbers (N,).
        share: of each class, in (0, 1), rounded to whole images.

    Returns:
        The positions that stay and those cut away, both ascending.
    """
    shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(SPLIT_SEED))
    by_class = shuffled[labels[shuffled].argsort(stable=True)]
    away = torch.zeros(len(labels), dtype=torch.bool)
    for members in by_class.split(labels.bincount().tolist()):
        away[members[: round(share * len(members))]] = True
    positions = torch.arange(len(labels))
    return positions[~away], positions[away]


def to_rgb_square(image: Tensor, size: int) -> Tensor:
    """Brings images to RGB and `size` x `size` pixels: the shorter side is resized, then the middle is cut out.

    Args:
        image: uint8 (..., C, H, W) with one or three channels.
        size: height and width in pixels.

    Returns:
        uint8 (..., 3, size, size).
    """
    if image.shape[-3] == 1:
        image = image.expand(*image.shape[:-3], 3, *image.shape[-2:])
    if image.shape[-2:] == (size, size):
        return image
    return functional.center_crop(functional.resize(image, [size], antialias=True), [size])


def _stored(items: Sequence[bytes | Path] | Tensor, labels: Tensor, size: int, split: str) -> StoredImages:
    return StoredImages(items, labels, torch.arange(len(labels)), size, split)


def _items(split: RawSplit) -> Sequence[bytes | Path] | Tensor:
    return torch.from_numpy(split.images) if isinstance(split.images, np.ndarray) else split.images


def _check_classes(raw: RawImages) -> None:
    if len(raw.classes) < 2:
        raise RequestError(f"data: at least two classes are needed, found {len(raw.classes)}: {', '.join(raw.classes)}")
    for name, split in (("train", raw.train), ("test", raw.test)):
        numbers = np.unique(split.labels) if split else []
        if len(numbers) and not 0 <= numbers[0] <= numbers[-1] < len(raw.classes):
            raise RequestError(
                f"data: the {name} labels are not all in 0 to {len(raw.classes) - 1}, the numbers of the classes"
            )


def _check_split(name: str, images: int) -> None:
    if not images:
        raise RequestError(f"data: too few images: none is left for the {name} split")


def _decode_all(source: Source, image_size: int, folder: Path) -> tuple[str, ...]:
    """Writes pixels and labels of both splits; returns the names of the classes."""
    raw = source.read()
    log.info("Decoding the images (once; they are kept in %s).", folder.parent)
    _check_classes(raw)
    _decode_split(raw.train, image_size, folder, "train")
    if raw.test is not None:
        _decode_split(raw.test, image_size, folder, "test")
    else:
        _cut_test_images(folder)
    for split in ("train", "test"):
        _check_split(split, len(np.load(folder / f"{split}_labels.npy", mmap_mode="r")))
    return raw.classes


def _decode_split(split: RawSplit, image_size: int, folder: Path, name: str) -> None:
    np.save(folder / f"{name}_labels.npy", split.labels)
    images = _stored(_items(split), torch.from_numpy(split.labels), image_size, name)
    shape = (len(images), image_size, image_size, 3)
    pixels = open_memmap(folder / f"{name}_pixels.npy", mode="w+", dtype=np.uint8, shape=shape)
    for positions in torch.arange(len(images)).split(1000):
        pixels[positions[0] : positions[-1] + 1] = images.read(positions).numpy()
    pixels.flush()


def _decode(encoded: bytes | Path, number: int, split: str) -> Tensor:
    try:
        return decode(encoded.read_bytes() if isinstance(encoded, Path) else encoded)
    except Exception as error:  # on damaged files, the readers of the formats raise nearly anything
        what = encoded if isinstance(encoded, Path) else f"image {number} of the {split} split"
        raise RequestError(f"data: {what} cannot be decoded ({first_line(error)})") from None


def _cut_test_images(folder: Path) -> None:
    pixels, labels = (np.load(folder / f"train_{what}.npy", mmap_mode="r") for what in ("pixels", "labels"))
    for name, positions in zip(("left", "test"), stratified_split(torch.tensor(labels), TEST_SHARE), strict=True):
        np.save(folder / f"{name}_labels.npy", labels[positions.numpy()])
        shape = (len(positions), *pixels.shape[1:])
        part = open_memmap(folder / f"{name}_pixels.npy", mode="w+", dtype=np.uint8, shape=shape)
        for start in range(0, len(positions), 1000):  # all of them may not fit into memory
            part[start : start + 1000] = pixels[positions[start : start + 1000].numpy()]
        part.flush()
    for what in ("pixels", "labels"):
        (folder / f"left_{what}.npy").replace(folder / f"train_{what}.npy")
