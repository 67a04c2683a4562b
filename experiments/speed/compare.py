"""Measure how long `cnnlab compare` takes for many runs, with run directories of invented figures.

    python experiments/speed/compare.py --runs 500 --seeds 5 --images 10000

The directories hold all files of a real run except checkpoints. The tests use `make_run` too.
"""

import argparse
import csv
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import yaml

sys.path.append(str(Path(__file__).resolve().parents[2]))  # if cnnlab is not installed

from cnnlab.runs.directory import COLUMNS, SUMMARY_KEYS, RunDirectory


def make_run(
    path: Path,
    model: str = "lenet5",
    seed: int = 0,
    accuracy: float = 0.9,
    images: int = 1000,
    classes: int = 10,
    epochs: int = 5,
    config: dict[str, Any] | None = None,
    **record: Any,
) -> Path:
    """Write a run directory with invented figures.

    Args:
        path: of the new directory.
        model: name of the network.
        seed: of the run; the same path, seed and figures give the same files.
        accuracy: approximate share of correctly classified test images. Some images are hard for all models.
        images: number of test images.
        classes: number of classes.
        epochs: rows of metrics.csv; validation accuracy rises to `accuracy` in equal steps, one second each.
        config: further settings, nested.
        record: keys of summary.json.
    """
    path.mkdir(parents=True)
    random = np.random.default_rng([seed, *model.encode()])
    every = np.random.default_rng(0)  # the same for every run
    hardness = every.permutation(images) / images
    threshold = np.quantile(hardness + every.normal(0, 0.15, images), accuracy)
    labels = np.arange(images) % classes
    right = hardness + random.normal(0, 0.15, images) <= threshold
    predicted = np.where(right, labels, (labels + 1 + random.integers(0, classes - 1, images)) % classes)
    logits = random.normal(0, 1, (images, classes)).astype(np.float32)
    logits[np.arange(images), predicted] += 10
    run = RunDirectory(path)
    np.savez(run.predictions_file, logits=logits, labels=labels)
    summary = dict.fromkeys(SUMMARY_KEYS) | {
        **{"status": "completed", "name": model, "model": model, "recipe": "fast", "data": "cifar10"},
        **{"protocol": "holdout", "seed": seed, "parameters": 62006, "macs": 651720, "epochs": epochs},
        **{"train_seconds": float(epochs), "images_per_second": 1000.0, "peak_memory_bytes": 10**9},
        **{"val_accuracy": accuracy, "test_accuracy": float((logits.argmax(1) == labels).mean())},
        **{"best_epoch": epochs, "device": "cpu", "precision": "32-true", "data_fingerprint": "0123456789abcdef"},
    }
    run.summary_file.write_text(json.dumps(summary | record, indent=2))
    data = {"source": "nowhere/nothing", "path": None, "classes": None, "image_size": 32, "batch_size": 64}
    settings = {"data": data, "model": {"width": 1.0}, "optimizer": {"lr": 0.1}, "seed": seed, "name": None}
    run.config_file.write_text(yaml.safe_dump(settings | (config or {})))
    with run.metrics_file.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(COLUMNS)
        for epoch in range(1, epochs + 1):
            reached = accuracy * epoch / epochs
            writer.writerow([epoch, 10 * epoch, float(epoch), 0.1, 2 - reached, reached, 2.1 - reached, *[reached] * 3])
    return path


def main() -> None:
    """Make the runs, compare them in another process, and print seconds, memory and sizes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=5, help="runs per group")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=100)
    arguments = parser.parse_args()
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(arguments.runs):
            group, seed = divmod(number, arguments.seeds)
            make_run(
                Path(folder) / "runs" / str(number),
                f"net{group}",
                seed,
                accuracy=0.7 + 0.25 * ((group * 37) % 101) / 101 + random.normal(0, 0.002),
                images=arguments.images,
                epochs=arguments.epochs,
                parameters=10_000 * (group + 1),
            )
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "cnnlab.compare", f"runs={folder}/runs", f"output={folder}/comparison"],
            check=True,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path[1:])},  # finds cnnlab where this process does
        )
        seconds = time.perf_counter() - started
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        memory = used.ru_maxrss / 1024  # MiB, on Linux
        sizes = {file.suffix: file.stat().st_size / 1e6 for file in Path(folder, "comparison").glob("comparison.*")}
    groups = -(-arguments.runs // arguments.seeds)
    print(f"{arguments.runs} runs in {groups} groups, {arguments.images:,} test images, {arguments.epochs} epochs")
    print(
        f"{seconds:.1f} s ({used.ru_utime + used.ru_stime:.1f} s of CPU time), {memory:,.0f} MiB; "
        + ", ".join(f"{k[1:]} {v:.2f} MB" for k, v in sorted(sizes.items()))
    )


if __name__ == "__main__":
    main()
