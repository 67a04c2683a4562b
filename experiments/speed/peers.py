"""Compare training steps of cnnlab with two hand-written loops, on the same machine, images and networks.

    python experiments/speed/peers.py --path FOLDER

`FOLDER` holds CIFAR-10 (`data.path`). Every way trains in its own process, so that its peak memory is its own, and the
processes take turns. A turn is the steps of an epoch (fewer with `--steps`) without validation and saving; the first
turn of each way warms up and does not count. A ratio compares two turns of the same round.

tutorial-N  a loop as in tutorials: a transform for each PIL image (crop with padding 4, flip, normalize), torch's
            DataLoader with N workers, float32 in torch's default layout, SGD with momentum at a constant rate, and the
            loss read in every step. No Nesterov momentum, schedule, label smoothing, cutout, clipping or averaging.
by-hand     the fastest loop that we could write: images on the device, whole batches cropped, flipped, blanked and
            normalized at once, bf16 if it is faster (or --precision), channels_last; optimizer, schedule and averaging
            of the recipe `fast`; the faster layers with which cnnlab trains (cnnlab.build.run.use_faster_layers); no
            logging. With --compile through torch.compile. On Linux it keeps freed memory, as cnnlab does (cnnlab.cpu).
cnnlab      `cnnlab train` with the recipe `fast`: Lightning, the record, running loss and accuracy.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch, as cnnlab.cpu does
os.environ.setdefault("GOMP_SPINCOUNT", "2000")

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import hydra
import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from cnnlab import config as configuration
from cnnlab.build.network import build_network
from cnnlab.build.run import (
    build_callbacks,
    build_classifier,
    build_data,
    build_lightning_trainer,
    build_loggers,
    checkpoint_metadata,
    initialize_from_data,
    seed_everything,
    use_faster_layers,
)
from cnnlab.config.paths import ROOT
from cnnlab.cpu import keep_freed_memory
from cnnlab.data.datamodule import ImageDataModule
from cnnlab.runs.directory import RunDirectory
from cnnlab.runs.environment import machine, peak_memory_bytes
from cnnlab.runs.recorder import Recorder
from cnnlab.speed.turns import Contestant, Report, take_turns
from cnnlab.training.precision import auto_precision
from cnnlab.training.progress import Progress
from cnnlab.training.trainer import compile_network

EPOCH = 45_000  # images: CIFAR-10's training images less those that the protocol holds out
WAYS = ("tutorial-2", "tutorial-0", "by-hand", "cnnlab")
RATIOS = (("cnnlab", "tutorial-2"), ("cnnlab", "tutorial-0"), ("cnnlab", "by-hand"))
SIZE, PAD, CUTOUT = 32, 3, 8  # pixels, as the recipe `fast` has them
EVERY, DECAY = 5, 0.998  # of the averaging
CLIP = 2.0  # largest norm of the gradients
PEAK, WARM_UP, SCHEDULED = 0.1, 0.2, 30  # learning rate; its rise; epochs until it is back at 0

Batch = tuple[Tensor, Tensor]


def main() -> None:
    """Measure and print."""
    arguments = parse_arguments()
    if arguments.rounds + 1 > SCHEDULED:
        raise SystemExit(f"--rounds must be less than {SCHEDULED}, the epochs of the schedule")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    about = machine(torch.device(device))
    if arguments.precision == "auto":
        arguments.precision = auto_precision(device)
    print(f"{about['device']}; torch {torch.__version__}; lightning {L.__version__}; {arguments.precision}; ", end="")
    print(f"rounds: {arguments.rounds}\n")
    results = []
    for model in arguments.models:
        settings = run_settings(model, arguments, device)
        tasks = [
            {"way": way, "settings": settings, "steps": arguments.steps, "device": device} for way in arguments.ways
        ]
        contestants = [Contestant(work, task) for task in tasks]
        reports = take_turns(contestants, arguments.rounds + 1, show=lambda text: None)
        result = summarize(model, arguments.ways, reports)
        result["errors"] = {way: c.error for way, c in zip(arguments.ways, contestants, strict=True) if c.error}
        print_tables(result)
        results.append(result)
    if arguments.output:
        record = {"machine": about, "arguments": {**vars(arguments), "output": None}, "results": results}
        arguments.output.write_text(json.dumps(record, indent=2) + "\n")
    if any(result["errors"] for result in results):
        raise SystemExit(1)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", required=True, help="folder or file with CIFAR-10 (data.path)")
    parser.add_argument("--models", nargs="+", default=["lenet5", "resnet20", "article"], help="names in conf/model")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--rounds", type=int, default=3, help="number of turns of each way that count")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--steps", type=int, help="steps in a turn; by default those of an epoch")
    parser.add_argument(
        "--precision", choices=["auto", "32-true", "bf16-mixed"], default="auto", help="precision of by-hand and cnnlab"
    )
    parser.add_argument("--compile", action="store_true", help="compile the network of by-hand and cnnlab")
    parser.add_argument("--output", type=Path, help="a JSON file for the figures")
    return parser.parse_args()


def run_settings(model: str, arguments: argparse.Namespace, device: str) -> dict[str, Any]:
    """Compose the settings of `cnnlab train` for the same training."""
    overrides = [
        f"model={model}",
        "recipe=fast",
        "logger=none",
        f"data.path={Path(arguments.path).absolute()}",
        f"data.batch_size={arguments.batch_size}",
        f"trainer.accelerator={device}",
        f"trainer.precision={arguments.precision}",
        f"trainer.max_epochs={SCHEDULED}",
        f"trainer.limit_train_batches={arguments.steps or 1.0}",
        "trainer.limit_val_batches=0",
        f"trainer.compile={'default' if arguments.compile else 'off'}",
    ]
    configuration.register_configs(Path.cwd())
    with hydra.initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return configuration.settings(hydra.compose("train", overrides=overrides))


def work(task: dict[str, Any], report: Report) -> None:
    """Train in one way, a turn at a time, in a new process."""
    seed_everything(task["settings"]["seed"])
    torch.set_float32_matmul_precision("high")  # TF32 on a GPU, for all ways; cnnlab sets it too
    torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.benchmark = True
    way, _, workers = task["way"].partition("-")
    if way != "tutorial":
        keep_freed_memory()
    if way == "cnnlab":
        by_cnnlab(task["settings"], report)
    elif way == "by":
        by_hand(task["settings"], task["steps"], torch.device(task["device"]), report)
    else:
        by_tutorial(task["settings"], task["steps"], torch.device(task["device"]), int(workers), report)


def new_network(settings: dict[str, Any], data: ImageDataModule) -> nn.Module:
    """Make the network as cnnlab does."""
    network = build_network(settings["model"], len(data.classes), data.image_size)
    initialize_from_data(network, data)
    return network


class Turn:
    """Clock of one turn."""

    def __init__(self, device: torch.device):
        self.device = device
        self.images = 0
        self.started = self._now()

    def result(self) -> dict[str, Any]:
        """Return images, seconds and the peak memory so far."""
        return {
            "images": self.images,
            "seconds": self._now() - self.started,
            "peak_memory_bytes": peak_memory_bytes(self.device),
        }

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


# --- tutorial --------------------------------------------------------------------------------------------------------


class Pictures(Dataset[tuple[Any, int]]):
    """Array of images like torchvision's CIFAR10: each becomes a PIL image and is then transformed."""

    def __init__(self, pixels: np.ndarray, labels: list[int], transform: Any):
        self.pixels, self.labels, self.transform = pixels, labels, transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.transform(Image.fromarray(self.pixels[index])), self.labels[index]


def by_tutorial(
    settings: dict[str, Any], steps: int | None, device: torch.device, workers: int, report: Report
) -> None:
    """Train an epoch per turn with a new iterator each time, as a loop over epochs does."""
    data = build_data(settings)
    transform = transforms.Compose(
        [
            transforms.RandomCrop(SIZE, padding=4),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(data.mean.tolist(), data.std.tolist()),
        ]
    )
    pictures = Pictures(np.array(data.train.pixels.numpy()), data.train.labels.tolist(), transform)
    loader = DataLoader(
        pictures,
        data.batch_size,
        shuffle=True,
        num_workers=workers,
        pin_memory=device.type == "cuda",
        # As in a script; the workers of a process that was itself spawned would be spawned too, which takes seconds.
        multiprocessing_context="fork" if workers and sys.platform == "linux" else None,
    )
    network = new_network(settings, data)
    network = network.to(device, memory_format=torch.contiguous_format).train()  # pyright: ignore
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    criterion = nn.CrossEntropyLoss()
    result: Any = "ready"
    while report(result):
        turn = Turn(device)
        running_loss = 0.0
        for number, (images, labels) in enumerate(loader, 1):
            images, labels = images.to(device, non_blocking=True), labels.to(device, non_blocking=True)
            optimizer.zero_grad()
            loss = criterion(network(images), labels)
            loss.backward()
            optimizer.step()
            running_loss += loss.item()
            turn.images += len(labels)
            if number == steps:
                break
        result = turn.result()


# --- by hand ---------------------------------------------------------------------------------------------------------


def by_hand(settings: dict[str, Any], steps: int | None, device: torch.device, report: Report) -> None:
    """Train with everything written out."""
    data = build_data(settings)
    images, batch_size = len(data.train), data.batch_size
    steps = min(steps or images, -(-images // batch_size))
    margin = ((0, 0), (PAD, PAD), (PAD, PAD), (0, 0))
    padded = torch.from_numpy(np.pad(data.train.pixels.numpy(), margin, mode="reflect")).to(device)
    windows = padded.unfold(1, SIZE, 1).unfold(2, SIZE, 1).permute(0, 1, 2, 4, 5, 3)  # (N, top, left, 32, 32, 3)
    labels = data.train.labels.to(device)
    scale = (1 / (255 * data.std)).repeat(SIZE).to(device)  # of a row of pixels
    offset = (-data.mean / data.std).repeat(SIZE).to(device)
    line = torch.arange(SIZE, device=device)

    network = new_network(settings, data).to(device).train()
    use_faster_layers(network)
    compile_network(network, settings["trainer"]["compile"])
    weights = [{"params": [p for p in network.parameters() if p.ndim >= 2], "weight_decay": 0.0005}]
    vectors = [{"params": [p for p in network.parameters() if p.ndim < 2], "weight_decay": 0.0}]
    on_gpu = device.type == "cuda"
    optimizer = torch.optim.SGD(weights + vectors, lr=PEAK, momentum=0.9, nesterov=True, fused=on_gpu)
    criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
    current = [tensor for tensor in network.state_dict().values() if tensor.is_floating_point()]
    average = [tensor.detach().clone() for tensor in current]
    autocast = settings["trainer"]["precision"] == "bf16-mixed"

    step, epoch = 0, 0
    first_flips = (torch.rand(images) < 0.5).to(device)
    result: Any = "ready"
    while report(result):
        turn = Turn(device)
        order = torch.randperm(images).to(device)
        tops, lefts = torch.randint(0, 2 * PAD + 1, (2, images)).to(device)
        rows, columns = torch.randint(0, SIZE, (2, images, 1)).to(device) - CUTOUT // 2
        flips = (first_flips if epoch % 2 == 0 else ~first_flips)[:, None, None, None]
        for number in range(steps):
            chosen = order[number * batch_size : (number + 1) * batch_size]
            batch = windows[chosen, tops[chosen], lefts[chosen]]
            batch = torch.where(flips[chosen], batch.flip(2), batch)
            batch = batch.view(len(chosen), SIZE, -1).float().mul_(scale).add_(offset)
            batch = batch.view(len(chosen), SIZE, SIZE, 3).permute(0, 3, 1, 2)
            row, column = rows[chosen], columns[chosen]
            in_rows = (line >= row) & (line < row + CUTOUT)
            in_columns = (line >= column) & (line < column + CUTOUT)
            batch.masked_fill_((in_rows[:, :, None] & in_columns[:, None, :])[:, None], 0)

            with torch.autocast(device.type, torch.bfloat16, enabled=autocast, cache_enabled=False):
                loss = criterion(network(batch), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), CLIP)
            progress = min(1.0, step / (SCHEDULED * steps))
            for group in optimizer.param_groups:
                group["lr"] = PEAK * min(max(progress, 0.001) / WARM_UP, (1 - progress) / (1 - WARM_UP))
            optimizer.step()
            step += 1
            if step % EVERY == 0:
                torch._foreach_lerp_(average, current, 1 - DECAY**EVERY)  # pyright: ignore[reportPrivateImportUsage]
            turn.images += len(chosen)
        epoch += 1
        result = turn.result()


# --- cnnlab ----------------------------------------------------------------------------------------------------------


class EpochTurns(Callback):
    """Makes each epoch of a training a turn."""

    def __init__(self, report: Report):
        self.report = report

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Report that the training is ready."""
        trainer.should_stop = not self.report("ready")

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the turn."""
        self.turn = Turn(trainer.strategy.root_device)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """End the turn, before logging and saving."""
        assert isinstance(pl_module.train_totals.images, int)  # pyright: ignore[reportAttributeAccessIssue]
        self.turn.images = pl_module.train_totals.images  # pyright: ignore[reportAttributeAccessIssue]
        trainer.should_stop = not self.report(self.turn.result())


def by_cnnlab(settings: dict[str, Any], report: Report) -> None:
    """Train with the same parts as `cnnlab train`."""
    data = build_data(settings)
    network = new_network(settings, data)
    classifier = build_classifier(settings, network)
    with tempfile.TemporaryDirectory() as folder:
        run = RunDirectory(folder)
        recorder = Recorder(run, checkpoint_metadata(settings, data), lambda: False)
        # The clock stops before the others do what they do at the end of an epoch.
        callbacks = [EpochTurns(report), Progress(bar=False), *build_callbacks(settings), recorder]
        loggers = build_loggers(settings, run.path)
        trainer = build_lightning_trainer(settings, callbacks, loggers, run.path)
        compile_network(network, settings["trainer"]["compile"])
        trainer.fit(classifier, datamodule=data)


# --- figures ---------------------------------------------------------------------------------------------------------


def summarize(model: str, ways: list[str], reports: list[list[Any]]) -> dict[str, Any]:
    """Compute medians over the rounds and ratios within them, without the first two reports (start and warm-up)."""
    speeds = {
        way: [turn["images"] / turn["seconds"] for turn in given[2:]]
        for way, given in zip(ways, reports, strict=True)
        if len(given) > 2
    }
    rows = {
        way: {
            "rounds": speeds[way],
            "images_per_second": median(speeds[way]),
            "epoch_seconds": EPOCH / median(speeds[way]),
            "images": given[-1]["images"],
            "peak_memory_bytes": given[-1]["peak_memory_bytes"],
        }
        for way, given in zip(ways, reports, strict=True)
        if way in speeds
    }
    ratios = {
        f"{one} / {other}": [a / b for a, b in zip(speeds[one], speeds[other], strict=False)]
        for one, other in RATIOS
        if one in speeds and other in speeds
    }
    return {"model": model, "ways": rows, "ratios": ratios}


def print_tables(result: dict[str, Any]) -> None:
    """Print tables in Markdown."""
    print(f"### {result['model']}\n")
    print("| way | images/s | smallest, largest | seconds for 45,000 images | images per turn | peak memory, MB |")
    print("|---|---:|---:|---:|---:|---:|")
    for way, row in result["ways"].items():
        spread = f"{min(row['rounds']):,.0f}, {max(row['rounds']):,.0f}"
        print(
            f"| {way} | {row['images_per_second']:,.0f} | {spread} | {row['epoch_seconds']:,.1f} | {row['images']:,} |"
            f" {row['peak_memory_bytes'] / 1e6:,.0f} |"
        )
    for way, error in result["errors"].items():
        print(f"| {way} | {error} |")
    print("\n| ratio of images/s | median | smallest, largest | pairs |\n|---|---:|---:|---:|")
    for name, ratios in result["ratios"].items():
        print(f"| {name} | {median(ratios):.3f} | {min(ratios):.3f}, {max(ratios):.3f} | {len(ratios)} |")
    print("\nMemory: of the GPU, or else of the process without the workers of a DataLoader.\n", flush=True)


if __name__ == "__main__":
    main()
