"""Which images train a network, which choose its best epoch, and which test it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch

from cnnlab.data.images import ImageData, Images, StoredImages, mapped_images, stratified_split, streamed_images
from cnnlab.data.residence import Residence, choose_residence
from cnnlab.data.sources import find_source
from cnnlab.errors import RequestError

Protocol = Literal["holdout", "article"]
Split = Literal["train", "val", "test"]


def read_split(
    split: Split,
    protocol: Protocol,
    known: tuple[str, ...],
    image_size: int,
    source: str | None = None,
    path: str | None = None,
    classes: list[str] | None = None,
    holdout: float = 0.1,
    residence: Residence = "auto",
    cache: str | None = None,
) -> tuple[StoredImages, str]:
    """The images that a trained network is shown, none of them read yet, and the fingerprint of their data set.

    Args:
        split: which of them.
        protocol: which training images are `val`.
        known: the network's classes, which the labels are numbers of.
        image_size: height and width in pixels that the network takes.
        source: see `cnnlab.data.datamodule.ImageDataModule`, as for the following ones.
        path: as there.
        classes: names for the classes of data that have only numbers for them, or None.
        holdout: as there.
        residence: `stream` decodes an image when it is asked for, `device` and `host` all of them, for the cache.
        cache: as there.

    Raises:
        ValueError: where a value is out of its range.
        RequestError: where the images cannot be found or read, or show something that the network does not know.
    """
    check_holdout(holdout)
    found = find_source(source, path)
    if residence == "auto":
        residence = choose_residence(found, image_size, 0, cache, torch.device("cpu"))
    data = streamed_images(found, image_size) if residence == "stream" else mapped_images(found, image_size, cache)
    if classes is not None and has_numbers_for_names(data, len(classes)):
        data = replace(data, classes=tuple(classes))
    data = fit_classes(data, known)
    train, val = (data.train, data.test) if split == "test" else split_by_protocol(data, protocol, holdout)
    images = {"train": train, "val": val, "test": data.test}[split]
    assert isinstance(images, StoredImages)
    return images, data.fingerprint


def split_by_protocol(
    data: ImageData, protocol: Protocol, holdout: float
) -> tuple[Images | StoredImages, Images | StoredImages]:
    """The images that train, and those that choose the best epoch.

    Args:
        data: all images.
        protocol: `holdout` keeps some training images from training by a fixed split, the same for every seed;
            `article` trains on all of them and chooses on the test images.
        holdout: share of the training images that the protocol `holdout` keeps back, in (0, 1).

    Raises:
        RequestError: where that leaves no image on one side.
    """
    if protocol == "article":
        return data.train, data.test
    train, val = stratified_split(data.train.labels, holdout)
    if not len(val) or not len(train):
        raise RequestError(f"data.holdout: {holdout} of {len(data.train)} training images leaves no image on one side")
    return data.train.take(train), data.train.take(val)


def check_holdout(holdout: float) -> None:
    """Raises ValueError for a share of the training images that is not in (0, 1)."""
    if not 0 < holdout < 1:
        raise ValueError(f"holdout must be between 0 and 1, got {holdout}")


def has_numbers_for_names(data: ImageData, count: int) -> bool:
    """Whether the data call their classes 0, 1, 2, ...: parquet files may have no names."""
    return data.classes == tuple(str(number) for number in range(count))


def fit_classes(data: ImageData, known: tuple[str, ...]) -> ImageData:
    """The data with labels that are numbers of a network's classes.

    They may lack some of the classes, and have them in another order: the names decide.

    Args:
        data: any.
        known: the network's classes, by number.

    Raises:
        RequestError: when the data have a class that the network has not; names both.
    """
    if data.classes == known:
        return data
    if unknown := [name for name in data.classes if name not in known]:
        raise RequestError(
            f"data: the network does not know the class{'es' if len(unknown) > 1 else ''} {_listed(unknown)}; "
            f"it knows {_listed(known)}"
        )
    numbers = torch.tensor([known.index(name) for name in data.classes])
    train, test = (replace(images, labels=numbers[images.labels]) for images in (data.train, data.test))
    return ImageData(train, test, known, data.fingerprint)


def _listed(names: Sequence[str], most: int = 12) -> str:
    return ", ".join(names[:most]) + (f", ... ({len(names)} in all)" if len(names) > most else "")
