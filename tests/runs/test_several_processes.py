"""Run in several processes: the same figures as in one, one record, and one end, however they are started."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cnnlab.cpu import available_cores

slow = pytest.mark.slow

# 1,348 images in batches of 150: shares are uneven, and so is the last batch, of 148.
EXACT = (
    *("data=digits", "logger=none", "trainer.precision=32-true", "trainer.max_epochs=2", "data.batch_size=150"),
    *("data.eval_batch_size=99", "augmentation.flip=none", "averaging.every_n_steps=2", "optimizer.lr=0.02"),
)
LENET = ("model=lenet5", *EXACT)
# Norms in every layer.
NORMED = (*EXACT, "model=resnet20", "model.width=0.5", "data.image_size=16", "optimizer.lr=0.005")
# Two epochs of 40 steps; the dropout draws from each process's own generator.
LONG = (
    *("data=digits", "model=article", "model.width=0.25", "logger=none", "trainer.precision=32-true"),
    *("data.batch_size=32", "trainer.max_epochs=2", "trainer.limit_train_batches=40", "averaging.every_n_steps=2"),
)
TWO = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2")
FOUR = (*TWO, "trainer.devices=4")
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "cnnlab.train")
PLAIN = (sys.executable, "-m", "cnnlab.train")
CLEAN = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}


def start(directory: Path, *arguments: str, program: tuple[str, ...] = PLAIN, environment: Any = ()) -> Any:
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [*program, *arguments],
        cwd=directory,
        env=CLEAN | {"PYTHONUNBUFFERED": "1"} | dict(environment),
        stdout=pipe,
        stderr=pipe,
        text=True,
    )


def end(process: Any, seconds: float = 240) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=seconds)
    return process.returncode, out, err


def run(directory: Path, *arguments: str, **options: Any) -> tuple[int, str, str]:
    return end(start(directory, *arguments, **options))


def run_as_slurm(directory: Path, *arguments: str) -> list[tuple[int, str, str]]:
    """Start two tasks on one machine as srun does."""
    job = 20000 + os.getpid() % 10000
    shared = {"SLURM_JOB_ID": str(job), "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_NNODES": "1"}
    shared |= {"SLURM_NODELIST": "127.0.0.1", "SLURM_NODEID": "0", "SLURM_JOB_NAME": "train"}
    tasks = [
        start(directory, *arguments, environment=shared | {"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)})
        for rank in range(2)
    ]
    return [end(task) for task in tasks]


def record(directory: Path) -> dict[str, Any]:
    return json.loads((directory / "summary.json").read_text())


def checkpoint(directory: Path) -> dict[str, Any]:
    return torch.load(directory / "checkpoints" / "last.ckpt", weights_only=True)


def rows(directory: Path) -> list[dict[str, float]]:
    with (directory / "metrics.csv").open() as stream:
        return [{k: float(v) for k, v in row.items() if k != "seconds"} for row in csv.DictReader(stream)]


def wait_until(condition: Any, process: Any) -> None:
    for _ in range(9000):
        if condition():
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    raise AssertionError("it took more than three minutes")


def followers(process: Any) -> list[int]:
    """Return the training processes that a process has started."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(child) for child in children if b"cnnlab" in Path(f"/proc/{child}/cmdline").read_bytes()]


def listening_addresses(process: int) -> list[str]:
    """Return the addresses on which a process listens, as /proc/net/tcp writes them."""
    sockets = [str(file.readlink()) for file in Path(f"/proc/{process}/fd").iterdir() if file.is_symlink()]
    lines = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()]
    listening = [fields for fields in lines if fields[3] == "0A"]
    return [fields[1].partition(":")[0] for fields in listening if f"socket:[{fields[9]}]" in sockets]


def assert_same_run(one: Path, other: Path, tolerance: float = 1e-4) -> None:
    assert rows(one) == [pytest.approx(row, rel=tolerance, abs=tolerance) for row in rows(other)]
    weights, expected = (checkpoint(directory)["state_dict"] for directory in (one, other))
    for name, value in expected.items():
        torch.testing.assert_close(weights[name], value, rtol=tolerance, atol=tolerance, msg=name)
    scored, wanted = (np.load(directory / "predictions.npz") for directory in (one, other))
    assert np.array_equal(scored["labels"], wanted["labels"])
    np.testing.assert_allclose(scored["logits"], wanted["logits"], rtol=tolerance, atol=10 * tolerance)
    assert record(one)["test_loss"] == pytest.approx(record(other)["test_loss"], rel=tolerance)


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


# --- the same figures ------------------------------------------------------------------------------------------------


def test_two_processes_compute_the_same_as_one(tmp_path, alone):
    code, out, err = run(tmp_path, *LENET, *TWO)
    assert (code, err) == (0, "")
    (directory,) = tmp_path.glob("runs/lenet5/*")
    assert_same_run(directory, alone)
    summary = record(directory)
    assert (summary["status"], summary["steps"]) == ("completed", 18)
    threads = os.environ.get("OMP_NUM_THREADS") or max(1, available_cores() // 2)
    assert summary["device"].startswith("2 x cpu")
    assert summary["device"].endswith(f", {threads} thread{'s' if int(threads) > 1 else ''}")  # of each
    assert out.count("2/2") == (directory / "train.log").read_text().count("2/2") == 1
    images = 2 * 1348 / summary["train_seconds"]
    assert summary["images_per_second"] > images  # of both, and without validation


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
    assert record(tmp_path / "four")["steps"] == 8
    assert_same_run(tmp_path / "four", tmp_path / "one")


@slow
def test_a_few_remaining_images_join_the_batch_before(train, tmp_path):
    """In one process and in three alike."""
    options = (*LENET, "data.batch_size=449", "trainer.max_epochs=1")
    assert train(*options, "trainer=cpu", "hydra.run.dir=one").code == 0
    code, _, err = run(tmp_path, *options, *TWO, "trainer.devices=3", "hydra.run.dir=three")
    assert code == 0, err
    assert record(tmp_path / "three")["steps"] == 3
    assert_same_run(tmp_path / "three", tmp_path / "one")


@slow
def test_mixed_images_and_test_time_augmentation_are_shared(train, tmp_path, few):
    options = (*LENET, *few, "augmentation.mixup=0.2", "tta=flip_translate")
    assert train(*options, "trainer=cpu", "hydra.run.dir=one").code == 0
    code, _, err = run(tmp_path, *options, *FOUR, "hydra.run.dir=four")
    assert code == 0, err
    assert_same_run(tmp_path / "four", tmp_path / "one")
    accuracies = [record(tmp_path / name)["test_accuracy_tta"] for name in ("one", "four")]
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
    records = [record(file.parent) for file in sorted(tmp_path.glob("runs/sweep/*/*/summary.json"))]
    assert [(one["status"], one["seed"], one["steps"]) for one in records] == [("completed", 0, 9), ("completed", 1, 9)]


@slow
@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="Linux lists sockets there")
def test_the_processes_of_one_machine_listen_on_the_loopback_interface_only(tmp_path):
    process = start(tmp_path, *LONG, *TWO, "hydra.run.dir=run")
    wait_until((tmp_path / "run" / "checkpoints" / "last.ckpt").exists, process)
    addresses = [listening_addresses(number) for number in (process.pid, *followers(process))]
    process.terminate()
    assert end(process, 60)[0] == 130
    assert len(addresses) == 2
    assert addresses[0]  # the store
    assert {address for one in addresses for address in one} == {"0100007F"}  # 127.0.0.1


# --- stopping, going on, failing -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted")
    assert run(folder, *LONG, *TWO, "hydra.run.dir=run")[0] == 0
    return folder / "run"


@slow
@pytest.mark.parametrize(
    ("program", "to"),
    [
        pytest.param(PLAIN, 0, id="leader"),
        pytest.param(PLAIN, 1, id="other"),
        pytest.param(TORCHRUN, 1, id="torchrun"),
    ],
)
def test_a_signal_to_any_process_stops_all_and_the_run_resumes_exactly(tmp_path, program, to, uninterrupted):
    process = start(tmp_path, *LONG, *TWO, "hydra.run.dir=run", program=program)
    directory = tmp_path / "run"
    wait_until((directory / "checkpoints" / "last.ckpt").exists, process)
    time.sleep(0.1)
    trainers = followers(process) if program is TORCHRUN else [process.pid, *followers(process)]
    os.kill(trainers[to], signal.SIGTERM)
    code, _, err = end(process, 60)
    assert code == (130 if program is PLAIN else 1), err  # torchrun has a code of its own
    assert "Interrupted and saved" in err
    assert (record(directory)["status"], 40 <= record(directory)["steps"] < 80) == ("interrupted", True)
    code, _, err = run(tmp_path, *LONG, *TWO, "hydra.run.dir=run", "resume=auto", program=program)
    assert code == 0, err
    weights, expected = (checkpoint(folder)["state_dict"] for folder in (directory, uninterrupted))
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    assert rows(directory) == [pytest.approx(row, rel=1e-6) for row in rows(uninterrupted)]


BROKEN = """
import os, signal
from torch import nn

class Broken(nn.Module):
    def __init__(self, num_classes, how="raise"):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, num_classes))
        self.how, self.passes = how, 0

    def forward(self, x):
        self.passes += self.training
        if self.passes > 5 and os.environ["LOCAL_RANK"] == "1":
            if self.how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise RuntimeError("the network broke")
        return self.body(x)
"""


@slow
@pytest.mark.parametrize(
    ("program", "how"),
    [
        pytest.param(PLAIN, "raise", id="raise"),
        pytest.param(PLAIN, "kill", id="kill"),
        pytest.param(TORCHRUN, "raise", id="torchrun"),
    ],
)
def test_a_process_that_fails_ends_all(tmp_path, program, how):
    (tmp_path / "broken.py").write_text(BROKEN)
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "broken.yaml").write_text("_target_: broken.Broken\nhow: raise\n")
    code, _, err = run(tmp_path, *EXACT, *TWO, "model=broken", f"model.how={how}", "hydra.run.dir=run", program=program)
    assert code == 1
    summary = record(tmp_path / "run")
    assert summary["status"] == "failed"
    if how == "raise":
        assert summary["error"] == "RuntimeError: process 1: RuntimeError: the network broke"
        assert "the network broke" in err


@slow
def test_the_followers_end_when_the_leader_is_killed(tmp_path):
    process = start(tmp_path, *LONG, *TWO, "hydra.run.dir=run")
    wait_until((tmp_path / "run" / "checkpoints" / "last.ckpt").exists, process)
    (follower,) = followers(process)
    process.kill()
    process.communicate(timeout=60)
    for _ in range(300):
        if not Path(f"/proc/{follower}").exists():
            return
        time.sleep(0.05)
    raise AssertionError("it is still there")


# --- wrong requests --------------------------------------------------------------------------------------------------


@slow
@pytest.mark.parametrize(
    ("wrong", "explanation"),
    [
        ("trainer.devices=3", "trainer.devices: 3 on each of 1 machine (trainer.num_nodes) need 3 processes"),
        ("modle=lenet5", "modle is not a key; did you mean model?"),
    ],
)
def test_a_wrong_request_under_torchrun_is_explained_once(tmp_path, wrong, explanation):
    code, _, err = run(tmp_path, *LENET, *TWO, wrong, program=TORCHRUN)
    assert code == 1  # torchrun's own
    assert err.count(explanation) == 1
    assert not list(tmp_path.glob("runs/*/*"))


@slow
def test_a_rate_is_not_searched_on_several_devices(tmp_path):
    code, _, err = run(tmp_path, *LENET, *TWO, "callbacks=lr_finder")
    assert (code, err.count("callbacks.lr_finder works on one device only")) == (2, 1), err


@slow
def test_a_sweep_under_torchrun_is_refused(tmp_path):
    _, _, err = run(tmp_path, "-m", *LENET, *TWO, "seed=0,1", program=TORCHRUN)
    assert "-m: a sweep starts the processes of its runs itself" in err


@slow
def test_only_the_leader_writes_for_tensorboard_and_the_weights_are_the_same(tmp_path):
    few = ("trainer.limit_train_batches=3", *TWO)
    for logger in ("none", "tensorboard"):
        code, _, err = run(tmp_path, *LENET, *few, f"logger={logger}", f"hydra.run.dir={logger}")
        assert code == 0, err
    plain, shown = (checkpoint(tmp_path / name)["state_dict"] for name in ("none", "tensorboard"))
    assert all(torch.equal(shown[name], plain[name]) for name in plain)
    board = EventAccumulator(str(tmp_path / "tensorboard" / "tensorboard"))
    board.Reload()
    assert [event.step for event in board.Scalars("val/accuracy")] == [1, 2]
    assert [event.step for event in board.Images("predictions/validation_images")] == [1, 2]
    assert len(list((tmp_path / "tensorboard" / "tensorboard").iterdir())) == 1
