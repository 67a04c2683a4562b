"""Kill and interrupt the jobs of real sweeps, each in its own process."""

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import run, start

TINY = ("data=digits", "logger=none", "data.batch_size=16", "trainer.max_epochs=2", "trainer.limit_train_batches=2")

FAULTY = """
import os, resource, signal, sys
import torch
from torch import nn

class Faulty(nn.Module):
    def __init__(self, num_classes, fault="none"):
        super().__init__()
        self.fault, self.steps = fault, 0  # steps of this process
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes))

    def forward(self, x):
        self.steps += self.training
        if self.steps == 3:  # in the second epoch
            self.steps += 1
            if self.fault == "exit":
                sys.exit(7)
            if self.fault == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.fault == "memory":
                resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
                torch.ones(2 << 30)
        return self.body(x)
"""


@pytest.fixture
def faulty(tmp_path: Path) -> Path:
    """Return a folder with a network that ends its process in a chosen way."""
    (tmp_path / "faulty.py").write_text(FAULTY)
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "faulty.yaml").write_text("_target_: faulty.Faulty\nfault: none\n")
    return tmp_path


def records(directory: Path) -> dict[str, dict[str, Any]]:
    return {file.parent.name: json.loads(file.read_text()) for file in directory.glob("runs/*/*/*/summary.json")}


def test_a_killed_job_does_not_affect_the_others_and_can_be_continued(faulty):
    asked = ("-m", "model=faulty", "model.fault=kill,none", "checkpoint_every=0")
    code, out, err = run(faulty, *TINY, *asked, "hydra.launcher.n_jobs=2")
    assert code == 1, err
    found = records(faulty)
    assert {name: record["status"] for name, record in found.items()} == {
        "fault-kill": "failed",
        "fault-none": "completed",
    }
    assert "1 of 2 jobs were not completed:" in err
    assert "fault-kill: killed by SIGKILL (by hand, or by the system when memory ran out)" in err
    assert f"test {found['fault-none']['test_accuracy']:.2%}" in out

    # The killed job continues from its last checkpoint, after the step that killed it. The completed one is left alone.
    complete = next(faulty.glob("runs/*/*/fault-none/summary.json"))
    before = complete.read_text()
    code, out, err = run(faulty, *TINY, *asked)
    assert (code, err) == (0, "")
    assert ("resumed     fault-kill" in out, "completed before fault-none" in out) == (True, True)
    record = records(faulty)["fault-kill"]
    assert (record["status"], record["steps"], record["error"]) == ("completed", 4, None)
    assert complete.read_text() == before


@pytest.mark.slow
def test_jobs_that_exit_or_need_too_much_memory_do_not_affect_the_others(faulty):
    code, _, err = run(faulty, *TINY, "-m", "model=faulty", "model.fault=exit,memory,none", "hydra.launcher.n_jobs=2")
    assert code == 1, err
    found = records(faulty)
    assert {name: record["status"] for name, record in found.items()} == {
        "fault-exit": "failed",
        "fault-memory": "failed",
        "fault-none": "completed",
    }
    assert "2 of 3 jobs were not completed:" in err
    assert "fault-exit: exit code 7: SystemExit: 7" in err
    assert "fault-memory: exit code 1: RuntimeError: " in err
    assert "allocate memory" in found["fault-memory"]["error"]
    assert "Traceback" not in err


@pytest.mark.slow
def test_ctrl_c_stops_a_sweep_and_the_same_command_continues_it(tmp_path):
    sweep = ("model=lenet5", "seeds=[4]", "trainer.limit_train_batches=60", "trainer.max_epochs=8")
    sweep += ("name=stopped", "checkpoint_every=0")
    process = start(tmp_path, *TINY, *sweep)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("runs/stopped/*/0/checkpoints/last.ckpt")):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert err.strip().endswith("The sweep was interrupted; the same command continues it.")
    assert {name: record["status"] for name, record in records(tmp_path).items()} == {"0": "interrupted"}
    code, out, err = run(tmp_path, *TINY, *sweep)
    assert (code, err) == (0, "")
    assert "resumed     0" in out
    assert {record["status"] for record in records(tmp_path).values()} == {"completed"}
    assert len(records(tmp_path)) == 1
