import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnnlab.data.images import ImageData, load_images
from cnnlab.data.sources import find_source
from cnnlab.errors import RequestError


class Payload:
    """Run code when unpickled."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("form", ["parent", "itself"])
def test_batches_are_found_in_the_folder_and_in_its_parent(
    batches_folder: Path, sample: ImageData, form: str, tmp_path: Path, load, assert_same
) -> None:
    assert_same(load(batches_folder if form == "itself" else tmp_path), sample)


def test_code_in_a_pickle_is_refused_and_not_run(batches_folder: Path, tmp_path: Path, request_error) -> None:
    file, marker = batches_folder / "data_batch_2", tmp_path / "code_ran"
    file.write_bytes(pickle.dumps({b"data": Payload(marker), b"labels": []}))
    message = request_error(batches_folder)
    assert not marker.exists()
    assert str(file) in message


@pytest.mark.parametrize("name", ["data_batch_3", "test_batch", "batches.meta"])
def test_damaged_batch_is_named(batches_folder: Path, name: str, request_error) -> None:
    file = batches_folder / name
    file.write_bytes(file.read_bytes()[:100])
    assert str(file) in request_error(batches_folder)


@pytest.mark.parametrize("name", ["data_batch_1", "data_batch_3", "test_batch", "batches.meta"])
def test_missing_batch_is_named(batches_folder: Path, name: str, request_error) -> None:
    (batches_folder / name).unlink()
    assert f"{batches_folder} is incomplete: {name} is missing" in request_error(batches_folder)


def test_other_files_are_counted(batches_folder: Path) -> None:
    (batches_folder / "readme.html").touch()
    findings = find_source(None, batches_folder.parent).findings()
    assert (findings.places, findings.ignored) == ("data_batch_1 to 5 and test_batch", {"files": 1})


@pytest.fixture
def fine_and_coarse(tmp_path: Path) -> Path:
    """As the authors of CIFAR-100 publish its python version: 4 fine classes, 2 coarse ones."""
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    fine = [3, 0, 1, 2, 2]
    batch = {b"data": np.zeros((5, 3072), np.uint8), b"fine_labels": fine, b"coarse_labels": [n // 2 for n in fine]}
    names = {b"fine_label_names": [b"apple", b"pear", b"bus", b"tram"], b"coarse_label_names": [b"fruit", b"vehicles"]}
    for name, content in (("train", batch), ("test", batch), ("meta", names)):
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))
    return folder


@pytest.mark.parametrize(
    ("column", "classes", "labels"),
    [
        (None, ("apple", "pear", "bus", "tram"), [3, 0, 1, 2, 2]),
        ("fine_label", ("apple", "pear", "bus", "tram"), [3, 0, 1, 2, 2]),
        ("coarse_labels", ("fruit", "vehicles"), [1, 0, 0, 1, 1]),
    ],
)
def test_cifar_100_has_two_kinds_of_labels(fine_and_coarse: Path, column, classes, labels) -> None:
    for place in (fine_and_coarse, fine_and_coarse.parent):
        data = load_images(find_source(None, place, label_column=column), 32)
        assert data.classes == classes
        assert data.train.labels.tolist() == data.test.labels.tolist() == labels


def test_other_labels_and_two_data_sets_in_a_folder_are_refused(fine_and_coarse: Path, batches_folder: Path) -> None:
    with pytest.raises(RequestError, match="data.label_column: .* has no label; known: fine_labels, coarse_labels"):
        find_source(None, fine_and_coarse, label_column="label")
    with pytest.raises(RequestError, match=f"data.path={fine_and_coarse}"):
        find_source(None, fine_and_coarse.parent)


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
def test_batch_with_other_content_is_named(batches_folder: Path, content: Any, request_error) -> None:
    file = batches_folder / "data_batch_3"
    file.write_bytes(pickle.dumps(content, protocol=2))
    assert str(file) in request_error(batches_folder)
