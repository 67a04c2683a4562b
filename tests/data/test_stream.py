"""Test that images on the host and in their files give the same batches as images on the device."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cnnlab.data.augment import Augmentation
from cnnlab.data.datamodule import ImageDataModule
from cnnlab.data.images import Images, streamed_images
from cnnlab.data.loader import Loader
from cnnlab.data.sources import find_source
from cnnlab.data.stream import AHEAD, PIECE, map_by_threads, read_by_threads
from cnnlab.errors import RequestError

CHANGES = {"policy": "trivial", "rotation": 10.0, "scale": 0.1, "shear": 5.0, "contrast": 0.2, "hue": 0.1, "grey": 0.1}
EVERYTHING = Augmentation(pad=3, flip="random", cutout=8, erasing=0.5, mixup=0.2, cutmix=1.0, **CHANGES)  # pyright: ignore
SOURCES = ("parquet_folder", "batches_folder", "class_folders", "photo_folders", "digits")
Batches = list[tuple[Tensor, Tensor]]


def module_of(where: Path | None, residence: str, **options: Any) -> ImageDataModule:
    place: dict[str, Any] = {"source": "digits"} if where is None else {"path": str(where)}
    settings = {"augmentation": EVERYTHING, "batch_size": 13, "workers": 2} | options
    return ImageDataModule(**place, residence=residence, **settings)  # pyright: ignore


def epoch_of(loader: Loader, epoch: int) -> Batches:
    loader.sampler.set_epoch(epoch)
    return list(loader)


def assert_equal(batches: Batches, expected: Batches) -> None:
    assert len(batches) == len(expected)
    for (images, labels), (wanted_images, wanted_labels) in zip(batches, expected, strict=True):
        assert torch.equal(images, wanted_images)
        assert torch.equal(labels, wanted_labels)


@pytest.fixture(params=SOURCES)
def place(request: pytest.FixtureRequest) -> Path | None:
    return None if request.param == "digits" else request.getfixturevalue(request.param)


@pytest.mark.parametrize("residence", ["host", "stream"])
def test_batches_are_the_same_as_from_images_on_the_device(place: Path | None, residence: str) -> None:
    small = {"image_size": 16} if place is None else {}
    wanted, module = (module_of(place, kind, **small) for kind in ("device", residence))
    assert torch.equal(module.mean, wanted.mean)
    assert torch.equal(module.std, wanted.std)
    assert module.classes == wanted.classes
    train, expected = module.train_dataloader(), wanted.train_dataloader()
    for epoch in (0, 1):
        assert_equal(epoch_of(train, epoch), epoch_of(expected, epoch))
    for name in ("val_dataloader", "test_dataloader"):
        assert_equal(epoch_of(getattr(module, name)(), 0), epoch_of(getattr(wanted, name)(), 0))
    assert torch.equal(module.sample(), wanted.sample())


@pytest.mark.parametrize("residence", ["host", "stream"])
@pytest.mark.parametrize("done", [0, 1, 4])
def test_a_resumed_epoch_continues_exactly_where_it_stopped(class_folders: Path, residence: str, done: int) -> None:
    loader = module_of(class_folders, residence).train_dataloader()
    whole = epoch_of(loader, 3)
    loader.sampler.set_epoch(3)
    iterator = iter(loader)
    for _ in range(done):
        next(iterator)
    state = loader.state_dict() if done else {"epoch": 3, "batches_done": 0}
    assert state == {"epoch": 3, "batches_done": done}  # batches read ahead do not count
    resumed = module_of(class_folders, residence).train_dataloader()
    resumed.load_state_dict(state)
    assert_equal(epoch_of(resumed, 3), whole[done:])
    assert_equal(epoch_of(loader, 3), whole)  # after an interrupted pass


@pytest.mark.parametrize(
    "reading", [{"placement": "host"}, {"placement": "stream"}, {"placement": "stream", "workers": 2}]
)
def test_ranks_share_the_batches_of_one_process(class_folders: Path, reading: dict[str, Any]) -> None:
    images = streamed_images(find_source(None, class_folders), 32).train
    half = torch.full((3,), 0.5)

    def batches(rank: int, world_size: int) -> Batches:
        options: dict[str, Any] = {"augmentation": EVERYTHING, "shuffle": True, "classes": 10, **reading}
        # 120 images in batches of 17: the last batch has one image, so the second rank has none.
        return list(Loader(images, 17, half, half, rank=rank, world_size=world_size, **options))

    joined = [
        (torch.cat([images for images, _ in parts]), torch.cat([labels for _, labels in parts]))
        for parts in zip(batches(0, 2), batches(1, 2), strict=True)
    ]
    assert_equal(joined, batches(0, 1))


def test_a_stream_writes_no_cache_and_has_a_fingerprint_of_files(place: Path | None, tmp_path: Path) -> None:
    cache = tmp_path / "own_cache"
    module = module_of(place, "stream", cache=str(cache))
    epoch_of(module.train_dataloader(), 0)
    assert not cache.exists()
    assert module.fingerprint.startswith("files-")
    assert module.fingerprint == module_of(place, "stream").fingerprint
    assert module.fingerprint != module_of(place, "device", cache=str(cache)).fingerprint


def test_the_fingerprint_depends_on_files_but_not_on_their_place(class_folders: Path, tmp_path: Path) -> None:
    def fingerprint(folder: Path) -> str:
        return streamed_images(find_source(None, folder), 32).fingerprint

    before = fingerprint(class_folders)
    moved = class_folders.rename(tmp_path / "elsewhere")
    assert fingerprint(moved) == before
    file = next((moved / "train" / "cat").iterdir())
    file.write_bytes(file.read_bytes() + b" ")
    assert fingerprint(moved) != before


def test_nothing_is_read_before_it_is_asked_for(class_folders: Path) -> None:
    for file in class_folders.rglob("*.png"):
        file.write_bytes(b"")
    data = streamed_images(find_source(None, class_folders), 32)
    assert (len(data.train), len(data.test)) == (120, 30)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_image_is_named(class_folders: Path, workers: int) -> None:
    file = class_folders / "train" / "dog" / "0065.png"
    assert file.exists()
    module = module_of(class_folders, "stream", workers=workers, mean=[0.5] * 3, std=[0.5] * 3, protocol="article")
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(RuntimeError, match=f"data: 1 of 120 images cannot be read: {file}: ") as caught:
        epoch_of(module.train_dataloader(), 0)
    assert "Traceback" not in str(caught.value)


def test_a_broken_image_among_those_for_the_statistics_is_named(class_folders: Path) -> None:
    file = class_folders / "train" / "dog" / "0065.png"
    file.write_bytes(b"")
    with pytest.raises(RequestError, match=f"data: 1 of 120 images cannot be read: {file}: "):
        module_of(class_folders, "stream", protocol="article")


def test_statistics_of_a_stream_come_from_a_fixed_sample(class_folders: Path, monkeypatch, caplog) -> None:
    from cnnlab.data import datamodule

    monkeypatch.setattr(datamodule, "STATISTICS", 30)
    caplog.set_level("INFO")
    first, second = (module_of(class_folders, "stream", seed=seed) for seed in (0, 1))
    assert "come from 30 training images" in caplog.text
    assert torch.equal(first.mean, second.mean)
    assert not torch.equal(first.mean, module_of(class_folders, "host").mean)
    given = module_of(class_folders, "stream", mean=[0.1, 0.2, 0.3], std=[1.0, 2.0, 3.0])
    assert given.std.tolist() == [1, 2, 3]


def test_a_thread_that_hangs_does_not_keep_an_interrupted_run() -> None:
    hangs = threading.Event()
    results = map_by_threads(lambda item: item if item < 4 else hangs.wait(60), range(9), threads=1)
    assert next(results) == 0
    start = time.monotonic()
    results.close()  # pyright: ignore[reportAttributeAccessIssue]
    assert time.monotonic() - start < 30
    hangs.set()


def test_a_thread_reads_a_bounded_number_of_batches_ahead() -> None:
    read: list[int] = []

    class Noting(Images):
        def read(self, indices: Tensor) -> Tensor:
            read.append(int(indices[0]))
            return super().read(indices)

    count = torch.arange(50)
    images = Noting(torch.zeros(50, 4, 4, 3, dtype=torch.uint8), count, count, size=4)
    reader = read_by_threads(images, count.split(1), pinned=False, threads=1)
    for _ in range(3):
        next(reader)
    assert len(read) <= 3 + AHEAD
    del reader


def test_many_threads_read_a_bounded_number_of_images_ahead() -> None:
    read: list[int] = []

    class Noting(Images):
        def read(self, indices: Tensor) -> Tensor:
            read.append(len(indices))
            return super().read(indices)

    count = torch.arange(4000)
    pixels = torch.arange(4000)[:, None, None, None].expand(-1, 2, 2, 3).byte()
    images = Noting(pixels, count, count, size=2)
    batches = count.split(1000)
    reader = read_by_threads(images, batches, threads=3)
    assert torch.equal(next(reader), pixels[batches[0]])
    assert sum(read) <= 1000 + PIECE * (3 * AHEAD + 1)  # fewer than two whole batches for each thread
    assert [len(batch) for batch in reader] == [1000] * 3
