import os
import sys
import time
from pathlib import Path

import pytest

from cnnlab.data.images import ImageData, load_images
from cnnlab.data.sources import HubSource, find_source, hub
from cnnlab.errors import RequestError


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_hub_answers", lambda name: False)
    if "huggingface_hub.constants" in sys.modules:  # the source changes it, so restore it afterwards
        constants = sys.modules["huggingface_hub.constants"]
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", constants.HF_HUB_OFFLINE)


@pytest.mark.usefixtures("offline")
def test_without_network_the_message_says_what_works_instead() -> None:
    source = find_source("uoft-cs/cifar10", None)
    for ask in (source.check, source.read):
        with pytest.raises(RequestError) as caught:
            ask()
        first, second = str(caught.value).splitlines()
        assert "uoft-cs/cifar10" in first
        assert "data.path=" in second
        assert "data=digits" in second


@pytest.mark.usefixtures("offline")
def test_without_network_an_earlier_download_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with pytest.raises(RequestError):
        HubSource("uoft-cs/cifar10").check()
    for folder in ("uoft-cs___cifar10", "someone___my_images"):  # names that the library uses
        (tmp_path / "datasets" / folder).mkdir(parents=True)
    HubSource("uoft-cs/cifar10").check()
    HubSource("someone/MyImages").check()
    assert os.environ["HF_HUB_OFFLINE"] == "1"  # otherwise loading would wait for the Hub


def test_a_hub_that_hangs_does_not_block(monkeypatch: pytest.MonkeyPatch) -> None:
    huggingface_hub = pytest.importorskip("huggingface_hub")
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(hub, "HUB_TIMEOUT", 0.1)
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda *_, **__: time.sleep(3))
    start = time.perf_counter()
    assert not hub._hub_answers("someone/data")
    assert time.perf_counter() - start < 1


def test_hub_gives_the_same_images_as_its_files(
    parquet_folder: Path, sample: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, load, assert_same
) -> None:
    datasets = pytest.importorskip("datasets")
    splits = {
        name: datasets.Dataset.from_parquet(
            str(parquet_folder / f"{name}-00000-of-00001.parquet"), cache_dir=str(tmp_path / "datasets")
        )
        for name in ("train", "test")
    }
    monkeypatch.setattr(hub, "_hub_answers", lambda name: True)
    monkeypatch.setattr(datasets, "load_dataset", lambda name, config: splits)
    data = load_images(find_source("someone/cifar10", None), 32, tmp_path / "cache")
    assert_same(data, sample)
    assert data.fingerprint == load(parquet_folder).fingerprint


def test_a_failure_of_the_hub_is_reported_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")

    def fail(name: str, config: str | None) -> None:
        raise ConnectionError("the line broke\nand more")

    monkeypatch.setattr(hub, "_hub_answers", lambda name: True)
    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(RequestError) as caught:
        HubSource("someone/data").read()
    assert str(caught.value) == "data: someone/data cannot be loaded (the line broke)"
