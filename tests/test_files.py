"""Files are written whole or not at all, and a full disk is told in one line."""

import contextlib
import errno
import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from cnnlab.data.images import load_images
from cnnlab.data.sources import find_source
from cnnlab.errors import RequestError
from cnnlab.files import decide_once, from_here, overwrite, replacing, write_arrays, write_atomically
from cnnlab.runs.directory import RunDirectory
from tests.conftest import Outcome
from tests.helpers import TINY, files, metrics, summary

Train = Callable[..., Outcome]


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Lets this process write no file beyond a size, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_file_that_cannot_be_written_whole_keeps_its_old_content(tmp_path: Path) -> None:
    file = tmp_path / "record.json"
    write_atomically(file, "old")
    with largest_file(1000), pytest.raises(OSError, match="record.json") as caught:
        write_atomically(file, "new" * 1000)
    assert "3,000 bytes are needed" in str(caught.value)
    with largest_file(1000), pytest.raises(OSError, match="record.json"), replacing(file) as temporary:
        temporary.write_bytes(bytes(2000))  # as libraries write, without reserving
    assert files(tmp_path) == {str(file): b"old"}


def test_a_full_disk_is_told_with_the_free_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(OSError, match=r"needed, [\d,]+ are free") as caught:
        write_arrays(tmp_path / "predictions.npz", logits=np.zeros(9))
    assert caught.value.filename == str(tmp_path / "predictions.npz")
    assert files(tmp_path) == {}


def test_a_file_system_that_cannot_reserve_space_is_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "posix_fallocate", unsupported, raising=False)
    write_atomically(tmp_path / "file", b"content")
    assert files(tmp_path) == {str(tmp_path / "file"): b"content"}


def test_names_that_are_no_utf8_keep_their_bytes(tmp_path: Path) -> None:
    write_atomically(tmp_path / "page.html", os.fsdecode(b"\xff caf\xc3\xa9"))
    assert (tmp_path / "page.html").read_bytes() == b"\xff caf\xc3\xa9"


def test_an_undecided_file_is_not_left_behind(tmp_path: Path) -> None:
    def fail() -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        decide_once(tmp_path / ".precision-cpu", fail)
    assert files(tmp_path) == {}


def test_a_cache_that_does_not_fit_is_refused_before_images_are_decoded(tmp_path: Path) -> None:
    with largest_file(1_000_000), pytest.raises(RequestError, match=r"data.cache: .* 4,601,984 bytes are needed"):
        load_images(find_source("digits", None), 32, tmp_path / "cache")
    assert files(tmp_path) == {}


def test_a_training_survives_a_full_disk(train: Train, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert train(*TINY, "trainer.max_epochs=1", f"hydra.run.dir={run}").code == 0
    before = {name: content for name, content in files(run).items() if name.endswith(".ckpt")}
    with largest_file(300_000):
        ended = train("trainer.max_epochs=2", f"resume={run}")
    assert ended.code == 1
    assert len(ended.err.splitlines()) == 1 and ".ckpt: File too large; " in ended.err
    assert {name: content for name, content in files(run).items() if name.endswith(".ckpt")} == before
    assert summary(run)["status"] == "failed" and ".ckpt: File too large; " in summary(run)["error"]
    assert train("trainer.max_epochs=2", f"resume={run}").code == 0
    assert summary(run)["status"] == "completed"
    assert [row["epoch"] for row in metrics(run)] == ["1", "2"]


def test_a_record_ends_on_a_disk_without_any_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "metrics.csv")

    run = RunDirectory(tmp_path)
    with pytest.raises(OSError, match="No space"), run.recording({}, name="a name that is longer than the end"):
        monkeypatch.setattr("tempfile.mkstemp", full)
        write_atomically(run.metrics_file, "")
    assert (summary(tmp_path)["status"], summary(tmp_path)["error"]) == (
        "failed",
        "metrics.csv: No space left on device",
    )


def test_an_overwritten_file_keeps_its_content_if_there_is_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "file").write_text("a long content")
    overwrite(tmp_path / "file", "short")
    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(OSError, match="No space"):
        overwrite(tmp_path / "file", "longer than before")
    assert (tmp_path / "file").read_text() == "short"


def test_a_run_without_room_for_its_record_leaves_nothing(train: Train, tmp_path: Path) -> None:
    with largest_file(100):
        ended = train(*TINY, f"hydra.run.dir={tmp_path / 'run'}")
    assert ended.code == 1
    assert len(ended.err.splitlines()) == 1 and "File too large" in ended.err
    assert not (tmp_path / "run").exists()


def test_a_full_event_file_of_tensorboard_is_named(train: Train, tmp_path: Path) -> None:
    with largest_file(20_000):
        ended = train(*TINY, "logger=tensorboard", f"hydra.run.dir={tmp_path / 'run'}")
    assert ended.code == 1
    assert ended.err == f"{tmp_path / 'run' / 'tensorboard'}: File too large\n"


def test_a_folder_that_may_not_be_written_to_is_a_wrong_request(
    command: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")  # root may write anywhere

    monkeypatch.setattr("tempfile.mkstemp", denied)
    ended = command("describe", "model=lenet5", f"output={tmp_path / 'layers.json'}")
    assert (ended.code, ended.err) == (2, f"{tmp_path / 'layers.json'}: Permission denied\n")


def test_a_path_is_shown_as_one_would_type_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert from_here(tmp_path / "runs" / "a") == Path("runs/a")
    assert from_here(Path("runs/a")) == Path("runs/a")
    assert from_here(tmp_path.parent) == tmp_path.parent
