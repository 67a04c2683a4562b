import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnnlab.data.images import ImageData


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


@pytest.mark.parametrize("name", ["test_batch", "batches.meta"])
def test_missing_batch_is_named(batches_folder: Path, name: str, request_error) -> None:
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
def test_batch_with_other_content_is_named(batches_folder: Path, content: Any, request_error) -> None:
    file = batches_folder / "data_batch_3"
    file.write_bytes(pickle.dumps(content, protocol=2))
    assert str(file) in request_error(batches_folder)
