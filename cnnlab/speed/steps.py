"""Training steps and inference of one combination, timed in a process of its own."""

import tempfile
import time
from collections.abc import Callable, Iterator
from math import ceil
from pathlib import Path
from statistics import median
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn

from cnnlab.build import network as networks
from cnnlab.build import run as assembly
from cnnlab.cpu import flush_denormals, keep_freed_memory
from cnnlab.data.loader import Loader
from cnnlab.runs.directory import RunDirectory
from cnnlab.runs.environment import machine, peak_memory_bytes
from cnnlab.runs.recorder import Recorder
from cnnlab.speed.floor import measure_rates
from cnnlab.speed.turns import Answer
from cnnlab.training.progress import Progress
from cnnlab.training.trainer import compile_network

WARM_UP = 8  # steps of the first turn, with those in which CUDA graphs are recorded
SETTLE = 2  # steps at the start of a turn that are not counted: caches are cold, a GPU has slowed down
TURN_SECONDS = 2.0  # of a turn, where the number of steps is not given
FEWEST, MOST = 5, 5000  # steps of a turn


class StepClock:
    """Durations of steps that follow each other. On CUDA the device's own: the host only queues work."""

    def __init__(self, device: torch.device):
        self._device = device
        self._stretches: list[list[Any]] = []

    def begin(self) -> None:
        """The next step starts now; what was between it and the step before is nobody's."""
        self._stretches.append([self._now()])

    def step(self) -> None:
        """A step ends, and the next one starts."""
        self._stretches[-1].append(self._now())

    @property
    def steps(self) -> int:
        """How many have been noted."""
        return sum(len(stretch) - 1 for stretch in self._stretches)

    def take(self) -> list[float]:
        """Waits for the device; the seconds of all steps since the last call."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        pairs = [pair for stretch in self._stretches for pair in zip(stretch, stretch[1:], strict=False)]
        self._stretches.clear()
        if self._device.type == "cuda":
            return [start.elapsed_time(end) / 1000 for start, end in pairs]
        return [end - start for start, end in pairs]

    def _now(self) -> Any:
        if self._device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        return event


class TimedTurns(Callback):
    """Times the steps of a training, turn by turn; between two turns the training stands still.

    The first answer is given after the first step, the second after the steps that warm up, and any other holds
    `train` and `inference`, each with `images` and `seconds`, a list of the steps' durations, and `peak_memory_bytes`.

    Args:
        answer: see `cnnlab.speed.turns`.
        loader: images for the inference.
        steps: of a turn; None for as many as take about TURN_SECONDS.
        about: added to the first answer.
    """

    def __init__(self, answer: Answer, loader: Callable[[], Loader], steps: int | None, about: dict[str, Any]):
        self.answer, self.loader, self.about = answer, loader, about
        self._steps = self._inference_steps = steps
        self._first = True
        self._unsettled = 0
        self._wanted = 1
        self._images = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The device is known now."""
        self.device = trainer.strategy.root_device
        self.clock = StepClock(self.device)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """What the end of an epoch took is not a step's."""
        self.clock.begin()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Notes the step, and ends the turn when it was the last."""
        if self._unsettled:
            self._unsettled -= 1
            if self._unsettled == 0:
                self.clock.take()
                self.clock.begin()
            return
        self.clock.step()
        self._images += len(batch[1])
        if self.clock.steps >= self._wanted:
            self._end_turn(trainer, pl_module)

    def _end_turn(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        train = {"images": self._images, "seconds": self.clock.take()}
        memory = peak_memory_bytes(self.device)
        if self._first:
            result = {
                **self.about,
                "machine": machine(self.device),
                "precision": str(trainer.precision),
                "train": train,
            }
            self._first, self._wanted = False, WARM_UP
            go_on = self.answer(result)
        else:
            network = pl_module.network
            assert isinstance(network, nn.Module)
            self._steps = self._steps or self._fitting(train["seconds"])
            self._inference_steps = self._inference_steps or self._fitting(
                self._infer(trainer, network, WARM_UP)["seconds"]
            )
            inference = self._infer(trainer, network, self._inference_steps)
            go_on = self.answer({"train": train, "inference": inference, "peak_memory_bytes": memory})
            self._wanted, self._unsettled = self._steps, SETTLE
        self._images = 0
        trainer.should_stop = not go_on
        self.clock.begin()

    @staticmethod
    def _fitting(seconds: list[float]) -> int:
        return min(MOST, max(FEWEST, ceil(TURN_SECONDS / median(seconds[len(seconds) // 2 :]))))

    def _infer(self, trainer: L.Trainer, network: nn.Module, steps: int) -> dict[str, Any]:
        """The network's answers on batches as the evaluation gets them."""
        clock = StepClock(self.device)
        images = 0
        network.eval()
        with torch.no_grad(), trainer.precision_plugin.forward_context():
            batches = _forever(self.loader())
            for _ in range(SETTLE):
                network(next(batches)[0])
            clock.begin()
            for _ in range(steps):
                pictures, _ = next(batches)
                network(pictures)
                clock.step()
                images += len(pictures)
        network.train()
        return {"images": images, "seconds": clock.take()}


def time_training(task: dict[str, Any], answer: Answer) -> None:
    """Trains one combination turn by turn, as `cnnlab.train` would (see `cnnlab.speed.turns` and TimedTurns).

    Args:
        task: `settings`, those of a run, and `steps` of a turn or None.
        answer: gets the timings.
    """
    keep_freed_memory()  # as every command does
    flush_denormals()  # as training does
    settings = task["settings"]
    assembly.seed_everything(settings["seed"])
    data = assembly.build_data(settings)
    full = len(data.train) // settings["data"]["batch_size"]
    if full and isinstance(settings["trainer"]["limit_train_batches"], float):
        # A last batch with fewer images would be a step of another kind, for which a GPU compiles and tunes anew.
        settings = {**settings, "trainer": {**settings["trainer"], "limit_train_batches": full}}
    network = networks.build_network(settings["model"], len(data.classes), data.image_size)
    cost = assembly.check_network(network, data)
    assembly.initialize_from_data(network, data)
    about = {"parameters": cost.parameters, "macs": cost.macs, "data_fingerprint": data.fingerprint}
    with tempfile.TemporaryDirectory() as folder:
        run = RunDirectory(folder)
        timed = TimedTurns(answer, data.val_dataloader, task["steps"], about)
        callbacks = [
            Progress(bar=False),
            *assembly.build_callbacks(settings),
            timed,
            Recorder(run, {}, stop_requested=lambda: False, minutes=float("inf")),
        ]
        classifier = assembly.build_classifier(settings, network)
        loggers = assembly.build_loggers(settings, run.path)
        trainer = assembly.build_lightning_trainer(settings, callbacks, loggers, run.path)
        compile_network(network, settings["trainer"]["compile"])
        trainer.fit(classifier, datamodule=data)


def time_machine(task: dict[str, Any], answer: Answer) -> None:
    """Measures the rates of the device turn by turn (see `cnnlab.speed.turns` and `measure_rates`).

    Args:
        task: `settings` of a run, for its device.
        answer: gets the rates of each turn.
    """
    trainer = assembly.build_lightning_trainer(task["settings"], [], [], Path(tempfile.gettempdir()))
    device = trainer.strategy.root_device
    while answer({"device_type": device.type, "rates": measure_rates(device)}):
        pass


def _forever(loader: Loader) -> Iterator[tuple[Tensor, Tensor]]:
    while True:
        yield from loader
