"""Read what a run left, stop a run, start one in a process of its own, and make networks."""

import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn

from cnnlab.training.interruption import StopRequest

# A run of a second: 2 epochs of 3 steps.
TINY = (
    "data=digits",
    "model=lenet5",
    "logger=none",
    "data.batch_size=16",
    "trainer.max_epochs=2",
    "trainer.limit_train_batches=3",
)
# Ten epochs of 40 steps of a narrow article net, whose dropout draws from the generator of its process; each is saved.
LONG = (
    *("data=digits", "model=article", "model.width=0.25", "logger=none", "trainer.precision=32-true"),
    *("data.batch_size=32", "trainer.max_epochs=10", "trainer.limit_train_batches=40", "averaging.every_n_steps=2"),
    "checkpoint_every=0",
)
TWO = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2")
# The command in a process of its own, and without what a launcher around the tests has set.
TRAIN = (sys.executable, "-m", "cnnlab.train")
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "cnnlab.train")
CLEAN = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}


def summary(run: Path) -> dict[str, Any]:
    """Read the record of a run."""
    return json.loads((run / "summary.json").read_text())


def configuration(run: Path) -> dict[str, Any]:
    """Read the configuration of a run."""
    return yaml.safe_load((run / "config.yaml").read_text())


def metrics(run: Path, *, without: str = "") -> list[dict[str, str]]:
    """Read the rows of metrics.csv, if wanted without a column that differs between equal runs."""
    with (run / "metrics.csv").open() as stream:
        return [{k: v for k, v in row.items() if k != without} for row in csv.DictReader(stream)]


def figures(run: Path) -> list[dict[str, float]]:
    """Read the rows of metrics.csv as numbers, less the seconds."""
    return [{key: float(value) for key, value in row.items()} for row in metrics(run, without="seconds")]


def checkpoint(run: Path, name: str = "last") -> dict[str, Any]:
    """Load a checkpoint of a run."""
    return torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)


def weights(run: Path, name: str = "last") -> dict[str, torch.Tensor]:
    """Load the weights of a run's checkpoint."""
    return checkpoint(run, name)["state_dict"]


def same_weights(one: Path, other: Path) -> bool:
    """Return whether two runs ended with the same weights, bit for bit."""
    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def differences(one: Any, other: Any, where: str = "") -> list[str]:
    """Return where two checkpoints differ in a bit, apart from what clocks say."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return [] if one.dtype == other.dtype and torch.equal(one, other) else [where]
    if isinstance(one, dict) and isinstance(other, dict):
        keys = [key for key in (*one, *other) if key not in ("seconds", "stepping_seconds", "images")]
        missing = object()
        return [
            text
            for key in dict.fromkeys(keys)
            for text in differences(one.get(key, missing), other.get(key, missing), f"{where}/{key}")
        ]
    if isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        return [
            text for i, pair in enumerate(zip(one, other, strict=True)) for text in differences(*pair, f"{where}/{i}")
        ]
    return [] if one == other else [f"{where}: {one} is not {other}"]


def assert_same_run(one: Path, other: Path) -> None:
    """Check that two runs left the same checkpoints, rows and figures, bit for bit."""
    for name in ("last", "best"):
        assert differences(checkpoint(one, name), checkpoint(other, name)) == []
    assert metrics(one, without="seconds") == metrics(other, without="seconds")
    for key in ("status", "epochs", "steps", "best_epoch", "val_accuracy", "val_loss", "test_accuracy", "test_loss"):
        assert summary(one)[key] == summary(other)[key], key


def files(folder: Path) -> dict[str, bytes]:
    """Read all files of a folder."""
    return {str(file): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def stop_when_asked(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """Stop the run as Ctrl-C would when it asks for the n-th time; it asks after every step and every epoch."""
    asked = [0]

    def requested(self: StopRequest) -> bool:
        asked[0] += 1
        return asked[0] >= times

    monkeypatch.setattr(StopRequest, "__call__", requested)


class Head(nn.Module):
    """Makes a classifier of features; the tests look at the features alone."""

    def __init__(self, features: nn.Module):
        super().__init__()
        self.features = features

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map images (N, C, H, W) to logits (N, features)."""
        return self.features(images).mean((2, 3))


OWN_NETWORK = """
from torch import nn

class Own(nn.Module):
    def __init__(self, num_classes, width=4):
        super().__init__()
        filters = nn.Conv2d(3, width, 3)
        self.body = nn.Sequential(filters, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, {out}))

    def forward(self, x):
        if {broken} and self.training and len(x) > 3:  # a rehearsal has three images
            raise RuntimeError("the network broke")
        return self.body(x)
"""


def write_own_network(directory: Path, name: str, out: str = "num_classes", broken: bool = False) -> None:
    """Write a network of the user's own, and its configuration."""
    (directory / f"{name}.py").write_text(OWN_NETWORK.format(out=out, broken=broken))
    (directory / "conf" / "model").mkdir(parents=True, exist_ok=True)
    (directory / "conf" / "model" / f"{name}.yaml").write_text(f"_target_: {name}.Own\nwidth: 4\n")


def start(
    directory: Path, *arguments: str, program: tuple[str, ...] = TRAIN, environment: Mapping[str, str] = CLEAN
) -> subprocess.Popen[str]:
    """Start `cnnlab train` in a process."""
    pipe = subprocess.PIPE
    environment = {**environment, "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen([*program, *arguments], cwd=directory, env=environment, stdout=pipe, stderr=pipe, text=True)


def end(process: subprocess.Popen[str], seconds: float = 300) -> tuple[int, str, str]:
    """Wait until a process ends; return its exit code and what it printed."""
    out, err = process.communicate(timeout=seconds)
    return process.returncode, out, err


def run(directory: Path, *arguments: str, **options: Any) -> tuple[int, str, str]:
    """Run `cnnlab train` in a process; return its exit code and what it printed."""
    return end(start(directory, *arguments, **options))


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait until something is true while the process is alive, three minutes at most."""
    for _ in range(9000):
        if condition():
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    raise AssertionError("it took more than three minutes")
