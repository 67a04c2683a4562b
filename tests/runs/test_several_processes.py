"""Run in several processes: the same figures as in one, however they are started."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cnnlab.cpu import available_cores
from tests.helpers import CLEAN, TORCHRUN, TWO, end, figures, run, same_weights, start, summary, weights

slow = pytest.mark.slow

# 1,348 images in batches of 150: shares are uneven, and so is the last batch, of 148.
EXACT = (
    *("data=digits", "logger=none", "trainer.precision=32-true", "trainer.max_epochs=2", "data.batch_size=150"),
    *("data.eval_batch_size=99", "augmentation.flip=none", "averaging.every_n_steps=2", "optimizer.lr=0.02"),
)
LENET = ("model=lenet5", *EXACT)
# Norms in every layer.
NORMED = (*EXACT, "model=resnet20", "model.width=0.5", "data.image_size=16", "optimizer.lr=0.005")
FOUR = (*TWO, "trainer.devices=4")


def run_as_slurm(directory: Path, *arguments: str) -> list[tuple[int, str, str]]:
    """Start two tasks on one machine as srun does."""
    job = 20000 + os.getpid() % 10000
    shared = CLEAN | {"SLURM_JOB_ID": str(job), "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_NNODES": "1"}
    shared |= {"SLURM_NODELIST": "127.0.0.1", "SLURM_NODEID": "0", "SLURM_JOB_NAME": "train"}
    tasks = [
        start(directory, *arguments, environment=shared | {"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)})
        for rank in range(2)
    ]
    return [end(task) for task in tasks]


def assert_same_run(one: Path, other: Path, tolerance: float = 1e-4) -> None:
    assert figures(one) == [pytest.approx(row, rel=tolerance, abs=tolerance) for row in figures(other)]
    found, expected = weights(one), weights(other)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=tolerance, atol=tolerance, msg=name)
    scored, wanted = (np.load(directory / "predictions.npz") for directory in (one, other))
    assert np.array_equal(scored["labels"], wanted["labels"])
    np.testing.assert_allclose(scored["logits"], wanted["logits"], rtol=tolerance, atol=10 * tolerance)
    assert summary(one)["test_loss"] == pytest.approx(summary(other)["test_loss"], rel=tolerance)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the run in one process."""
    folder = tmp_path_factory.mktemp("alone")
    assert run(folder, *LENET, "trainer=cpu", "hydra.run.dir=run")[0] == 0
    return folder / "run"


@pytest.fixture
def few(class_folders: Path) -> tuple[str, ...]:
    """Return options with so few images that the last batch has three."""
    return ("data=folder", f"data.path={class_folders}", "data.batch_size=15", "trainer.max_epochs=1")


def test_two_processes_compute_the_same_as_one(tmp_path, alone):
    code, out, err = run(tmp_path, *LENET, *TWO)
    assert (code, err) == (0, "")
    (directory,) = tmp_path.glob("runs/lenet5/*")
    assert_same_run(directory, alone)
    record = summary(directory)
    assert (record["status"], record["steps"]) == ("completed", 18)
    threads = os.environ.get("OMP_NUM_THREADS") or max(1, available_cores() // 2)
    assert record["device"].startswith("2 x cpu")
    assert record["device"].endswith(f", {threads} thread{'s' if int(threads) > 1 else ''}")  # of each
    assert out.count("2/2") == (directory / "train.log").read_text().count("2/2") == 1
    images = 2 * 1348 / record["train_seconds"]
    assert record["images_per_second"] > images  # of both, and without validation


@slow
def test_torchrun_starts_the_processes(tmp_path, alone):
    code, out, err = run(tmp_path, *LENET, *TWO, program=TORCHRUN)
    assert code == 0, err
    (directory,) = tmp_path.glob("runs/lenet5/*")
    assert_same_run(directory, alone)
    assert out.count("2/2") == 1


@slow
def test_slurm_starts_the_processes(tmp_path, alone):
    first, second = run_as_slurm(tmp_path, *LENET, *TWO)
    assert (first[0], second) == (0, (0, "", "")), first
    (directory,) = tmp_path.glob("runs/lenet5/*")
    assert_same_run(directory, alone)


@slow
def test_a_last_batch_with_fewer_images_than_processes(train, tmp_path, few):
    assert train(*LENET, *few, "trainer=cpu", "hydra.run.dir=one").code == 0
    code, _, err = run(tmp_path, *LENET, *few, *FOUR, "hydra.run.dir=four")
    assert code == 0, err
    assert summary(tmp_path / "four")["steps"] == 8
    assert_same_run(tmp_path / "four", tmp_path / "one")


@slow
def test_a_few_remaining_images_join_the_batch_before(train, tmp_path):
    """In one process and in three alike."""
    options = (*LENET, "data.batch_size=449", "trainer.max_epochs=1")
    assert train(*options, "trainer=cpu", "hydra.run.dir=one").code == 0
    code, _, err = run(tmp_path, *options, *TWO, "trainer.devices=3", "hydra.run.dir=three")
    assert code == 0, err
    assert summary(tmp_path / "three")["steps"] == 3
    assert_same_run(tmp_path / "three", tmp_path / "one")


@slow
def test_mixed_images_and_test_time_augmentation_are_shared(train, tmp_path, few):
    options = (*LENET, *few, "augmentation.mixup=0.2", "tta=flip_translate")
    assert train(*options, "trainer=cpu", "hydra.run.dir=one").code == 0
    code, _, err = run(tmp_path, *options, *FOUR, "hydra.run.dir=four")
    assert code == 0, err
    assert_same_run(tmp_path / "four", tmp_path / "one")
    accuracies = [summary(tmp_path / name)["test_accuracy_tta"] for name in ("one", "four")]
    assert accuracies[0] == pytest.approx(accuracies[1])


@slow
@pytest.mark.parametrize("processes", [TWO, FOUR], ids=["two", "four"])  # of four, one has no share of the last batch
def test_synchronized_norms_make_a_resnet_agree(train, tmp_path, few, processes):
    assert train(*NORMED, *few, "trainer=cpu", "hydra.run.dir=one").code == 0
    code, _, err = run(tmp_path, *NORMED, *few, *processes, "trainer.sync_batchnorm=true", "hydra.run.dir=several")
    assert code == 0, err
    assert_same_run(tmp_path / "several", tmp_path / "one", tolerance=2e-3)


@slow
def test_norms_that_are_not_synchronized_do_not_agree(train, tmp_path, few):
    assert train(*NORMED, *few, "trainer=cpu", "hydra.run.dir=one").code == 0
    assert run(tmp_path, *NORMED, *few, *TWO, "hydra.run.dir=apart")[0] == 0
    with pytest.raises(AssertionError):
        assert_same_run(tmp_path / "apart", tmp_path / "one", tolerance=2e-3)


@slow
@pytest.mark.parametrize("residence", ["host", "stream"])
def test_images_on_the_host_and_on_disk_are_shared_too(train, tmp_path, class_folders, residence):
    data = ("data=folder", f"data.path={class_folders}", "data.batch_size=17", "data.workers=1")
    options = (*LENET, *data, "trainer.max_epochs=1")
    assert train(*options, "trainer=cpu", "data.residence=device", "hydra.run.dir=one").code == 0
    code, _, err = run(tmp_path, *options, *TWO, f"data.residence={residence}", "hydra.run.dir=two")
    assert code == 0, err
    assert_same_run(tmp_path / "two", tmp_path / "one")


@slow
def test_a_sweep_of_runs_in_two_processes(tmp_path):
    code, _, err = run(tmp_path, "-m", *LENET, *TWO, "trainer.max_epochs=1", "seed=0,1")
    assert code == 0, err
    records = [summary(file.parent) for file in sorted(tmp_path.glob("runs/sweep/*/*/summary.json"))]
    assert [(one["status"], one["seed"], one["steps"]) for one in records] == [("completed", 0, 9), ("completed", 1, 9)]


@slow
def test_only_the_leader_writes_for_tensorboard_and_the_weights_are_the_same(tmp_path):
    few = ("trainer.limit_train_batches=3", *TWO)
    for logger in ("none", "tensorboard"):
        code, _, err = run(tmp_path, *LENET, *few, f"logger={logger}", f"hydra.run.dir={logger}")
        assert code == 0, err
    assert same_weights(tmp_path / "none", tmp_path / "tensorboard")
    board = EventAccumulator(str(tmp_path / "tensorboard" / "tensorboard"))
    board.Reload()
    assert [event.step for event in board.Scalars("val/accuracy")] == [1, 2]
    assert [event.step for event in board.Images("predictions/validation_images")] == [1, 2]
    assert len(list((tmp_path / "tensorboard" / "tensorboard").iterdir())) == 1
