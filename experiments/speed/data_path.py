"""Time one epoch of augmented training batches without a network: cnnlab's loader and the usual ways.

    python experiments/speed/data_path.py --path FOLDER

Each way yields all training images in random order and in batches: padded by reflection, cropped back, flipped with
probability 1/2, normalized. `FOLDER` holds CIFAR-10 as parquet files (`data.path`). The ways are measured in turn, so
that a slow moment of the machine affects all of them.

cnnlab          cnnlab.data.loader.Loader: the decoded images in memory, whole batches at a time
torchvision-N   torchvision.datasets.CIFAR10, torchvision.transforms per image, a DataLoader with N workers
datasets-N      rows of the `datasets` library, decoded as they are asked for, the same transforms and DataLoader

    python experiments/speed/data_path.py --policy trivial --images 4096

measures TrivialAugment alone (or RandAugment, `rand`) on noise of CIFAR-10's size, with one thread: cnnlab's, in
batches, and torchvision's, image by image, for PIL images and for tensors. All begin with arrays in memory and end with
batches of bytes; torchvision's own CIFAR-10 makes a PIL image of each array too.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch, as cnnlab.cpu does
os.environ.setdefault("GOMP_SPINCOUNT", "2000")
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # the files are here

import argparse
import functools
import pickle
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import CIFAR10
from torchvision.transforms import v2

sys.path.append(str(Path(__file__).resolve().parents[2]))  # if cnnlab is not installed

from cnnlab.cpu import keep_freed_memory
from cnnlab.data.augment import Augmentation
from cnnlab.data.augmentations.policy import Policy
from cnnlab.data.datamodule import ImageDataModule
from cnnlab.data.epoch import Epoch
from cnnlab.data.images import Images
from cnnlab.runs.environment import device_name

PAD = 4
SIZE = 32
WAYS = ("cnnlab", "torchvision-0", "torchvision-2", "datasets-0", "datasets-2")


@dataclass
class Measured:
    """Batches of one way, seconds to set it up, and seconds of each epoch."""

    name: str
    batches: Iterable[Any]
    setup: float
    seconds: list[float] = field(default_factory=list)


class LocalCIFAR10(CIFAR10):
    """torchvision's data set on files that are written here, whose checksums differ from the published ones."""

    def _check_integrity(self) -> bool:
        return True

    def _load_meta(self) -> None:
        """Skip the class names, which are not needed."""


def main() -> None:
    """Measure and print."""
    arguments = parse_arguments()
    if arguments.policy:
        measure_policy(arguments)
        return
    data = ImageDataModule(
        path=arguments.path,
        batch_size=arguments.batch_size,
        protocol="article",  # all training images
        augmentation=Augmentation(pad=PAD, padding_mode="reflect", flip="random"),
    )
    print(f"{device_name(torch.device('cpu'))}; {os.cpu_count()} cores; torch {torch.__version__}")
    print(f"{len(data.train):,} images in batches of {arguments.batch_size}, rounds: {arguments.rounds}")
    with tempfile.TemporaryDirectory() as folder:
        if any(way.startswith("torchvision") for way in arguments.ways):
            write_batches(data.train, Path(folder) / CIFAR10.base_folder)
        measured = [set_up(way, data, arguments, Path(folder)) for way in arguments.ways]
        for _ in range(arguments.rounds):
            for way in measured:
                way.seconds.append(epoch_seconds(way.batches, len(data.train)))
    print_table(measured, len(data.train))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", help="folder with train*.parquet and test*.parquet (data.path)")
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3, help="epochs of each way")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--policy", choices=("trivial", "rand"), help="measure this policy alone, without --path")
    parser.add_argument("--images", type=int, default=4096, help="images a round with --policy")
    arguments = parser.parse_args()
    if not (arguments.path or arguments.policy):
        parser.error("give --path or --policy")
    return arguments


def measure_policy(arguments: argparse.Namespace) -> None:
    """Measure a policy on batches and image by image, in turns, and print."""
    keep_freed_memory()
    torch.set_num_threads(1)
    count, size = arguments.images, arguments.batch_size
    pixels = torch.randint(0, 256, (count, SIZE, SIZE, 3), dtype=torch.uint8)
    arrays = list(pixels.numpy())
    tensors = list(pixels.permute(0, 3, 1, 2).contiguous())
    ours = Policy(arguments.policy, operations=2, magnitude=9)
    theirs = v2.TrivialAugmentWide() if arguments.policy == "trivial" else v2.RandAugment()
    print(f"{device_name(torch.device('cpu'))}; {os.cpu_count()} cores, one thread; torch {torch.__version__}")
    print(f"{arguments.policy}: {count:,} images in batches of {size}, rounds: {arguments.rounds}")

    def in_batches(number: int) -> None:
        draws = ours.draw(torch.Generator().manual_seed(number), Epoch(count, SIZE, seed=0, number=number))
        for batch, *drawn in zip(pixels.split(size), *(values.split(size) for values in draws.values()), strict=True):
            ours.apply(batch, *drawn)

    def one_by_one(change: Callable[[Any], torch.Tensor], images: list[Any], number: int) -> None:
        torch.manual_seed(number)
        for start in range(0, count, size):
            torch.stack([change(image) for image in images[start : start + size]])

    def with_pillow(array: Any) -> torch.Tensor:
        return v2.functional.pil_to_tensor(theirs(Image.fromarray(array)))

    ways: dict[str, Callable[[int], None]] = {
        "cnnlab": in_batches,
        "torchvision, PIL": functools.partial(one_by_one, with_pillow, arrays),
        "torchvision, tensors": functools.partial(one_by_one, theirs, tensors),
    }
    measured = [Measured(name, (), 0.0) for name in ways]
    for number in range(-1, arguments.rounds):
        for way in measured:
            started = time.perf_counter()
            ways[way.name](number + 1)
            if number >= 0:  # the first round warms up
                way.seconds.append(time.perf_counter() - started)
    print_table(measured, count)


def set_up(way: str, data: ImageDataModule, arguments: argparse.Namespace, folder: Path) -> Measured:
    """Prepare the batches of one way, and time it."""
    started = time.perf_counter()
    batches = make_batches(way, data, arguments, folder)
    return Measured(way, batches, time.perf_counter() - started)


def make_batches(way: str, data: ImageDataModule, arguments: argparse.Namespace, folder: Path) -> Iterable[Any]:
    """Return an iterable of batches, to iterate over once per epoch."""
    library, _, workers = way.partition("-")
    if library == "cnnlab":
        return data.train_dataloader()
    transform = image_transform(data)
    if library == "torchvision":
        dataset = LocalCIFAR10(folder, train=True, transform=transform)
    else:
        dataset = datasets_rows(Path(arguments.path), folder / "datasets", transform)
    return DataLoader(dataset, arguments.batch_size, shuffle=True, num_workers=int(workers))


def image_transform(data: ImageDataModule) -> Callable[[Any], torch.Tensor]:
    """Return the transform from a PIL image to an augmented, normalized tensor."""
    return transforms.Compose(
        [
            transforms.RandomCrop(SIZE, padding=PAD, padding_mode="reflect"),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(data.mean.tolist(), data.std.tolist()),
        ]
    )


def datasets_rows(path: Path, cache: Path, transform: Callable[[Any], torch.Tensor]) -> Any:
    """Return the training images as rows of the `datasets` library."""
    datasets.disable_progress_bars()
    files = [str(file) for file in sorted(path.rglob("train*.parquet"))]
    rows = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(cache))
    assert isinstance(rows, datasets.Dataset)
    image = next(name for name, feature in rows.features.items() if isinstance(feature, datasets.Image))
    label = next(name for name in rows.features if name != image)
    rows.set_transform(functools.partial(transform_rows, transform=transform, image=image, label=label))
    return rows


def transform_rows(
    rows: dict[str, list[Any]], transform: Callable[[Any], torch.Tensor], image: str, label: str
) -> dict[str, list[Any]]:
    """Transform decoded rows; `datasets` calls this."""
    return {"images": [transform(picture) for picture in rows[image]], "labels": rows[label]}


def write_batches(images: Images, folder: Path) -> None:
    """Write images as the authors of CIFAR-10 publish them: pickled batches of rows of 3 x 1024 values."""
    folder.mkdir(parents=True)
    rows = images.pixels.permute(0, 3, 1, 2).reshape(len(images), -1)
    parts = zip(rows.chunk(5), images.labels.chunk(5), strict=True)
    for number, (pixels, labels) in enumerate(parts, 1):
        with (folder / f"data_batch_{number}").open("wb") as stream:
            pickle.dump({"data": pixels.numpy(), "labels": labels.tolist()}, stream)


def epoch_seconds(batches: Iterable[Any], images: int) -> float:
    """Return the seconds of one pass over all batches."""
    seen = 0
    started = time.perf_counter()
    for batch in batches:
        pixels, _ = batch.values() if isinstance(batch, dict) else batch
        assert pixels.shape[1:] == (3, SIZE, SIZE) and pixels.dtype == torch.float32
        seen += len(pixels)
    seconds = time.perf_counter() - started
    assert seen == images
    return seconds


def print_table(measured: list[Measured], images: int) -> None:
    """Print a row for each way; ratios are to the median of the first row."""
    print(f"\n{'way':<21}{'set-up s':>10}{'epoch s':>10}{'min':>8}{'max':>8}{'images/s':>12}{'ratio':>8}")
    reference = statistics.median(measured[0].seconds)
    for way in measured:
        median = statistics.median(way.seconds)
        print(
            f"{way.name:<21}{way.setup:>10.2f}{median:>10.3f}{min(way.seconds):>8.3f}{max(way.seconds):>8.3f}"
            f"{images / median:>12,.0f}{median / reference:>8.1f}"
        )
    print("set-up: seconds from the files (cnnlab: from its cache of decoded images) to the start of the first epoch")


if __name__ == "__main__":
    main()
