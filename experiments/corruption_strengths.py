"""Find the strength of every corruption that halves the accuracy of a network.

    python experiments/corruption_strengths.py RUN [images]

prints a line for each of `cnnlab.inference.corruptions.CORRUPTIONS`, from the first test images of the run's data. The
strengths in that file come from it, rounded.
"""

import sys
from dataclasses import fields, replace
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))  # if cnnlab is not installed

import torch

from cnnlab.data.images import Images
from cnnlab.data.splits import DataOptions, read_split
from cnnlab.inference import corruptions
from cnnlab.inference.scoring import read_batches
from cnnlab.inference.trained import TrainedNetwork, load
from cnnlab.runs.directory import RunDirectory

HALVINGS = 7  # of the interval that holds the strength
BOUNDS = {"jpeg": 99.0, "rotation": 90.0, "zoom_blur": 2.0}  # largest strengths; 1 for the others


def main(run: str, count: int) -> None:
    """Print the strengths."""
    net = load(run)
    config = RunDirectory(Path(run)).read_config() or {}
    data = {field.name: config["data"][field.name] for field in fields(DataOptions) if field.name in config["data"]}
    images, _ = read_split("test", "holdout", net.classes, net.image_size, data, config["seed"])
    images = images.take(torch.arange(count))
    clean = accuracy(net, images, None)
    print(f"{run}: {clean:.2%} of {count:,} test images")
    for name, kind in corruptions.CORRUPTIONS.items():
        low, high = 0.0, BOUNDS.get(name, 0.95)
        for _ in range(HALVINGS):
            corruptions.CORRUPTIONS[name] = replace(kind, strongest=(low + high) / 2)
            if accuracy(net, images, name) > clean / 2:
                low = (low + high) / 2
            else:
                high = (low + high) / 2
        corruptions.CORRUPTIONS[name] = replace(kind, strongest=high)
        print(f"{name:<16}{high:8.3f}  {accuracy(net, images, name):.2%}", flush=True)


def accuracy(net: TrainedNetwork, images: Images, name: str | None) -> float:
    """Return the accuracy on images that are corrupted with severity 5, or not at all."""
    correct = 0
    for part, (positions, pixels) in enumerate(read_batches(images, corruptions.IMAGES_AT_ONCE)):
        changed = corruptions.corrupt(pixels, name, corruptions.SEVERITIES, part) if name else pixels
        correct += int((net.logits(changed).argmax(dim=1) == images.labels[positions]).sum())
    return correct / len(images)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1000)
