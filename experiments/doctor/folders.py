"""Write the images of the corpus into folders: as they are, or with a mistake of labels, splits or pixels."""

import io
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import Tensor

from cnnlab.data.images import ImageData, load_images
from cnnlab.data.sources import find_source
from cnnlab.data.splits import nested_subset

Split = tuple[Tensor, Tensor]  # pixels, uint8 (N, 32, 32, 3), and class numbers, int64 (N,)
TRAIN, TEST = 5_000, 2_000  # images of CIFAR-10 that are taken


class Folders:
    """Make folders of images when they are asked for, once.

    Args:
        folder: where they go.
        cifar: folder with CIFAR-10, or None for digits alone.
    """

    def __init__(self, folder: Path, cifar: Path | None):
        self.folder, self.cifar = folder, cifar
        self._known: dict[str, tuple[Split, Split]] = {}

    def path(self, data: str, change: str = "plain", strength: float = 0.0) -> Path:
        """Return the folder of `digits` or `cifar`, with a change: `plain` or the name of a function below."""
        place = self.folder / f"{data}-{change}-{strength:g}"
        if not place.exists():
            train, test = self._read(data)
            if change != "plain":
                train, test = CHANGES[change](train, test, strength)
            part = place.with_suffix(".part")
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            for name, split in (("train", train), ("test", test)):
                _write(part / f"{name}.parquet", *split)
            part.rename(place)
        return place

    def _read(self, data: str) -> tuple[Split, Split]:
        if data not in self._known:
            source = find_source("digits", None) if data == "digits" else find_source(None, str(self.cifar))
            found: ImageData = load_images(source, 32)
            sizes = (None, None) if data == "digits" else (TRAIN, TEST)
            splits = []
            for images, size in zip((found.train, found.test), sizes, strict=True):
                share = min(1, size / len(images)) if size else 1
                splits.append(images.take(nested_subset(images.labels, share, seed=0)))
            self._known[data] = tuple((images.pixels, images.labels) for images in splits)  # pyright: ignore
        return self._known[data]


def _write(file: Path, pixels: Tensor, labels: Tensor) -> None:
    images = [{"bytes": _png(one), "path": None} for one in pixels.numpy()]
    pq.write_table(pa.table({"image": images, "label": labels.numpy()}), file)


def _png(pixels: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG", compress_level=1)
    return content.getvalue()


def _some(count: int, share: float) -> Tensor:
    """Return positions of a share of so many images, drawn by a fixed seed."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(1))[: round(share * count)]


def shuffle_labels(train: Split, test: Split, share: float) -> tuple[Split, Split]:
    """Exchange the labels of a share of the training images among themselves."""
    pixels, labels = train[0], train[1].clone()
    chosen = _some(len(labels), share)
    labels[chosen] = labels[chosen[torch.randperm(len(chosen), generator=torch.Generator().manual_seed(2))]]
    return (pixels, labels), test


def exchange_classes(train: Split, test: Split, pairs: float) -> tuple[Split, Split]:
    """Give pairs of classes each other's number among the test images: 3 and 5, 1 and 7, 2 and 8."""
    labels = test[1].clone()
    for one, other in ((3, 5), (1, 7), (2, 8))[: int(pairs)]:
        labels[test[1] == one], labels[test[1] == other] = other, one
    return train, (test[0], labels)


def leak_images(train: Split, test: Split, share: float) -> tuple[Split, Split]:
    """Copy a share of the test images into the training images."""
    chosen = _some(len(test[1]), share)
    return tuple(torch.cat([one, other[chosen]]) for one, other in zip(train, test, strict=True)), test  # pyright: ignore


def repeat_images(train: Split, test: Split, share: float) -> tuple[Split, Split]:
    """Repeat a share of the training images, some of which the protocol then holds out for validation."""
    chosen = _some(len(train[1]), share)
    return tuple(torch.cat([one, one[chosen]]) for one in train), test  # pyright: ignore


def blank_images(train: Split, test: Split, share: float) -> tuple[Split, Split]:
    """Make a share of the images of both splits black."""
    return _replaced(train, share, None), _replaced(test, share, None)


def same_image(train: Split, test: Split, share: float) -> tuple[Split, Split]:
    """Put one and the same image in the place of a share of the images of both splits."""
    return _replaced(train, share, train[0][0]), _replaced(test, share, train[0][0])


def _replaced(split: Split, share: float, image: Tensor | None) -> Split:
    pixels = split[0].clone()
    pixels[_some(len(pixels), share)] = 0 if image is None else image
    return pixels, split[1]


CHANGES = {
    function.__name__: function
    for function in (shuffle_labels, exchange_classes, leak_images, repeat_images, blank_images, same_image)
}
