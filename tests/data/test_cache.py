import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from cnnlab.data.cache import Notes, cache_folder, check_available, read_cache, write_cache
from cnnlab.data.images import ImageData, load_images
from cnnlab.data.sources import FolderSource, HubSource, find_source
from cnnlab.data.sources.base import RawImages
from cnnlab.errors import RequestError


def load(path: Path, cache: Path) -> ImageData:
    return load_images(find_source(None, path), 32, cache)


def entries(cache: Path) -> list[Path]:
    return list(cache.iterdir()) if cache.exists() else []


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "own_cache"


def forbid_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: FolderSource) -> RawImages:
        raise AssertionError("the source was read")

    monkeypatch.setattr(FolderSource, "read", fail)


def test_a_bar_counts_decoded_images_on_a_terminal_only(class_folders: Path, cache: Path, monkeypatch, capsys) -> None:
    load(class_folders, cache / "file")
    assert "decoding" not in capsys.readouterr().err
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("cnnlab.display.BAR_DELAY", 0)
    load(class_folders, cache / "terminal")
    assert "/150 [" in capsys.readouterr().err


def test_second_read_does_not_decode(class_folders: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(class_folders, cache)
    forbid_reading(monkeypatch)
    second = load(class_folders, cache)
    assert second.fingerprint == first.fingerprint
    assert torch.equal(second.train.pixels, first.train.pixels)
    assert torch.equal(second.test.labels, first.test.labels)


@pytest.mark.parametrize("name", ["train_pixels", "train_labels", "test_pixels", "test_labels"])
def test_a_flipped_bit_is_noticed_and_the_images_decoded_again(
    class_folders: Path, cache: Path, sample: ImageData, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    fingerprint = load(class_folders, cache).fingerprint
    file = entries(cache)[0] / f"{name}.npy"
    content = bytearray(file.read_bytes())
    content[-100] ^= 1
    file.write_bytes(content)
    data = load(class_folders, cache)
    assert "damaged" in caplog.text
    assert data.fingerprint == fingerprint
    assert torch.equal(data.train.pixels, sample.train.pixels)
    assert torch.equal(data.test.labels, sample.test.labels)
    assert read_cache(entries(cache)[0]) is not None
    assert len(entries(cache)) == 1


@pytest.mark.parametrize("name", ["train_pixels.npy", "test_labels.npy", "meta.json"])
def test_no_flipped_bit_gives_other_images_or_an_error(class_folders: Path, cache: Path, name: str) -> None:
    load(class_folders, cache)
    (folder,) = entries(cache)
    sound, file = read_cache(folder), folder / name
    assert sound is not None
    content = file.read_bytes()
    refused = 0
    for bit in range(0, 8 * min(len(content), 140), 3):  # the header, and the first numbers
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        file.write_bytes(damaged)
        found = read_cache(folder)
        refused += found is None
        if found is not None:  # the bit means nothing, such as a space
            assert (found.classes, found.fingerprint) == (sound.classes, sound.fingerprint)
            for key, array in found.arrays.items():
                assert array.dtype == sound.arrays[key].dtype
                np.testing.assert_array_equal(array, sound.arrays[key])
    assert refused > 100


def test_labels_in_another_byte_order_are_noticed(class_folders: Path, cache: Path) -> None:
    load(class_folders, cache)
    file = entries(cache)[0] / "train_labels.npy"
    file.write_bytes(file.read_bytes().replace(b"'<i8'", b"'>i8'"))  # one bit
    assert read_cache(entries(cache)[0]) is None


def test_a_file_or_a_dangling_link_in_place_of_the_cache_is_replaced(class_folders: Path, cache: Path) -> None:
    load(class_folders, cache)
    (folder,) = entries(cache)
    for link in (False, True):
        shutil.rmtree(folder)
        folder.symlink_to("nowhere") if link else folder.write_text("no cache")
        assert len(load(class_folders, cache).classes) == 10
        assert entries(cache) == [folder]


@pytest.mark.parametrize("name", ["train_pixels.npy", "test_labels.npy", "meta.json"])
@pytest.mark.parametrize("length", [None, 0, 60, -1])
def test_missing_and_shortened_files_are_noticed(
    class_folders: Path, cache: Path, sample: ImageData, name: str, length: int | None
) -> None:
    load(class_folders, cache)
    file = entries(cache)[0] / name
    if length is None:
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:length])
    assert torch.equal(load(class_folders, cache).train.pixels, sample.train.pixels)


@pytest.mark.parametrize("content", ["[]", "{}", '"text"', '{"sums": 3}'])
def test_changed_metadata_is_noticed(class_folders: Path, cache: Path, content: str) -> None:
    load(class_folders, cache)
    (entries(cache)[0] / "meta.json").write_text(content)
    assert len(load(class_folders, cache).classes) == 10


def test_writing_to_the_images_does_not_change_the_cache(class_folders: Path, cache: Path, sample: ImageData) -> None:
    load(class_folders, cache).train.pixels.zero_()
    assert torch.equal(load(class_folders, cache).train.pixels, sample.train.pixels)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError, RequestError])
def test_interrupted_writing_leaves_no_files(cache: Path, error: type[BaseException]) -> None:
    def fill(folder: Path) -> tuple[tuple[str, ...], Notes]:
        np.save(folder / "train_pixels.npy", np.zeros(3))
        raise error

    with pytest.raises(error):
        write_cache(cache / "key", fill)
    assert entries(cache) == []


def test_an_image_that_cannot_be_decoded_leaves_no_files(class_folders: Path, cache: Path) -> None:
    (class_folders / "test" / "truck" / "zzz.png").write_text("no image")
    with pytest.raises(RequestError):
        load(class_folders, cache)
    assert entries(cache) == []


def test_finished_cache_of_another_process_is_kept(class_folders: Path, cache: Path) -> None:
    load(class_folders, cache)
    folder = entries(cache)[0]
    before = (folder / "meta.json").stat().st_ino

    def fill(temporary: Path) -> tuple[tuple[str, ...], Notes]:
        for file in folder.glob("*.npy"):
            (temporary / file.name).write_bytes(file.read_bytes())
        return ("a", "b"), Notes()

    write_cache(folder, fill)
    assert (folder / "meta.json").stat().st_ino == before
    assert entries(cache) == [folder]


def test_changed_file_gives_another_key(class_folders: Path, cache: Path) -> None:
    def key() -> Path:
        return cache_folder(find_source(None, class_folders), 32, cache)

    keys = {key()}
    file = next((class_folders / "train" / "cat").iterdir())
    os.utime(file, ns=(0, 0))
    keys.add(key())
    file.with_name("another.png").write_bytes(file.read_bytes())
    keys.add(key())
    file.unlink()
    keys.add(key())
    assert len(keys) == 4


@pytest.mark.parametrize("fixture", ["parquet_folder", "batches_folder"])
def test_changed_test_split_gives_another_key(fixture: str, request: pytest.FixtureRequest, cache: Path) -> None:
    path: Path = request.getfixturevalue(fixture)
    before = cache_folder(find_source(None, path), 32, cache)
    os.utime(next(path.glob("test*")), ns=(0, 0))
    assert cache_folder(find_source(None, path), 32, cache) != before


def test_other_image_size_gives_another_key(class_folders: Path, cache: Path) -> None:
    source = find_source(None, class_folders)
    assert cache_folder(source, 32, cache) != cache_folder(source, 64, cache)
    assert load(class_folders, cache).train.pixels.shape[1] == 32
    assert load_images(source, 16, cache).train.pixels.shape[1] == 16


def test_the_cache_is_in_the_requested_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = find_source("digits", None)
    assert cache_folder(source, 32, tmp_path / "asked").parent == tmp_path / "asked"
    monkeypatch.setenv("CNNLAB_CACHE", str(tmp_path / "variable"))
    assert cache_folder(source, 32, None).parent == tmp_path / "variable"
    monkeypatch.delenv("CNNLAB_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder(source, 32, None).parent == tmp_path / "xdg" / "cnnlab"


def test_cache_that_cannot_be_written_is_named(class_folders: Path, tmp_path: Path) -> None:
    # A file is in the way of the folder, because root ignores permissions.
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(RequestError, match=f"data.cache: {place} cannot be written"):
            load(class_folders, place)
        with pytest.raises(RequestError, match=f"data.cache: {place} cannot be written"):
            check_available({"source": "digits", "cache": place})  # a search would fail trial by trial
        check_available({"source": "digits", "cache": place, "residence": "stream"})


def test_cached_hub_images_need_no_network(class_folders: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, data = HubSource("someone/data"), {"source": "someone/data", "cache": cache}
    with pytest.raises(RequestError):
        check_available(data)
    monkeypatch.setattr(HubSource, "read", lambda self: FolderSource(class_folders).read())
    monkeypatch.setattr(HubSource, "findings", lambda self: FolderSource(class_folders).findings())
    load_images(source, 32, cache)
    check_available(data)
