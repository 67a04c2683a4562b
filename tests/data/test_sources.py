import json
import os
import pickle
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from cnnlab.data.images import ImageData, load_images
from cnnlab.data.sources import HubSource, ParquetSource, find_source, hub
from cnnlab.errors import RequestError

TRAIN_PARQUET = "train-00000-of-00001.parquet"


def load(path: Path) -> ImageData:
    return load_images(find_source(None, path), 32)


def assert_same(data: ImageData, expected: ImageData) -> None:
    for split, wanted in ((data.train, expected.train), (data.test, expected.test)):
        assert torch.equal(split.pixels, wanted.pixels)
        assert torch.equal(split.labels, wanted.labels)
    assert data.classes == expected.classes


def request_error(path: Path) -> str:
    with pytest.raises(RequestError) as caught:
        load(path)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_every_form_gives_the_same_images(
    parquet_folder: Path, batches_folder: Path, class_folders: Path, sample: ImageData
) -> None:
    data = [load(path) for path in (parquet_folder, batches_folder, class_folders)]
    for one in data:
        assert_same(one, sample)
    assert len({one.fingerprint for one in data}) == 1
    assert len(data[0].fingerprint) == 16


def test_another_pixel_or_label_gives_another_fingerprint(parquet_folder: Path) -> None:
    fingerprints = {load(parquet_folder).fingerprint}
    file = parquet_folder / TRAIN_PARQUET
    table = pq.read_table(file)
    labels = table["label"].to_numpy().copy()
    labels[0] = 1
    pq.write_table(table.set_column(1, "label", pa.array(labels)), file)
    fingerprints.add(load(parquet_folder).fingerprint)
    pq.write_table(table.take(np.r_[1, 1 : len(table)]), file)  # the second image twice, the first never
    fingerprints.add(load(parquet_folder).fingerprint)
    assert len(fingerprints) == 3


@pytest.mark.parametrize("form", ["parent", "itself"])
def test_batches_are_found_in_the_folder_and_in_its_parent(
    batches_folder: Path, sample: ImageData, form: str, tmp_path: Path
) -> None:
    assert_same(load(batches_folder if form == "itself" else tmp_path), sample)


def test_parquet_files_are_found_below_the_folder_and_in_several_parts(
    parquet_folder: Path, sample: ImageData, tmp_path: Path
) -> None:
    nested = tmp_path / "snapshot" / "plain_text"
    nested.mkdir(parents=True)
    train = pq.read_table(parquet_folder / TRAIN_PARQUET)
    pq.write_table(train.slice(0, 50), nested / "train-00000-of-00002.parquet")
    pq.write_table(train.slice(50), nested / "train-00001-of-00002.parquet")
    shutil.copy(parquet_folder / "test-00000-of-00001.parquet", nested)
    assert_same(load(tmp_path / "snapshot"), sample)


def test_one_parquet_file_gives_up_a_sixth_of_every_class_for_the_test(parquet_folder: Path, sample: ImageData) -> None:
    data = load(parquet_folder / TRAIN_PARQUET)
    assert data.classes == sample.classes
    assert data.train.labels.bincount().tolist() == [10] * 10
    assert data.test.labels.bincount().tolist() == [2] * 10
    everything = torch.cat([data.train.pixels, data.test.pixels]).flatten(1)
    assert torch.equal(everything.unique(dim=0), sample.train.pixels.flatten(1).unique(dim=0))


def test_parquet_without_names_numbers_the_classes(parquet_folder: Path, sample: ImageData) -> None:
    for file in parquet_folder.iterdir():
        pq.write_table(pq.read_table(file).replace_schema_metadata(None), file)
    data = load(parquet_folder)
    assert data.classes == tuple("0123456789")
    assert torch.equal(data.train.pixels, sample.train.pixels)


def test_parquet_with_plain_bytes_is_read(parquet_folder: Path, sample: ImageData) -> None:
    for file in parquet_folder.iterdir():
        table = pq.read_table(file)
        pq.write_table(table.set_column(0, "image", table["img"].combine_chunks().field("bytes")), file)
    assert_same(load(parquet_folder), sample)


def test_folders_without_a_test_folder_are_split(photo_folders: Path) -> None:
    data = load(photo_folders)
    assert data.classes == ("cat", "dog", "owl")
    assert data.train.labels.bincount().tolist() == [10, 10, 10]
    assert data.test.labels.bincount().tolist() == [2, 2, 2]
    assert data.train.pixels.shape == (30, 32, 32, 3)


def test_train_folder_alone_is_split(class_folders: Path) -> None:
    shutil.rmtree(class_folders / "test")
    data = load(class_folders)
    assert (len(data.train), len(data.test)) == (100, 20)


def test_folders_skip_what_is_no_image(class_folders: Path, sample: ImageData) -> None:
    (class_folders / "train" / "cat" / "notes.txt").write_text("no image")
    (class_folders / "train" / "cat" / "._0001.png").write_text("what macOS leaves")
    (class_folders / "train" / "empty").mkdir()
    assert_same(load(class_folders), sample)


@pytest.mark.parametrize(
    ("train", "test"), [("Train", "Test"), ("training", "testing"), ("train", "val"), ("train", "validation")]
)
def test_folders_of_the_splits_have_other_names_too(class_folders: Path, sample: ImageData, train, test) -> None:
    (class_folders / "train").rename(class_folders / "_")
    (class_folders / "_").rename(class_folders / train)
    (class_folders / "test").rename(class_folders / test)
    assert_same(load(class_folders), sample)


def test_a_folder_for_validation_is_not_read_beside_one_for_the_test(class_folders: Path, sample: ImageData) -> None:
    shutil.copytree(class_folders / "train", class_folders / "val")
    assert_same(load(class_folders), sample)


def test_within_a_split_a_class_may_be_called_train(class_folders: Path) -> None:
    for split in ("train", "test"):
        (class_folders / split / "truck").rename(class_folders / split / "train")
    data = load(class_folders)
    assert "train" in data.classes
    assert len(data.classes) == 10


def test_hidden_folders_are_no_classes(photo_folders: Path) -> None:
    shutil.copytree(photo_folders / "cat", photo_folders / ".ipynb_checkpoints")
    assert load(photo_folders).classes == ("cat", "dog", "owl")


def test_links_to_folders_are_followed_and_loops_end(class_folders: Path, sample: ImageData, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    (linked / "test").mkdir(parents=True)
    (linked / "train").symlink_to(class_folders / "train")
    for folder in (class_folders / "test").iterdir():
        (linked / "test" / folder.name).symlink_to(folder)
    (class_folders / "train" / "cat" / "up").symlink_to(class_folders / "train")
    source = find_source(None, linked)
    assert_same(load(linked), sample)
    assert source.count() == 150 == len(list(source.files()))
    before = source.identity
    next((class_folders / "test" / "dog").iterdir()).unlink()
    assert source.identity != before  # or a cache of what was there would be read


def test_a_link_to_nothing_is_named(class_folders: Path) -> None:
    (class_folders / "train" / "cat" / "lost.png").symlink_to("nowhere.png")
    assert "lost.png is a link to nothing" in request_error(class_folders)


@pytest.mark.parametrize("name", ["cifar10_{}.parquet", "plain_text/{}/0000.parquet", "{}/part.parquet"])
def test_the_split_of_a_parquet_file_is_in_its_name_or_its_folders(
    parquet_folder: Path, tmp_path: Path, sample: ImageData, name: str
) -> None:
    folder = tmp_path / "other"
    for split in ("train", "test"):
        file = folder / name.format(split)
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(parquet_folder / f"{split}-00000-of-00001.parquet", file)
    assert_same(load(folder), sample)


def renumber(file: Path, classes: list[str]) -> None:
    """Writes a parquet file anew with its classes in another order."""
    table = pq.read_table(file)
    info = json.loads(table.schema.metadata[b"huggingface"])
    names = info["info"]["features"]["label"]["names"]
    numbers = np.array([classes.index(name) for name in names])[table["label"].to_numpy()]
    info["info"]["features"]["label"]["names"] = classes
    table = table.set_column(table.schema.get_field_index("label"), "label", pa.array(numbers))
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(info)}), file)


def test_the_names_of_a_test_file_decide_what_its_numbers_mean(parquet_folder: Path, sample: ImageData) -> None:
    renumber(parquet_folder / "test-00000-of-00001.parquet", sorted(sample.classes, reverse=True))
    assert_same(load(parquet_folder), sample)
    renumber(parquet_folder / "test-00000-of-00001.parquet", [*sample.classes, "unicorn"])
    assert "a class that the training split has not: unicorn" in request_error(parquet_folder)


@pytest.mark.parametrize("lean", [False, True])
def test_files_of_a_split_that_number_classes_otherwise_are_refused(
    parquet_folder: Path, sample: ImageData, lean: bool
) -> None:
    first, second = (parquet_folder / f"train-0000{number}-of-00002.parquet" for number in (0, 1))
    (parquet_folder / "train-00000-of-00001.parquet").rename(first)
    shutil.copy(first, second)
    renumber(second, sorted(sample.classes, reverse=True))
    with pytest.raises(RequestError, match="numbers its classes otherwise than"):
        find_source(None, parquet_folder).read(lean)


def test_a_path_with_letters_that_are_patterns_is_streamed(parquet_folder: Path) -> None:
    parquet_folder = parquet_folder.rename(parquet_folder.with_name("[2024]*"))
    assert len(find_source(None, parquet_folder).read(lean=True).train.labels) == 120


def test_of_several_numbers_the_classes_are_those_that_are_called_so(parquet_folder: Path, sample: ImageData) -> None:
    for file in parquet_folder.iterdir():
        table = pq.read_table(file)
        numbered = table.add_column(0, "image_id", pa.array(range(len(table))))
        pq.write_table(numbered.replace_schema_metadata(None), file)
    assert torch.equal(load(parquet_folder).train.labels, sample.train.labels)


def test_of_several_numbers_none_is_guessed(parquet_folder: Path) -> None:
    for file in parquet_folder.iterdir():
        table = pq.read_table(file).replace_schema_metadata(None).rename_columns(["img", "kind"])
        pq.write_table(table.add_column(0, "image_id", pa.array(range(len(table)))), file)
    assert "which column holds the classes, image_id or kind? Call it label" in request_error(parquet_folder)


def test_test_folder_with_an_unknown_class_is_refused(class_folders: Path) -> None:
    (class_folders / "test" / "cat").rename(class_folders / "test" / "lion")
    message = request_error(class_folders)
    assert "lion" in message
    assert str(class_folders / "test") in message


def test_test_folder_may_lack_a_class(class_folders: Path) -> None:
    shutil.rmtree(class_folders / "test" / "cat")
    data = load(class_folders)
    assert data.test.labels.bincount().tolist() == [3, 3, 3, 0, 3, 3, 3, 3, 3, 3]


def test_digits_are_1797_colour_images_of_32_pixels() -> None:
    data = load_images(find_source("digits", None), 32)
    assert len(data.train) + len(data.test) == 1797
    assert data.train.pixels.shape[1:] == data.test.pixels.shape[1:] == (32, 32, 3)
    assert data.train.pixels.dtype == torch.uint8
    assert data.classes == tuple("0123456789")
    assert int(data.train.pixels.max()) > 240
    assert torch.equal(data.train.pixels[..., 0], data.train.pixels[..., 2])
    assert 0.16 < len(data.test) / 1797 < 0.17


def test_synthetic_images_have_the_form_of_cifar10_and_are_always_the_same() -> None:
    one, other = (find_source("synthetic", None).read() for _ in range(2))
    assert one.test is not None
    assert isinstance(one.train.images, np.ndarray) and isinstance(one.test.images, np.ndarray)
    assert (one.train.images.shape, one.test.images.shape) == ((50_000, 32, 32, 3), (10_000, 32, 32, 3))
    assert np.bincount(one.train.labels).tolist() == [5000] * 10
    assert not np.array_equal(one.train.images[:10_000], one.test.images)
    assert isinstance(other.train.images, np.ndarray) and np.array_equal(one.train.images, other.train.images)


def test_images_on_disk_win_over_synthetic_ones(parquet_folder: Path) -> None:
    assert isinstance(find_source("synthetic", parquet_folder), ParquetSource)


@pytest.mark.parametrize(
    ("name", "path", "part"),
    [
        (None, "nowhere", "nowhere does not exist"),
        (None, "empty", "class/image.png"),
        (None, "notes.txt", "notes.txt is not a parquet file"),
        (None, None, "data.path="),
        ("digits", "empty", "data=folder"),
    ],
)
def test_nothing_to_read_is_said(tmp_path: Path, name: str | None, path: str | None, part: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").touch()
    with pytest.raises(RequestError, match="^data.path") as caught:
        find_source(name, tmp_path / path if path else None)
    assert part in str(caught.value)


def test_home_folder_is_expanded(class_folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(class_folders.parent))
    assert find_source(None, "~/class_folders") == find_source(None, class_folders)


def test_damaged_parquet_is_named(parquet_folder: Path) -> None:
    file = parquet_folder / TRAIN_PARQUET
    file.write_bytes(file.read_bytes()[:-1000])
    assert str(file) in request_error(parquet_folder)


def test_damaged_page_inside_a_parquet_file_is_named(parquet_folder: Path) -> None:
    file = parquet_folder / TRAIN_PARQUET
    content = bytearray(file.read_bytes())
    content[4:400] = bytes(396)  # the header and the start of the first page
    file.write_bytes(content)
    assert str(file) in request_error(parquet_folder)


def test_parquet_without_images_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "table.parquet"
    pq.write_table(pa.table({"height": [1.0, 2.0], "label": [0, 1]}), file)
    message = request_error(file)
    assert str(file) in message
    assert "height" in message


def test_parquet_files_with_other_columns_are_refused(parquet_folder: Path) -> None:
    other = parquet_folder / "train-00001-of-00001.parquet"
    pq.write_table(pa.table({"height": [1.0, 2.0], "label": [0, 1]}), other)
    assert str(parquet_folder) in request_error(parquet_folder)


def test_test_parquet_with_other_columns_is_refused(parquet_folder: Path) -> None:
    file = parquet_folder / "test-00000-of-00001.parquet"
    pq.write_table(pq.read_table(file).rename_columns(["picture", "label"]), file)
    assert str(parquet_folder) in request_error(parquet_folder)


def test_parquet_rows_without_an_image_are_refused(parquet_folder: Path) -> None:
    file = parquet_folder / TRAIN_PARQUET
    table = pq.read_table(file)
    rows = table["img"].to_pylist()
    rows[3]["bytes"] = None
    pq.write_table(table.set_column(0, "img", pa.array(rows)), file)
    message = request_error(parquet_folder)
    assert str(file) in message
    assert "1 rows" in message


def test_labels_beyond_the_classes_are_refused(parquet_folder: Path) -> None:
    file = parquet_folder / TRAIN_PARQUET
    table = pq.read_table(file)
    pq.write_table(table.set_column(1, "label", pa.array(table["label"].to_numpy() + 1)), file)
    assert "0 to 9" in request_error(parquet_folder)


def test_image_in_parquet_that_cannot_be_decoded_is_numbered(parquet_folder: Path) -> None:
    file = parquet_folder / TRAIN_PARQUET
    table = pq.read_table(file)
    rows = table["img"].to_pylist()
    rows[3]["bytes"] = b"no image"
    pq.write_table(table.set_column(0, "img", pa.array(rows)), file)
    assert "image 3 of the train split" in request_error(parquet_folder)


class Payload:
    """Runs code when it is unpickled."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


def test_pickle_with_code_in_it_is_refused_and_not_run(batches_folder: Path, tmp_path: Path) -> None:
    file, marker = batches_folder / "data_batch_2", tmp_path / "code_ran"
    file.write_bytes(pickle.dumps({b"data": Payload(marker), b"labels": []}))
    message = request_error(batches_folder)
    assert not marker.exists()
    assert str(file) in message


@pytest.mark.parametrize("name", ["data_batch_3", "test_batch", "batches.meta"])
def test_damaged_batch_is_named(batches_folder: Path, name: str) -> None:
    file = batches_folder / name
    file.write_bytes(file.read_bytes()[:100])
    assert str(file) in request_error(batches_folder)


@pytest.mark.parametrize("name", ["test_batch", "batches.meta"])
def test_missing_batch_is_named(batches_folder: Path, name: str) -> None:
    (batches_folder / name).unlink()
    assert f"{batches_folder / name} is missing" in request_error(batches_folder)


@pytest.mark.parametrize(
    "content",
    [
        {b"labels": [0]},
        {b"data": np.zeros((1, 3072), np.uint8)},
        {b"data": np.zeros((1, 1000), np.uint8), b"labels": [0]},
        {b"data": np.zeros((2, 3072), np.uint8), b"labels": [0]},
        {b"data": np.zeros((1, 3072), np.uint8), b"labels": ["cat"]},
        ["no dictionary"],
    ],
    ids=["no data", "no labels", "other size", "fewer labels", "text labels", "list"],
)
def test_batch_with_other_content_is_named(batches_folder: Path, content: Any) -> None:
    file = batches_folder / "data_batch_3"
    file.write_bytes(pickle.dumps(content, protocol=2))
    assert str(file) in request_error(batches_folder)


@pytest.mark.parametrize("damage", ["text", "truncated", "empty"])
def test_image_that_cannot_be_decoded_is_named(photo_folders: Path, damage: str) -> None:
    file = photo_folders / "dog" / ("01.jpg" if damage == "truncated" else "00.png")
    content = {"text": b"no image", "truncated": file.read_bytes()[:700], "empty": b""}
    file.write_bytes(content[damage])
    assert f"{file} cannot be decoded" in request_error(photo_folders)


def test_one_class_is_too_few(photo_folders: Path) -> None:
    shutil.rmtree(photo_folders / "owl")
    shutil.rmtree(photo_folders / "cat")
    assert "two classes" in request_error(photo_folders)


def test_too_few_images_for_a_test_split_is_said(photo_folders: Path) -> None:
    for file in photo_folders.rglob("*.*"):
        if not file.name.startswith("00"):
            file.unlink()
    assert "too few images" in request_error(photo_folders)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_hub_answers", lambda name: False)
    if "huggingface_hub.constants" in sys.modules:  # the source changes it: put it back afterwards
        constants = sys.modules["huggingface_hub.constants"]
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", constants.HF_HUB_OFFLINE)


@pytest.mark.usefixtures("offline")
def test_hub_without_network_says_what_works_instead() -> None:
    source = find_source("uoft-cs/cifar10", None)
    for ask in (source.check, source.read):
        with pytest.raises(RequestError) as caught:
            ask()
        first, second = str(caught.value).splitlines()
        assert "uoft-cs/cifar10" in first
        assert "data.path=" in second
        assert "data=digits" in second


@pytest.mark.usefixtures("offline")
def test_hub_without_network_takes_an_earlier_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with pytest.raises(RequestError):
        HubSource("uoft-cs/cifar10").check()
    for folder in ("uoft-cs___cifar10", "someone___my_images"):  # as the library calls them
        (tmp_path / "datasets" / folder).mkdir(parents=True)
    HubSource("uoft-cs/cifar10").check()
    HubSource("someone/MyImages").check()
    assert os.environ["HF_HUB_OFFLINE"] == "1"  # or loading it would wait for the Hub


def test_a_hub_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    huggingface_hub = pytest.importorskip("huggingface_hub")
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(hub, "HUB_TIMEOUT", 0.1)
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda *_, **__: time.sleep(3))
    start = time.perf_counter()
    assert not hub._hub_answers("someone/data")
    assert time.perf_counter() - start < 1


def test_hub_gives_the_same_images_as_its_files(
    parquet_folder: Path, sample: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets")
    splits = {
        name: datasets.Dataset.from_parquet(
            str(parquet_folder / f"{name}-00000-of-00001.parquet"), cache_dir=str(tmp_path / "datasets")
        )
        for name in ("train", "test")
    }
    monkeypatch.setattr(hub, "_hub_answers", lambda name: True)
    monkeypatch.setattr(datasets, "load_dataset", lambda name: splits)
    data = load_images(find_source("someone/cifar10", None), 32, tmp_path / "cache")
    assert_same(data, sample)
    assert data.fingerprint == load(parquet_folder).fingerprint


def test_hub_failure_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")

    def fail(name: str) -> None:
        raise ConnectionError("the line broke\nand more")

    monkeypatch.setattr(hub, "_hub_answers", lambda name: True)
    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(RequestError) as caught:
        HubSource("someone/data").read()
    assert str(caught.value) == "data: someone/data cannot be loaded (the line broke)"
