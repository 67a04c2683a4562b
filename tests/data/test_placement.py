import logging
from pathlib import Path

import pytest
import torch

from cnnlab.data import placement
from cnnlab.data.cache import cache_folder, cached_images
from cnnlab.data.datamodule import ImageDataModule
from cnnlab.data.images import load_images
from cnnlab.data.placement import choose_placement, free_memory
from cnnlab.data.sources import find_source

CPU = torch.device("cpu")
DECODED = 150 * 3 * 32 * 32  # bytes of the sample's images


def choose(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, memory: float, **options: object) -> str:
    """Return the choice of `auto` if the free memory is this multiple of the decoded images."""
    monkeypatch.setattr(placement, "free_memory", lambda device: memory * DECODED)
    disk = options.pop("disk", 1e9)
    monkeypatch.setattr(placement, "_free_disk", lambda folder: disk * DECODED)  # pyright: ignore
    settings = {"image_size": 32, "pad": 0, "processes": 1} | options
    return choose_placement(find_source(None, folder), cache=cache, device=CPU, **settings)  # pyright: ignore


def test_the_first_place_with_room_is_taken(class_folders, tmp_path, monkeypatch, caplog) -> None:
    caplog.set_level(logging.INFO)
    choices = [choose(class_folders, tmp_path, monkeypatch, memory) for memory in (2.0, 1.99, 1.25, 1.24)]
    assert choices == ["device", "host", "host", "stream"]
    assert caplog.text.count("data.residence=") == 3  # not for `device`
    assert "data.residence=stream: 150 images need" in caplog.text


def test_padding_and_other_processes_need_room_too(class_folders, tmp_path, monkeypatch) -> None:
    assert choose(class_folders, tmp_path, monkeypatch, 2.1, pad=4) == "host"
    assert choose(class_folders, tmp_path, monkeypatch, 3.2, pad=4) == "device"
    assert choose(class_folders, tmp_path, monkeypatch, 3.9, processes=2) == "host"
    assert choose(class_folders, tmp_path, monkeypatch, 4.0, processes=2) == "device"


def test_images_on_their_way_to_gpus_need_room_on_the_host(class_folders, tmp_path, monkeypatch) -> None:
    gpu = torch.device("cuda")

    def chosen(host: float, processes: int = 1, disk: float = 1e9) -> str:
        memory = {"cuda": 100 * DECODED, "cpu": host * DECODED}
        monkeypatch.setattr(placement, "free_memory", lambda device: memory[device.type])
        monkeypatch.setattr(placement, "_free_disk", lambda folder: disk * DECODED)
        return choose_placement(find_source(None, class_folders), 32, 0, tmp_path, gpu, processes)

    assert [chosen(host=1.25), chosen(host=1.24)] == ["device", "stream"]
    assert [chosen(host=5.0, processes=4), chosen(host=4.9, processes=4)] == ["device", "host"]
    assert chosen(host=5.0, disk=1.0) == "stream"  # the cache has no room


def test_a_cache_needs_disk_unless_it_is_there(class_folders, tmp_path, monkeypatch) -> None:
    assert choose(class_folders, tmp_path, monkeypatch, 1.5, disk=1.0) == "stream"
    load_images(find_source(None, class_folders), 32, tmp_path)
    assert choose(class_folders, tmp_path, monkeypatch, 1.5, disk=1.0) == "host"


def test_choosing_decodes_nothing(class_folders, tmp_path, monkeypatch) -> None:
    choose(class_folders, tmp_path / "cache", monkeypatch, 1.5)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("fixture", ["parquet_folder", "batches_folder", "class_folders"])
def test_sources_count_their_images(fixture: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    source = find_source(None, request.getfixturevalue(fixture))
    assert source.count() == 150
    assert cached_images(cache_folder(source, 32, tmp_path)) is None
    load_images(source, 32, tmp_path)
    assert cached_images(cache_folder(source, 32, tmp_path)) == 150


def test_the_digits_are_counted_right() -> None:
    source = find_source("digits", None)
    assert source.count() == len(source.read().train.labels)


def test_free_memory_is_plausible() -> None:
    assert 1e7 < free_memory(CPU) < 1e15


def test_a_containers_limit_counts(tmp_path: Path) -> None:
    free = placement._free_in_container
    assert free(tmp_path) == 1 << 62
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 400\nfile 300\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert free(tmp_path) == 1 << 62
    (tmp_path / "memory.max").write_text("1000\n")
    assert free(tmp_path) == 600


def test_the_data_module_asks_for_its_device(class_folders, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(placement, "free_memory", lambda device: 1.5 * DECODED)
    module = ImageDataModule(path=str(class_folders), cache=str(tmp_path / "cache"))
    assert module.placement == "host"
    assert module.decided({"mean": None})["residence"] == "host"
