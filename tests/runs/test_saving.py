"""Checkpoints are written by time; the best epoch waits in memory, and nothing that was saved is lost."""

from pathlib import Path

import pytest
import torch

from cnnlab.errors import Interrupted
from cnnlab.runs import saving
from cnnlab.runs.recorder import Recorder
from cnnlab.runs.saving import Checkpoints
from tests.helpers import TINY, assert_same_run, checkpoint, metrics, summary

RUN = (*TINY, "trainer.max_epochs=5", "trainer.precision=32-true", "averaging.every_n_steps=2")
LATE = "checkpoint_every=3600"
FAILING = """
from pathlib import Path
import lightning as L

class Failing(L.Callback):
    def on_train_epoch_start(self, trainer, module):
        if trainer.current_epoch < 4:
            return
        if Path("spoil").exists():
            next(module.parameters()).data.fill_(float("nan"))
        elif Path("fail").exists():
            raise RuntimeError("the fifth epoch failed")
"""
CALLBACK = "+callbacks.failing={_target_: failing.Failing}"


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that collects the steps of the checkpoints that are written from now on."""
    steps: list[int] = []
    original = saving._write

    def write(content, path):
        steps.append(content["global_step"])
        original(content, path)

    monkeypatch.setattr(saving, "_write", write)
    return steps


def is_best_epoch(monkeypatch: pytest.MonkeyPatch, *epochs: int) -> None:
    """Let these epochs be better than all before."""
    monkeypatch.setattr(Recorder, "_is_better", lambda self, row: row["epoch"] in epochs)


@pytest.mark.parametrize("best", [2, 5])
def test_short_epochs_are_saved_together_and_leave_the_same_files(train, tmp_path, monkeypatch, written, best):
    is_best_epoch(monkeypatch, 1, best)
    assert train(*RUN, "checkpoint_every=0", "hydra.run.dir=each").code == 0
    assert written == [3, 6, 9, 12, 15]
    written.clear()
    assert train(*RUN, "hydra.run.dir=once").code == 0
    assert written == ([15, 6] if best == 2 else [15])
    assert_same_run(tmp_path / "each", tmp_path / "once")
    folder = tmp_path / "once" / "checkpoints"
    assert (folder / "best.ckpt").samefile(folder / "last.ckpt") == (best == 5)
    assert sorted(file.name for file in folder.iterdir()) == ["best.ckpt", "last.ckpt"]
    # The best epoch is a state to go on from, too.
    assert train(f"resume=once/checkpoints/{'best' if best == 2 else 'last'}.ckpt").code == 0
    assert_same_run(tmp_path / "each", tmp_path / "once")


def test_a_run_that_fails_keeps_its_best_epoch_and_resumes_from_it(train, tmp_path, monkeypatch):
    (tmp_path / "failing.py").write_text(FAILING)
    is_best_epoch(monkeypatch, 1, 3)
    assert train(*RUN, "hydra.run.dir=whole").code == 0
    (tmp_path / "fail").touch()
    assert "the fifth epoch failed" in train(*RUN, LATE, CALLBACK, "hydra.run.dir=run").err
    record = summary(tmp_path / "run")
    assert (record["status"], record["epochs"], record["steps"], record["best_epoch"]) == ("failed", 3, 9, 3)
    assert checkpoint(tmp_path / "run")["global_step"] == checkpoint(tmp_path / "run", "best")["global_step"] == 9
    assert len(metrics(tmp_path / "run")) == 4  # what was seen
    (tmp_path / "fail").unlink()
    assert train("resume=run", "trust=failing").code == 0
    assert_same_run(tmp_path / "whole", tmp_path / "run")


def test_a_run_that_diverges_keeps_its_best_epoch(train, tmp_path, monkeypatch):
    (tmp_path / "failing.py").write_text(FAILING)
    (tmp_path / "spoil").touch()
    is_best_epoch(monkeypatch, 1, 3)
    assert "diverged" in train(*RUN, LATE, CALLBACK, "hydra.run.dir=run").err
    record = summary(tmp_path / "run")
    assert (record["status"], record["epochs"], record["best_epoch"]) == ("diverged", 5, 3)
    assert checkpoint(tmp_path / "run", "best")["global_step"] == 9


def test_a_file_that_is_not_written_whole_replaces_nothing(train, tmp_path, monkeypatch):
    assert train(*RUN, "hydra.run.dir=run").code == 0
    folder = tmp_path / "run" / "checkpoints"
    before = {file.name: file.read_bytes() for file in folder.iterdir()}

    def half(content, path):
        path.write_bytes(b"half of it")
        raise Interrupted("in the middle")

    monkeypatch.setattr(saving, "_write", half)
    assert train("resume=run", "trainer.max_epochs=6").code == 130
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_within_a_long_epoch_the_run_is_saved_too(train, tmp_path, monkeypatch, written):
    monkeypatch.setattr("cnnlab.runs.recorder.WITHIN_EPOCH", 0.0)
    assert train(*RUN, "checkpoint_every=0", "trainer.max_epochs=1", "hydra.run.dir=run").code == 0
    assert written == [1, 2, 3]


def test_a_kept_state_does_not_follow_the_training(tmp_path: Path):
    weights, rows = torch.zeros(2), [1]
    checkpoints = Checkpoints(None)  # pyright: ignore[reportArgumentType]
    checkpoints._keeps = True
    checkpoints.save_checkpoint({"weights": weights, "rows": rows}, tmp_path)
    weights += 1
    rows.append(2)
    assert checkpoints.kept is not None
    assert (checkpoints.kept["weights"].tolist(), checkpoints.kept["rows"]) == ([0.0, 0.0], [1])


def test_how_often_is_no_part_of_what_a_run_is(train, tmp_path):
    assert train(*TINY, "hydra.run.dir=run").code == 0
    again = train(*TINY, "hydra.run.dir=run", "resume=auto", LATE)
    assert (again.code, "is complete" in again.out) == (0, True)
    assert train("resume=run", "trainer.max_epochs=3", "checkpoint_every=1").code == 0
    wrong = train(*TINY, "checkpoint_every=-1")
    assert (wrong.code, "checkpoint_every must be 0 or more, got -1" in wrong.err) == (2, True)
