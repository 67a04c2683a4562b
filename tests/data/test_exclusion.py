"""Test that marked images are left out, of the data that a table was made for."""

import csv
from pathlib import Path

import pytest
import torch

from cnnlab.data.datamodule import ImageDataModule
from cnnlab.data.exclusion import data_digest, exclude_marked
from cnnlab.data.images import load_images, streamed_images
from cnnlab.data.recorded import find_test_images
from cnnlab.data.sources import find_source
from cnnlab.data.splits import read_split
from cnnlab.errors import RequestError


@pytest.fixture
def write(tmp_path, class_folders):
    """Writes a table that marks images, such as `train/3`, and has a row without a mark."""
    source = find_source(None, class_folders)
    digest = data_digest(source, streamed_images(source, 32))

    def write(*images: str, data: str = digest, mark: str = "x", name: str = "audit.csv") -> Path:
        with (tmp_path / name).open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(("kind", "split", "index", "exclude", "data"))
            writer.writerow(("dark", "train", "0", "", data))
            writer.writerow(("unreadable", "train", "", "x", data))
            writer.writerows(("duplicate", *image.split("/"), mark, data) for image in images)
        return tmp_path / name

    return write


@pytest.mark.parametrize("residence", ["host", "stream"])
def test_a_run_and_its_evaluation_leave_marked_images_out(write, class_folders, sample, residence):
    table = write("train/3", "train/119", "test/2", "train/3")
    settings = {"path": str(class_folders), "residence": residence, "exclude": str(table)}
    data = ImageDataModule(**settings, protocol="article")
    kept = [place for place in range(120) if place not in (3, 119)]
    assert torch.equal(data.train.pixels, sample.train.pixels[kept])
    assert len(data.test) == 29 and data.findings.ignored["excluded images"] == 3
    whole = ImageDataModule(**{**settings, "exclude": None})
    assert data.fingerprint != whole.fingerprint
    assert data.fingerprint.startswith("files-") == (residence == "stream")
    images, found = read_split("test", "article", data.classes, 32, settings)
    assert torch.equal(images.labels, data.test.labels) and found.fingerprint == data.fingerprint
    tested = find_test_images({**settings, "source": None, "image_size": 32}, data.fingerprint)
    assert torch.equal(torch.from_numpy(tested.read([2])), sample.test.pixels[3:4])


def test_the_marks_decide_about_the_fingerprint(write, class_folders):
    source = find_source(None, class_folders)
    data = load_images(source, 32)
    assert exclude_marked(data, source, write()) is data
    one, other = (exclude_marked(data, source, write(image)).fingerprint for image in ("train/1", "train/2"))
    assert len({data.fingerprint, one, other}) == 3
    assert exclude_marked(data, source, write("train/1", mark=" Yes")).fingerprint == one


def test_validation_images_are_counted_down(class_folders, write):
    (class_folders / "val").mkdir()
    for name in ("cat", "dog"):
        (class_folders / "val" / name).mkdir()
        for file in sorted((class_folders / "train" / name).iterdir())[:2]:
            file.rename(class_folders / "val" / name / file.name)
    source = find_source(None, class_folders)
    data = load_images(source, 32)
    left = exclude_marked(data, source, write("val/0", "train/5", data=data_digest(source, data)))
    assert (data.validation, left.validation, len(left.train)) == (4, 3, len(data.train) - 2)


def test_tables_of_spreadsheets_are_read(write, class_folders):
    source = find_source(None, class_folders)
    table = write("train/1")
    table.write_text("\ufeff" + table.read_text().replace(",", ";"))
    assert len(exclude_marked(load_images(source, 32), source, table).train) == 119


@pytest.mark.parametrize(
    ("images", "changes", "message"),
    [
        (["train/1"], {"data": "0" * 16}, "was made for other images, or these have changed since"),
        (["train/120"], {}, "line 4: there is no image train/120"),
        (["extra/1"], {}, "there is no image extra/1"),
        (["train/1"], {"mark": "perhaps"}, "line 4: exclude must be x or empty, got perhaps"),
        ([f"train/{place}" for place in range(12)], {}, "leaves no training image of airplane"),
        ([f"test/{place}" for place in range(30)], {}, "leaves no test image"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(write, class_folders, images, changes, message):
    source = find_source(None, class_folders)
    with pytest.raises(RequestError, match=message):
        exclude_marked(load_images(source, 32), source, write(*images, **changes))


def test_what_is_no_table_is_refused(class_folders, tmp_path):
    source, other = find_source(None, class_folders), tmp_path / "other.csv"
    data = load_images(source, 32)
    with pytest.raises(RequestError, match=r"missing.csv cannot be read \(No such file"):
        exclude_marked(data, source, tmp_path / "missing.csv")
    other.write_text("image,label\na.png,cat\n")
    with pytest.raises(RequestError, match="lacks the column split, index, exclude, data"):
        exclude_marked(data, source, other)
