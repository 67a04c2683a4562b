"""From a source to tensors: every image decoded once, brought to one size, and kept in a cache that is checked."""

import logging
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.lib.format import open_memmap
from torch import Tensor
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms.v2 import functional

from cnnlab.data.cache import cache_folder, read_cache, write_cache
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


@dataclass(frozen=True)
class ImageData:
    """A data set: training and test images of the same classes.

    Attributes:
        train: the training images, in the source's order.
        test: the test images, in the source's order.
        classes: names by class number.
        fingerprint: of all pixels and labels, as 16 hexadecimal digits; equal exactly when they are.
    """

    train: Images
    test: Images
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
        raw = source.read()
        log.info("Decoding the images (once; they are kept in %s).", folder.parent)
        write_cache(folder, lambda temporary: _decode_all(raw, image_size, temporary))
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


def stratified_split(labels: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Cuts a share of every class away by a fixed seed.

    Args:
        labels: class numbers (N,).
        share: of each class, in (0, 1), rounded to whole images.

    Returns:
        The positions that stay and those cut away, both ascending.
    """
    shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(SPLIT_SEED))
    away = torch.zeros(len(labels), dtype=torch.bool)
    for number in labels.unique():
        members = shuffled[labels[shuffled] == number]
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


def _decode_all(raw: RawImages, image_size: int, folder: Path) -> tuple[str, ...]:
    """Writes pixels and labels of both splits; returns the names of the classes."""
    if len(raw.classes) < 2:
        raise RequestError(f"data: at least two classes are needed, found {len(raw.classes)}: {', '.join(raw.classes)}")
    _decode_split(raw.train, image_size, folder, "train", len(raw.classes))
    if raw.test is not None:
        _decode_split(raw.test, image_size, folder, "test", len(raw.classes))
    else:
        _cut_test_images(folder)
    for split in ("train", "test"):
        if not len(np.load(folder / f"{split}_labels.npy", mmap_mode="r")):
            raise RequestError(f"data: too few images: none is left for the {split} split")
    return raw.classes


def _decode_split(split: RawSplit, image_size: int, folder: Path, name: str, classes: int) -> None:
    if len(split.labels) and not 0 <= int(split.labels.min()) <= int(split.labels.max()) < classes:
        raise RequestError(f"data: the {name} labels are not all in 0 to {classes - 1}, the numbers of the classes")
    np.save(folder / f"{name}_labels.npy", split.labels)
    shape = (len(split.labels), image_size, image_size, 3)
    pixels = open_memmap(folder / f"{name}_pixels.npy", mode="w+", dtype=np.uint8, shape=shape)
    if isinstance(split.images, np.ndarray):
        for start in range(0, len(pixels), 1000):
            images = torch.from_numpy(np.ascontiguousarray(split.images[start : start + 1000])).permute(0, 3, 1, 2)
            pixels[start : start + 1000] = to_rgb_square(images, image_size).permute(0, 2, 3, 1).numpy()
    else:
        for i, encoded in enumerate(split.images):
            pixels[i] = to_rgb_square(_decode(encoded, i, name), image_size).permute(1, 2, 0).numpy()
    pixels.flush()


def _decode(encoded: bytes | Path, number: int, split: str) -> Tensor:
    try:
        content = encoded.read_bytes() if isinstance(encoded, Path) else encoded
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the bytes cannot be written to: nothing does
            image = decode_image(torch.frombuffer(content, dtype=torch.uint8), ImageReadMode.RGB, True)
    except (RuntimeError, ValueError, OSError) as error:
        what = encoded if isinstance(encoded, Path) else f"image {number} of the {split} split"
        raise RequestError(f"data: {what} cannot be decoded ({first_line(error)})") from None
    if image.ndim == 4:  # an animation: its first picture
        image = image[0]
    if image.dtype == torch.uint16:
        image = (image.to(torch.int32) // 257).to(torch.uint8)
    return image


def _cut_test_images(folder: Path) -> None:
    pixels, labels = np.load(folder / "train_pixels.npy"), np.load(folder / "train_labels.npy")
    train, test = stratified_split(torch.from_numpy(labels), TEST_SHARE)
    for name, positions in (("train", train.numpy()), ("test", test.numpy())):
        np.save(folder / f"{name}_pixels.npy", pixels[positions])
        np.save(folder / f"{name}_labels.npy", labels[positions])
