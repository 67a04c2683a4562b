"""Stop runs by signals, kill them, and start two in one directory."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.slow

# Two epochs of 40 steps of a narrow article net, whose dropout draws from the global generator.
OPTIONS = (
    *("data=digits", "model=article", "model.width=0.25", "logger=none", "trainer.precision=32-true"),
    *("data.batch_size=32", "trainer.max_epochs=2", "trainer.limit_train_batches=40", "averaging.every_n_steps=2"),
)


def start(directory: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "cnnlab.train", *arguments]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=directory, env=environment, stdout=pipe, stderr=pipe, text=True)


def run(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    process = start(directory, *arguments)
    out, err = process.communicate(timeout=300)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def wait_until(condition, process: subprocess.Popen[str]) -> None:
    for _ in range(9000):
        if condition():
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    raise AssertionError("it took more than three minutes")


def weights(run_directory: Path) -> dict[str, torch.Tensor]:
    return torch.load(run_directory / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run that was not stopped."""
    folder = tmp_path_factory.mktemp("whole")
    assert run(folder, *OPTIONS, "hydra.run.dir=run").returncode == 0
    return folder / "run"


@pytest.mark.parametrize(
    ("number", "code"),
    [
        pytest.param(signal.SIGINT, 130, id="interrupted"),
        pytest.param(signal.SIGTERM, 130, id="terminated"),
        pytest.param(signal.SIGKILL, -9, id="killed"),
    ],
)
def test_a_run_that_was_stopped_within_an_epoch_resumes_exactly(whole, tmp_path, number, code):
    process = start(tmp_path, *OPTIONS, "hydra.run.dir=parts")
    wait_until(lambda: (tmp_path / "parts" / "checkpoints" / "last.ckpt").exists(), process)
    time.sleep(0.1)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    record = json.loads((tmp_path / "parts" / "summary.json").read_text())
    assert record["status"] == ("running" if code == -9 else "interrupted")
    assert "Traceback" not in err
    resumed = run(tmp_path, *OPTIONS, "hydra.run.dir=parts", "resume=auto")
    assert resumed.returncode == 0, resumed.stderr
    wanted, resumed_to = weights(whole), weights(tmp_path / "parts")
    assert all(torch.equal(wanted[name], resumed_to[name]) for name in wanted)

    def rows(directory: Path) -> list[list[str]]:
        lines = (directory / "metrics.csv").read_text().splitlines()
        return [[cell for i, cell in enumerate(line.split(",")) if i != 2] for line in lines]  # less the seconds

    assert rows(whole) == rows(tmp_path / "parts")
    assert len(rows(whole)) == 3


def test_two_processes_do_not_write_to_one_directory(tmp_path):
    process = start(tmp_path, *OPTIONS, "hydra.run.dir=run")
    wait_until(lambda: (tmp_path / "run" / "summary.json").exists(), process)
    second = run(tmp_path, *OPTIONS, "hydra.run.dir=run", "resume=auto")
    assert (second.returncode, "another process is writing" in second.stderr) == (2, True)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
