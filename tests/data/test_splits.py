from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from cnnlab.data.datamodule import ImageDataModule
from cnnlab.data.images import ImageData
from cnnlab.data.splits import (
    Protocol,
    Split,
    fit_classes,
    held_out_positions,
    nested_subset,
    read_split,
    split_by_protocol,
)
from cnnlab.errors import RequestError


@pytest.mark.parametrize("protocol", ["holdout", "article"])
@pytest.mark.parametrize("split", ["train", "val", "test"])
@pytest.mark.parametrize("residence", ["auto", "stream"])
def test_a_split_holds_the_same_images_as_a_run(
    class_folders: Path, sample: ImageData, protocol: Protocol, split: Split, residence: str
) -> None:
    run = ImageDataModule(path=str(class_folders), protocol=protocol, residence=residence)  # pyright: ignore
    settings = {"path": str(class_folders), "residence": residence}
    images, whole = read_split(split, protocol, sample.classes, 32, settings)
    expected = getattr(run, split)
    assert torch.equal(images.labels, expected.labels)
    assert torch.equal(images.pixels, expected.pixels)
    assert whole.fingerprint == run.fingerprint


def test_a_holdout_that_is_no_share_is_refused(class_folders: Path, sample: ImageData) -> None:
    with pytest.raises(RequestError, match="data.holdout must be between 0 and 1, got 2"):
        read_split("val", "holdout", sample.classes, 32, {"path": str(class_folders), "holdout": 2})


def test_every_training_image_is_held_out_once_and_folds_are_alike() -> None:
    labels = torch.randint(0, 3, (100,), generator=torch.Generator().manual_seed(0))
    folds = [held_out_positions(labels, fold, 7) for fold in range(1, 8)]
    assert torch.cat(folds).sort().values.tolist() == list(range(100))
    assert {len(fold) for fold in folds} == {14, 15}
    for number in range(3):
        counts = [int((labels[fold] == number).sum()) for fold in folds]
        assert max(counts) - min(counts) <= 1
    assert all(fold.equal(fold.sort().values) for fold in folds)


def test_a_fold_holds_out_its_images_of_train_and_val_and_seeds_share_it(
    class_folders: Path, sample: ImageData
) -> None:
    runs = [ImageDataModule(path=str(class_folders), fold=2, folds=4, seed=seed) for seed in (0, 1)]
    expected = sample.train.take(held_out_positions(sample.train.labels, 2, 4))
    for run in runs:
        assert torch.equal(run.val.pixels, expected.pixels)
        assert len(run.train) + len(run.val) == len(sample.train)
        assert torch.equal(run.test.pixels, sample.test.pixels)
    settings = {"path": str(class_folders), "fold": 2, "folds": 4}
    assert torch.equal(read_split("val", "holdout", sample.classes, 32, settings)[0].pixels, expected.pixels)


def test_validation_images_of_the_data_belong_to_the_folds(sample: ImageData) -> None:
    data = replace(sample, validation=20)
    parts = [split_by_protocol(data, "holdout", 0.1, fold, 3) for fold in (1, 2, 3)]
    assert sum(len(val) for _, val in parts) == len(sample.train)
    assert all(len(train) + len(val) == len(sample.train) for train, val in parts)


@pytest.mark.parametrize(
    ("fold", "folds", "protocol", "problem"),
    [
        (None, 5, "holdout", "belong together"),
        (2, None, "holdout", "belong together"),
        (6, 5, "holdout", "from 1 to data.folds=5, got 6"),
        (1, 5, "article", "protocol=article validates with the test images"),
        (1, 500, "holdout", "too few training images: there are 120"),
    ],
)
def test_folds_that_do_not_fit_are_refused(
    sample: ImageData, fold: int | None, folds: int | None, protocol: Protocol, problem: str
) -> None:
    with pytest.raises(RequestError, match=problem):
        split_by_protocol(sample, protocol, 0.1, fold, folds)


def test_a_class_of_one_image_has_no_folds(sample: ImageData) -> None:
    few = replace(sample, train=sample.train.take(torch.tensor([0, *range(10, 120)])))
    few = replace(few, train=replace(few.train, labels=torch.tensor([0] + [1] * 110)), classes=("a", "b"))
    with pytest.raises(RequestError, match="a class needs two, a has one"):
        split_by_protocol(few, "holdout", 0.1, 1, 2)


def test_smaller_fractions_are_within_larger_ones_and_keep_every_class() -> None:
    labels = torch.tensor([0] * 100 + [1] * 40 + [2] * 3)
    subsets = [set(nested_subset(labels, fraction, seed=3).tolist()) for fraction in (0.01, 0.1, 0.5, 0.9, 1)]
    for smaller, larger in pairwise(subsets):
        assert smaller < larger
    counts = [labels[sorted(subset)].bincount().tolist() for subset in subsets]
    assert counts == [[1, 1, 1], [10, 4, 1], [50, 20, 2], [90, 36, 3], [100, 40, 3]]
    assert subsets[1] != set(nested_subset(labels, 0.1, seed=4).tolist())


def test_a_fraction_leaves_validation_and_test_whole(class_folders: Path, sample: ImageData) -> None:
    whole, part = (ImageDataModule(path=str(class_folders), fraction=share, seed=5) for share in (1, 0.3))
    assert (len(whole.train), len(part.train)) == (110, 30)
    for split in ("val", "test"):
        assert torch.equal(getattr(part, split).pixels, getattr(whole, split).pixels)
    images, _ = read_split(
        "train", "holdout", sample.classes, 32, {"path": str(class_folders), "fraction": 0.3}, seed=5
    )
    assert torch.equal(images.pixels, part.train.pixels)


def test_labels_are_renumbered_by_the_classes_of_the_network(sample: ImageData) -> None:
    known = (*reversed(sample.classes), "submarine")
    fitted = fit_classes(sample, known)
    assert fitted.classes == known
    for before, after in ((sample.train, fitted.train), (sample.test, fitted.test)):
        names = [known[number] for number in after.labels]
        assert names == [sample.classes[number] for number in before.labels]
        assert torch.equal(after.pixels, before.pixels)


def test_classes_without_names_take_the_given_names(sample: ImageData, parquet_folder: Path) -> None:
    for file in parquet_folder.iterdir():  # the names are in the metadata
        pq.write_table(pq.read_table(file).replace_schema_metadata(None), file)
    known = tuple(reversed(sample.classes))
    settings = {"path": str(parquet_folder)}
    images, _ = read_split("test", "holdout", known, 32, settings | {"classes": list(sample.classes)})
    assert torch.equal(images.labels, 9 - sample.test.labels)
    with pytest.raises(RequestError, match=r"does not know the classes 0, 1, .*; it knows truck, ship"):
        read_split("test", "holdout", known, 32, settings)


def test_classes_unknown_to_the_network_are_named(sample: ImageData) -> None:
    with pytest.raises(RequestError, match="does not know the class truck; it knows airplane, automobile, bird"):
        fit_classes(sample, sample.classes[:-1])
    many = tuple(f"kind{number}" for number in range(100))
    with pytest.raises(RequestError, match=r"kind11, \.\.\. \(100 in all\)"):
        fit_classes(sample, many)
