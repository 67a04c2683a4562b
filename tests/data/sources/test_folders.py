import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from cnnlab.data.images import ImageData
from cnnlab.data.sources import find_source
from cnnlab.data.splits import split_by_protocol


def test_folders_without_a_test_folder_are_split(photo_folders: Path, load) -> None:
    data = load(photo_folders)
    assert data.classes == ("cat", "dog", "owl")
    assert data.train.labels.bincount().tolist() == [10, 10, 10]
    assert data.test.labels.bincount().tolist() == [2, 2, 2]
    assert data.train.pixels.shape == (30, 32, 32, 3)


def test_train_folder_alone_is_split(class_folders: Path, load) -> None:
    shutil.rmtree(class_folders / "test")
    data = load(class_folders)
    assert (len(data.train), len(data.test)) == (100, 20)


def test_other_files_and_empty_folders_are_skipped(class_folders: Path, sample: ImageData, load, assert_same) -> None:
    (class_folders / "train" / "cat" / "notes.txt").write_text("no image")
    (class_folders / "train" / "cat" / "._0001.png").write_text("what macOS leaves")
    (class_folders / "train" / "empty").mkdir()
    assert_same(load(class_folders), sample)


@pytest.mark.parametrize(
    ("train", "test"), [("Train", "Test"), ("training", "testing"), ("train", "val"), ("train", "validation")]
)
def test_folders_of_the_splits_may_have_other_names(
    class_folders: Path, sample: ImageData, train, test, load, assert_same
) -> None:
    (class_folders / "train").rename(class_folders / "_")
    (class_folders / "_").rename(class_folders / train)
    (class_folders / "test").rename(class_folders / test)
    assert_same(load(class_folders), sample)


def test_a_validation_folder_beside_a_test_folder_chooses_the_best_epoch(
    class_folders: Path, sample: ImageData, load
) -> None:
    without = load(class_folders).fingerprint
    shutil.copytree(class_folders / "test", class_folders / "val")
    data = load(class_folders)
    train, val = split_by_protocol(data, "holdout", 0.1)
    assert torch.equal(train.pixels, sample.train.pixels) and torch.equal(val.pixels, sample.test.pixels)
    assert torch.equal(data.test.pixels, sample.test.pixels)
    assert len(split_by_protocol(data, "article", 0.1)[0]) == 120
    assert data.fingerprint != without
    assert data.findings.places == "train/, val/ and test/"


def test_within_a_split_a_class_may_be_called_train(class_folders: Path, load) -> None:
    for split in ("train", "test"):
        (class_folders / split / "truck").rename(class_folders / split / "train")
    data = load(class_folders)
    assert "train" in data.classes
    assert len(data.classes) == 10


def test_hidden_folders_are_not_classes(photo_folders: Path, load) -> None:
    shutil.copytree(photo_folders / "cat", photo_folders / ".ipynb_checkpoints")
    assert load(photo_folders).classes == ("cat", "dog", "owl")


def test_links_to_folders_are_followed_and_loops_end(
    class_folders: Path, sample: ImageData, tmp_path: Path, load, assert_same
) -> None:
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
    assert find_source(None, linked).identity != before  # otherwise an outdated cache would be read


@pytest.mark.parametrize("name", ["lost", "self"])
def test_a_link_that_may_be_a_missing_class_is_named(class_folders: Path, name: str, request_error) -> None:
    (class_folders / "train" / name).symlink_to("self")
    assert f"{name} is a link to a missing file or folder" in request_error(class_folders)


def test_what_is_no_file_is_never_waited_for(photo_folders: Path, request_error) -> None:
    for name in ("a.png", "b.parquet"):
        os.mkfifo(photo_folders / "cat" / name)
    (photo_folders / "cat" / "c.png").symlink_to("/dev/zero")
    message = request_error(photo_folders)
    assert "2 of 38 images cannot be read: " in message
    assert "a.png: it is not a file" in message and "c.png" in message
    assert "is neither a file nor a folder" in request_error(photo_folders / "cat" / "a.png")


def test_a_place_without_permission_is_named(photo_folders: Path, request_error, monkeypatch) -> None:
    def refuse(path: str) -> Any:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)  # root may read everything
    assert request_error(photo_folders) == f"data.path: no permission to read {photo_folders}"


def test_test_folder_with_an_unknown_class_is_refused(class_folders: Path, request_error) -> None:
    (class_folders / "test" / "cat").rename(class_folders / "test" / "lion")
    message = request_error(class_folders)
    assert "lion" in message
    assert str(class_folders / "test") in message


def test_test_folder_may_lack_a_class(class_folders: Path, load) -> None:
    shutil.rmtree(class_folders / "test" / "cat")
    data = load(class_folders)
    assert data.test.labels.bincount().tolist() == [3, 3, 3, 0, 3, 3, 3, 3, 3, 3]


@pytest.mark.parametrize("damage", ["text", "truncated", "empty"])
def test_image_that_cannot_be_decoded_is_named(photo_folders: Path, damage: str, request_error) -> None:
    file = photo_folders / "dog" / ("01.jpg" if damage == "truncated" else "00.png")
    content = {"text": b"no image", "truncated": file.read_bytes()[:700], "empty": b""}
    file.write_bytes(content[damage])
    assert f"data: 1 of 36 images cannot be read: {file}: " in request_error(photo_folders)


def test_a_single_class_is_refused(photo_folders: Path, request_error) -> None:
    shutil.rmtree(photo_folders / "owl")
    shutil.rmtree(photo_folders / "cat")
    assert "two classes" in request_error(photo_folders)


def test_too_few_images_for_a_test_split_are_refused(photo_folders: Path, request_error) -> None:
    for file in photo_folders.rglob("*.*"):
        if not file.name.startswith("00"):
            file.unlink()
    assert "too few images" in request_error(photo_folders)


def test_paths_of_files_take_little_memory(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name / "more").mkdir(parents=True)
        for i in range(20):
            (tmp_path / name / ("more" if i % 2 else ".") / f"{i}.png").touch()
    images: Any = find_source(None, tmp_path).read(lean=True).train.images
    assert images.names.dtype.kind == "S"
    assert images.names.nbytes == 40 * len("cat/more/11.png")
    by_pathlib = [file for name in ("cat", "dog") for file in sorted((tmp_path / name).rglob("*.png"))]
    assert list(images) == by_pathlib


def test_names_that_are_not_utf8_are_read(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for i in range(2):
            (tmp_path / name / os.fsdecode(b"\xff%d.png" % i)).touch()
    source = find_source(None, tmp_path)
    images: Any = source.read().train.images
    assert all(file.exists() for file in images)
    assert source.identity.startswith("folders ")
    assert len(list(source.files())) == 4
