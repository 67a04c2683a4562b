from pathlib import Path

import pytest

from cnnlab.data.images import ImageData
from cnnlab.data.sources import ParquetSource, find_source
from cnnlab.errors import RequestError


def test_every_form_gives_the_same_images(
    parquet_folder: Path, batches_folder: Path, class_folders: Path, sample: ImageData, load, assert_same
) -> None:
    data = [load(path) for path in (parquet_folder, batches_folder, class_folders)]
    for one in data:
        assert_same(one, sample)
    assert len({one.fingerprint for one in data}) == 1
    assert len(data[0].fingerprint) == 16


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
def test_a_place_without_images_is_reported(tmp_path: Path, name: str | None, path: str | None, part: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").touch()
    with pytest.raises(RequestError, match="^data.path") as caught:
        find_source(name, tmp_path / path if path else None)
    assert part in str(caught.value)


def test_home_folder_is_expanded(class_folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(class_folders.parent))
    assert find_source(None, "~/class_folders") == find_source(None, class_folders)
