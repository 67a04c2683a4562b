"""Split images into those for training, for selecting the best epoch, and for the test."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from cnnlab.data.epoch import seeded_generator
from cnnlab.data.findings import listed
from cnnlab.data.images import SPLIT_SEED, ImageData, Images, OnError, Placement, read_for, stratified_split
from cnnlab.data.placement import choose_placement
from cnnlab.data.sources import source_of
from cnnlab.errors import RequestError
from cnnlab.instantiate import explained, read_options
from cnnlab.limits import AboveZero, Between, Count, Folds, check_fold

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
    exclude: str | None = None
    classes: list[str] | None = None
    holdout: Between = 0.1
    fold: Count | None = None
    folds: Folds | None = None
    fraction: AboveZero = 1
    residence: Placement = "auto"
    cache: str | None = None


def read_split(
    split: Split,
    protocol: Protocol,
    known: tuple[str, ...],
    image_size: int,
    settings: Mapping[str, Any],
    seed: int = 0,
) -> tuple[Images, ImageData]:
    """Return the images to show to a trained network, none of them read yet, and the data set that they belong to.

    Args:
        split: name of the split.
        protocol: decides which images are `val`, see `split_by_protocol`.
        known: names of the network's classes, by class number.
        image_size: height and width in pixels that the network takes.
        settings: keys of `data`, see `DataOptions`; `eval_batch_size` is left to the command.
        seed: seed of the run, which draws the training images of a `fraction`.

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
        data = read_for(residence, found, image_size, options.cache, options.on_error, options.exclude)
        data = fit_classes(name_classes(data, options.classes or ()), known)
        train, val = data.train, data.test
        if split != "test":
            train, val = split_by_protocol(data, protocol, options.holdout, options.fold, options.folds)
            train = train.take(nested_subset(train.labels, options.fraction, seed))
    return {"train": train, "val": val, "test": data.test}[split], data


def split_by_protocol(
    data: ImageData, protocol: Protocol, holdout: float, fold: int | None = None, folds: int | None = None
) -> tuple[Images, Images]:
    """Return the images for training and the images that select the best epoch.

    Args:
        protocol: `holdout` selects on the images for validation; if the data has none, on training images that a fixed
            split holds out, the same for every seed. `article` trains on all training images and selects on the test
            images.
        holdout: share of the training images that the protocol `holdout` holds out, in (0, 1).
        fold: number of the fold that is held out instead, from 1 to `folds`; None for no cross-validation.
        folds: number of folds, see `held_out_positions`. Images for validation that the data has belong to them.

    Raises:
        RequestError: if no image is left on one side, or the folds do not fit the protocol or the images.
    """
    check_fold(fold, folds, protocol)
    if fold and folds:
        counts = data.train.labels.bincount(minlength=len(data.classes)).tolist()
        single = [name for name, count in zip(data.classes, counts, strict=True) if count == 1]
        if single or folds > len(data.train):
            few = f"a class needs two, {listed(single)} has one" if single else f"there are {len(data.train)}"
            raise RequestError(f"data.folds={folds}: too few training images: {few}")
        held_out = held_out_positions(data.train.labels, fold, folds)
        stay = torch.ones(len(data.train), dtype=torch.bool)
        stay[held_out] = False
        return data.train.take(stay.nonzero().flatten()), data.train.take(held_out)
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


def held_out_positions(labels: Tensor, fold: int, folds: int) -> Tensor:
    """Return which training images a fold of a cross-validation holds out: positions in the data's own order, int64.

    Every image is in exactly one fold. The folds, and the images of each class in them, differ by one image at most.
    They depend on the labels alone, so they are the same for every seed. The record of a run holds `fold` and `folds`;
    `held_out.npz` in its directory holds these positions too, with the logits for their images.

    Args:
        labels: class numbers of all training images, `ImageData.train.labels`, int64 (N,).
        fold: number of the fold, from 1 to `folds`.
        folds: number of folds.
    """
    shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(SPLIT_SEED))
    by_class = shuffled[labels[shuffled].argsort(stable=True)]
    return by_class[fold - 1 :: folds].sort().values


def nested_subset(labels: Tensor, fraction: float, seed: int) -> Tensor:
    """Return the positions of a share of the images of each class, ascending: at least one image of each.

    With the same seed, the images of a smaller fraction are among those of a larger one.

    Args:
        labels: class numbers, int64 (N,).
        fraction: share of each class, in (0, 1], rounded to whole images.
        seed: seed of the draw.
    """
    if fraction == 1:
        return torch.arange(len(labels))
    shuffled = torch.randperm(len(labels), generator=seeded_generator(seed, 0, stream=100))
    by_class = shuffled[labels[shuffled].argsort(stable=True)]
    members = by_class.split(labels.bincount().tolist())
    return torch.cat([its[: max(1, round(fraction * len(its)))] for its in members]).sort().values


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
