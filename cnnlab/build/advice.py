"""Say before a training what its images ask for: classes of different sizes, and batches that are too large."""

from cnnlab.build.network import Settings
from cnnlab.data.datamodule import ImageDataModule
from cnnlab.data.loader import count_batches

UNEVEN = 3  # times as many images as the smallest class from which on the largest one is worth a line
FEW_STEPS = 20  # per epoch


def advise(settings: Settings, data: ImageDataModule) -> list[str]:
    """Return a line for each thing that a user may want to change, with the keys that do it."""
    lines = []
    counts = {count: name for name, count in zip(data.classes, data.class_counts, strict=True) if count}
    smallest, largest = min(counts), max(counts)
    does_balance = data.sampling == "balanced" or settings["loss"].get("weight") is not None
    if largest > UNEVEN * smallest and not does_balance:
        lines.append(
            f"Class {counts[largest]} has {largest:,} training images, {counts[smallest]} has {smallest:,}. For small "
            "classes: data.sampling=balanced or loss.weight=balanced, and select=val/balanced_accuracy."
        )

    def steps(batch_size: int) -> int:
        return -(-count_batches(len(data.train), batch_size, True) // (options.get("accumulate_grad_batches") or 1))

    options = settings["trainer"]
    fitting = next((size for size in range(data.batch_size, 1, -1) if steps(size) >= FEW_STEPS), None)
    if fitting and fitting < data.batch_size:
        few, enough = steps(data.batch_size), steps(fitting)
        lines.append(f"Steps per epoch: {few}, which is few; data.batch_size={fitting} gives {enough}.")
    return lines
