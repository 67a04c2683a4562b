"""Measure how long commands take beside `import torch`: `python experiments/speed/start.py [ROUNDS]`.

Commands take turns, and the medians of their processor and wall-clock seconds are printed, with their ratios to those
of `import torch`. All files are made in a temporary folder; nothing is downloaded.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

# The commands find cnnlab even if it is not installed.
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path[1:], str(Path(__file__).resolve().parents[2])])}
PYTHON = [sys.executable]
CNNLAB = [*PYTHON, "-m", "cnnlab"]
TRAIN = [*CNNLAB, "train", "data=digits", "model=lenet5", "logger=none", "trainer.max_epochs=1"]
COMMANDS = {
    "import torch": [*PYTHON, "-c", "import torch"],
    "import torch, torchvision, lightning": [*PYTHON, "-c", "import torch, torchvision, lightning"],
    "train --help": [*CNNLAB, "train", "--help"],
    "describe": [*CNNLAB, "describe", "model=lenet5"],
    "predict, ten images": [*CNNLAB, "predict", "checkpoint=run", "images=images"],
    "evaluate": [*CNNLAB, "evaluate", "checkpoint=run"],
    "compare": [*CNNLAB, "compare", "runs=run"],
    "train, one step": [*TRAIN, "trainer.limit_train_batches=1", "trainer.limit_val_batches=1", "hydra.run.dir=new"],
}


def seconds(command: list[str], folder: Path) -> tuple[float, float]:
    """Run a command in a folder, and return its processor and wall-clock seconds."""
    shutil.rmtree(folder / "new", ignore_errors=True)
    before, started = os.times(), time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=ENVIRONMENT)
    wall, after = time.perf_counter() - started, os.times()
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed: {done.stderr}")
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return used, wall


def main(rounds: int) -> None:
    """Print a table of medians over rounds."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "images").mkdir()
        for number, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (10, 8, 8), dtype=np.uint8)):
            Image.fromarray(pixels).save(folder / "images" / f"{number}.jpg")
        seconds([*TRAIN, "hydra.run.dir=run"], folder)
        taken: dict[str, list[tuple[float, float]]] = {what: [] for what in COMMANDS}
        for _ in range(rounds):
            for what, command in COMMANDS.items():
                taken[what].append(seconds(command, folder))
    medians = {
        what: [statistics.median(values) for values in zip(*pairs, strict=True)] for what, pairs in taken.items()
    }
    first = medians["import torch"]
    print(f"{'median of ' + str(rounds):38}{'CPU s':>8}{'ratio':>8}{'wall s':>8}{'ratio':>8}")
    for what, (used, wall) in medians.items():
        print(f"{what:38}{used:8.2f}{used / first[0]:8.2f}{wall:8.2f}{wall / first[1]:8.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
