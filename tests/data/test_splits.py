from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from cnnlab.data.datamodule import ImageDataModule
from cnnlab.data.images import ImageData
from cnnlab.data.splits import Protocol, Split, fit_classes, read_split
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
