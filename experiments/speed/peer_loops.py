"""Train in the ways that peers.py compares, a turn at a time: as tutorials do, by hand, and with cnnlab."""

import sys
import tempfile
import time
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

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
from cnnlab.cpu import keep_freed_memory
from cnnlab.data.datamodule import ImageDataModule
from cnnlab.runs.directory import RunDirectory
from cnnlab.runs.environment import peak_memory_bytes
from cnnlab.runs.recorder import Recorder
from cnnlab.speed.turns import Report
from cnnlab.training.compiled import compile_network
from cnnlab.training.progress import Progress

SIZE, PAD, CUTOUT = 32, 3, 8  # pixels, as the recipe `fast` has them
EVERY, DECAY = 5, 0.998  # of the averaging
CLIP = 2.0  # largest norm of the gradients
PEAK, WARM_UP, SCHEDULED = 0.1, 0.2, 30  # learning rate; its rise; epochs until it is back at 0


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
    classifier = build_classifier(settings, network, data.class_counts)
    with tempfile.TemporaryDirectory() as folder:
        run = RunDirectory(folder)
        recorder = Recorder(run, checkpoint_metadata(settings, data), lambda: False)
        # The clock stops before the others do what they do at the end of an epoch.
        callbacks = [EpochTurns(report), Progress(bar=False), *build_callbacks(settings), recorder]
        loggers = build_loggers(settings, run.path)
        trainer = build_lightning_trainer(settings, callbacks, loggers, run.path)
        compile_network(network, settings["trainer"]["compile"])
        trainer.fit(classifier, datamodule=data)
