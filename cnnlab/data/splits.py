"""Split images into those for training, for selecting the best epoch, and for the test."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch

from cnnlab.data.findings import listed
from cnnlab.data.images import ImageData, Images, OnError, Placement, read_for, stratified_split
from cnnlab.data.placement import choose_placement
from cnnlab.data.sources import source_of
from cnnlab.errors import RequestError
from cnnlab.instantiate import explained, read_options
from cnnlab.limits import Between

Protocol = Literal["holdout", "article"]
Split = Literal["train", "val", "test"]


@dataclass(frozen=True)
class DataOptions:
    """Hold the keys of `data` that matter to a trained network; see `cnnlab.data.datamodule.ImageDataModule`.

    With `residence=stream`, an image is decoded when it is asked for. With `device` and `host`, all are, for the cache.
    """

    source: str | None = None
    path: str | None = None
    config: str | None = None
    image_column: str | None = None
    label_column: str | None = None
    splits: dict[str, Any] | None = None
    on_error: OnError = "stop"
    classes: list[str] | None = None
    holdout: Between = 0.1
    residence: Placement = "auto"
    cache: str | None = None


def read_split(
    split: Split, protocol: Protocol, known: tuple[str, ...], image_size: int, settings: Mapping[str, Any]
) -> tuple[Images, ImageData]:
    """Return the images to show to a trained network, none of them read yet, and the data set that they belong to.

    Args:
        split: name of the split.
        protocol: decides which images are `val`, see `split_by_protocol`.
        known: names of the network's classes, by class number.
        image_size: height and width in pixels that the network takes.
        settings: keys of `data`, see `DataOptions`; `eval_batch_size` is left to the command.

    Raises:
        RequestError: if a key is wrong, or the images cannot be found or read, or have a class that the network does
            not know.
    """
    settings = {key: value for key, value in settings.items() if key != "eval_batch_size"}
    options = read_options(DataOptions, settings, "data")
    with explained("data", settings):
        found, residence = source_of(vars(options)), options.residence
        if residence == "auto":
            residence = choose_placement(found, image_size, 0, options.cache, torch.device("cpu"))
        data = read_for(residence, found, image_size, options.cache, options.on_error)
        data = fit_classes(name_classes(data, options.classes or ()), known)
        train, val = (data.train, data.test) if split == "test" else split_by_protocol(data, protocol, options.holdout)
    return {"train": train, "val": val, "test": data.test}[split], data


def split_by_protocol(data: ImageData, protocol: Protocol, holdout: float) -> tuple[Images, Images]:
    """Return the images for training and the images that select the best epoch.

    Args:
        protocol: `holdout` selects on the images for validation; if the data has none, on training images that a fixed
            split holds out, the same for every seed. `article` trains on all training images and selects on the test
            images.
        holdout: share of the training images that the protocol `holdout` holds out, in (0, 1).

    Raises:
        RequestError: if no image is left on one side.
    """
    for_training = torch.arange(len(data.train) - data.validation)
    if protocol == "article":
        return data.train.take(for_training) if data.validation else data.train, data.test
    if data.validation:
        return data.train.take(for_training), data.train.take(torch.arange(len(for_training), len(data.train)))
    train, val = stratified_split(data.train.labels, holdout)
    if not len(val) or not len(train):
        raise RequestError(
            f"data.holdout: the {len(data.train):,} training images, one of each class, leave none for validation; "
            "protocol=article validates with the test images"
        )
    return data.train.take(train), data.train.take(val)


def name_classes(data: ImageData, names: Sequence[str]) -> ImageData:
    """Give names to classes that are called by numbers: parquet files may have no names.

    The numbers are those of the names, from 0. If they are not, as those that start at 1, the names are in their order.
    """
    if not names or not all(name.isdecimal() for name in data.classes):
        return data
    numbers = [int(name) for name in data.classes]
    if max(numbers) < len(names):  # some may not occur
        return _renumbered(data, numbers, tuple(names))
    return replace(data, classes=tuple(names)) if len(numbers) == len(names) else data


def fit_classes(data: ImageData, known: tuple[str, ...]) -> ImageData:
    """Renumber labels by the classes of a network, whose names are known by class number.

    Classes are matched by name. The data may lack some of them, or have them in another order.

    Raises:
        RequestError: if the data have a class that the network does not know.
    """
    if data.classes == known:
        return data
    if unknown := [name for name in data.classes if name not in known]:
        raise RequestError(
            f"data: the network does not know the class{'es' if len(unknown) > 1 else ''} {listed(unknown)}; "
            f"it knows {listed(known)}"
        )
    return _renumbered(data, [known.index(name) for name in data.classes], known)


def _renumbered(data: ImageData, numbers: list[int], classes: tuple[str, ...]) -> ImageData:
    new = torch.tensor(numbers)
    train, test = (replace(images, labels=new[images.labels]) for images in (data.train, data.test))
    return replace(data, train=train, test=test, classes=classes)
