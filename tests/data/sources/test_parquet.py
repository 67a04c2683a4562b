import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from cnnlab.data.images import ImageData
from cnnlab.data.sources import find_source
from cnnlab.errors import RequestError

TRAIN_PARQUET = "train-00000-of-00001.parquet"


def test_another_pixel_or_label_gives_another_fingerprint(parquet_folder: Path, load) -> None:
    fingerprints = {load(parquet_folder).fingerprint}
    file = parquet_folder / TRAIN_PARQUET
    table = pq.read_table(file)
    labels = table["label"].to_numpy().copy()
    labels[0] = 1
    pq.write_table(table.set_column(1, "label", pa.array(labels)), file)
    fingerprints.add(load(parquet_folder).fingerprint)
    pq.write_table(table.take(np.r_[1, 1 : len(table)]), file)  # the second image twice, without the first
    fingerprints.add(load(parquet_folder).fingerprint)
    assert len(fingerprints) == 3


def test_parquet_files_are_found_below_the_folder_and_in_several_parts(
    parquet_folder: Path, sample: ImageData, tmp_path: Path, load, assert_same
) -> None:
    nested = tmp_path / "snapshot" / "plain_text"
    nested.mkdir(parents=True)
    train = pq.read_table(parquet_folder / TRAIN_PARQUET)
    pq.write_table(train.slice(0, 50), nested / "train-00000-of-00002.parquet")
    pq.write_table(train.slice(50), nested / "train-00001-of-00002.parquet")
    shutil.copy(parquet_folder / "test-00000-of-00001.parquet", nested)
    assert_same(load(tmp_path / "snapshot"), sample)


def test_a_single_parquet_file_gives_a_sixth_of_every_class_to_the_test(
    parquet_folder: Path, sample: ImageData, load
) -> None:
    data = load(parquet_folder / TRAIN_PARQUET)
    assert data.classes == sample.classes
    assert data.train.labels.bincount().tolist() == [10] * 10
    assert data.test.labels.bincount().tolist() == [2] * 10
    everything = torch.cat([data.train.pixels, data.test.pixels]).flatten(1)
    assert torch.equal(everything.unique(dim=0), sample.train.pixels.flatten(1).unique(dim=0))


def test_parquet_without_names_numbers_the_classes(parquet_folder: Path, sample: ImageData, load) -> None:
    for file in parquet_folder.iterdir():
        pq.write_table(pq.read_table(file).replace_schema_metadata(None), file)
    data = load(parquet_folder)
    assert data.classes == tuple("0123456789")
    assert torch.equal(data.train.pixels, sample.train.pixels)


def test_parquet_with_plain_bytes_is_read(parquet_folder: Path, sample: ImageData, load, assert_same) -> None:
    for file in parquet_folder.iterdir():
        table = pq.read_table(file)
        pq.write_table(table.set_column(0, "image", table["img"].combine_chunks().field("bytes")), file)
    assert_same(load(parquet_folder), sample)


@pytest.mark.parametrize("name", ["cifar10_{}.parquet", "plain_text/{}/0000.parquet", "{}/part.parquet"])
def test_the_split_is_in_the_name_of_a_parquet_file_or_of_its_folder(
    parquet_folder: Path, tmp_path: Path, sample: ImageData, name: str, load, assert_same
) -> None:
    folder = tmp_path / "other"
    for split in ("train", "test"):
        file = folder / name.format(split)
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(parquet_folder / f"{split}-00000-of-00001.parquet", file)
    assert_same(load(folder), sample)


def renumber(file: Path, classes: list[str]) -> None:
    """Rewrite a parquet file with its classes in another order."""
    table = pq.read_table(file)
    info = json.loads(table.schema.metadata[b"huggingface"])
    names = info["info"]["features"]["label"]["names"]
    numbers = np.array([classes.index(name) for name in names])[table["label"].to_numpy()]
    info["info"]["features"]["label"]["names"] = classes
    table = table.set_column(table.schema.get_field_index("label"), "label", pa.array(numbers))
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(info)}), file)


def test_class_names_of_a_test_file_give_its_numbers_their_meaning(
    parquet_folder: Path, sample: ImageData, load, assert_same, request_error
) -> None:
    renumber(parquet_folder / "test-00000-of-00001.parquet", sorted(sample.classes, reverse=True))
    assert_same(load(parquet_folder), sample)
    renumber(parquet_folder / "test-00000-of-00001.parquet", [*sample.classes, "unicorn"])
    assert "a class that the training split lacks: unicorn" in request_error(parquet_folder)


@pytest.mark.parametrize("lean", [False, True])
def test_files_of_a_split_must_number_classes_alike(parquet_folder: Path, sample: ImageData, lean: bool) -> None:
    first, second = (parquet_folder / f"train-0000{number}-of-00002.parquet" for number in (0, 1))
    (parquet_folder / "train-00000-of-00001.parquet").rename(first)
    shutil.copy(first, second)
    renumber(second, sorted(sample.classes, reverse=True))
    with pytest.raises(RequestError, match="numbers its classes differently from"):
        find_source(None, parquet_folder).read(lean)


def test_a_path_that_looks_like_a_pattern_is_streamed(parquet_folder: Path) -> None:
    parquet_folder = parquet_folder.rename(parquet_folder.with_name("[2024]*"))
    assert len(find_source(None, parquet_folder).read(lean=True).train.labels) == 120


def test_among_several_integer_columns_the_one_called_label_wins(parquet_folder: Path, sample: ImageData, load) -> None:
    for file in parquet_folder.iterdir():
        table = pq.read_table(file)
        numbered = table.add_column(0, "image_id", pa.array(range(len(table))))
        pq.write_table(numbered.replace_schema_metadata(None), file)
    assert torch.equal(load(parquet_folder).train.labels, sample.train.labels)


def test_among_several_other_integer_columns_none_is_guessed(parquet_folder: Path, request_error) -> None:
    for file in parquet_folder.iterdir():
        table = pq.read_table(file).replace_schema_metadata(None).rename_columns(["img", "kind"])
        pq.write_table(table.add_column(0, "image_id", pa.array(range(len(table)))), file)
    assert "which column holds the classes, image_id or kind? Choose with data.label_column=kind" in request_error(
        parquet_folder
    )


def test_damaged_parquet_is_named(parquet_folder: Path, request_error) -> None:
    file = parquet_folder / TRAIN_PARQUET
    file.write_bytes(file.read_bytes()[:-1000])
    assert str(file) in request_error(parquet_folder)


def test_damaged_page_inside_a_parquet_file_is_named(parquet_folder: Path, request_error) -> None:
    file = parquet_folder / TRAIN_PARQUET
    content = bytearray(file.read_bytes())
    content[4:400] = bytes(396)  # the header and the start of the first page
    file.write_bytes(content)
    assert str(file) in request_error(parquet_folder)


def test_parquet_without_images_is_refused(tmp_path: Path, request_error) -> None:
    file = tmp_path / "table.parquet"
    pq.write_table(pa.table({"height": [1.0, 2.0], "label": [0, 1]}), file)
    message = request_error(file)
    assert str(file) in message
    assert "height" in message


def test_parquet_files_with_other_columns_are_refused(parquet_folder: Path, request_error) -> None:
    other = parquet_folder / "train-00001-of-00001.parquet"
    pq.write_table(pa.table({"height": [1.0, 2.0], "label": [0, 1]}), other)
    assert str(parquet_folder) in request_error(parquet_folder)


def test_test_parquet_with_other_columns_is_refused(parquet_folder: Path, request_error) -> None:
    file = parquet_folder / "test-00000-of-00001.parquet"
    pq.write_table(pq.read_table(file).rename_columns(["picture", "label"]), file)
    assert str(parquet_folder) in request_error(parquet_folder)


def test_parquet_rows_without_an_image_are_refused(parquet_folder: Path, request_error) -> None:
    file = parquet_folder / TRAIN_PARQUET
    table = pq.read_table(file)
    rows = table["img"].to_pylist()
    rows[3]["bytes"] = None
    pq.write_table(table.set_column(0, "img", pa.array(rows)), file)
    message = request_error(parquet_folder)
    assert str(file) in message
    assert "without an image: 1" in message


def test_labels_beyond_the_classes_are_refused(parquet_folder: Path, request_error) -> None:
    file = parquet_folder / TRAIN_PARQUET
    table = pq.read_table(file)
    pq.write_table(table.set_column(1, "label", pa.array(table["label"].to_numpy() + 1)), file)
    assert "0 to 9" in request_error(parquet_folder)


def test_an_image_that_cannot_be_decoded_is_named_by_its_number(parquet_folder: Path, request_error) -> None:
    file = parquet_folder / TRAIN_PARQUET
    table = pq.read_table(file)
    rows = table["img"].to_pylist()
    rows[3]["bytes"] = b"no image"
    pq.write_table(table.set_column(0, "img", pa.array(rows)), file)
    assert "image 3 of the train split" in request_error(parquet_folder)


def test_a_column_of_large_numbers_is_not_taken_for_classes(parquet_folder: Path) -> None:
    file = parquet_folder / TRAIN_PARQUET
    table = pq.read_table(file)
    numbers = pa.array([2_009_123_456] * len(table))
    pq.write_table(table.set_column(1, "label", numbers).replace_schema_metadata(None), file)
    with pytest.raises(RequestError, match="column label holds 2009123456; class numbers are below 100,000"):
        find_source(None, parquet_folder).read()
