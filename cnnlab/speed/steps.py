"""Time training steps and inference of one combination, in a process of its own."""

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

from cnnlab.build.run import build_data, build_lightning_trainer, build_parts, seed_everything
from cnnlab.cpu import flush_denormals, keep_freed_memory
from cnnlab.data.loader import Loader
from cnnlab.runs.directory import RunDirectory
from cnnlab.runs.environment import machine, peak_memory_bytes
from cnnlab.runs.recorder import Recorder
from cnnlab.speed.turns import Report
from cnnlab.speed.upper_bound import measure_rates

WARM_UP_STEPS = 8  # in the first turn, with those in which CUDA graphs are recorded
UNCOUNTED_STEPS = 2  # at the start of a turn: caches are cold, and a GPU has slowed down
TURN_SECONDS = 2.0  # length of a turn if the number of steps is not given
FEWEST_STEPS, MOST_STEPS = 5, 5000  # in a turn


class StepClock:
    """Clock for consecutive steps. On CUDA it uses the clock of the device, as the host only queues work."""

    def __init__(self, device: torch.device):
        self._device = device
        self._start: Any = None  # moment at which the current step began
        self._steps: list[tuple[Any, Any]] = []

    def begin(self) -> None:
        """Start the next step now; the time since the step before is not counted."""
        self._start = self._now()

    def step(self) -> None:
        """End a step and start the next one."""
        now = self._now()
        self._steps.append((self._start, now))
        self._start = now

    @property
    def steps(self) -> int:
        """Number of steps since the last `take`."""
        return len(self._steps)

    def take(self) -> list[float]:
        """Wait for the device and return the seconds of every step since the last call."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        steps, self._steps = self._steps, []
        if self._device.type == "cuda":
            return [start.elapsed_time(end) / 1000 for start, end in steps]
        return [end - start for start, end in steps]

    def _now(self) -> Any:
        if self._device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        return event


class TimedTurns(Callback):
    """Times the steps of a training turn by turn. Between two turns the training pauses.

    The first report comes after the first step, the second after the warm-up, the others after each turn. They hold
    `train` and `inference`, each with `images` and `seconds` (of every step), and `peak_memory_bytes`.

    Args:
        report: see `cnnlab.speed.turns`.
        loader: makes a loader of images for the inference.
        steps: number of steps in a turn; None for about TURN_SECONDS.
    """

    def __init__(self, report: Report, loader: Callable[[], Loader], steps: int | None):
        self.report, self.loader = report, loader
        self.first_entries: dict[str, Any] = {}  # to add to the first report
        self._steps = self._inference_steps = steps
        self._is_first = True
        self._uncounted = 0  # steps left that are not counted
        self._steps_of_turn = 1
        self._images = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Prepare a clock for the device, which is known now."""
        self.device = trainer.strategy.root_device
        self.clock = StepClock(self.device)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leave out the time since the last step, in which an epoch has ended."""
        self.clock.begin()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the step, and end the turn if it was the last."""
        if self._uncounted:
            self._uncounted -= 1
            if self._uncounted == 0:
                self.clock.take()
                self.clock.begin()
            return
        self.clock.step()
        self._images += len(batch[1])
        if self.clock.steps >= self._steps_of_turn:
            self._end_turn(trainer, pl_module)

    def _end_turn(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        train = {"images": self._images, "seconds": self.clock.take()}
        memory = peak_memory_bytes(self.device)
        if self._is_first:
            about = {"machine": machine(self.device), "precision": str(trainer.precision)}
            result = {**self.first_entries, **about, "train": train}
            self._is_first, self._steps_of_turn = False, WARM_UP_STEPS
        else:
            network = pl_module.network
            assert isinstance(network, nn.Module)
            if self._steps is None or self._inference_steps is None:
                self._steps = _steps_in_a_turn(train["seconds"])
                self._inference_steps = _steps_in_a_turn(self._infer(trainer, network, WARM_UP_STEPS)["seconds"])
            inference = self._infer(trainer, network, self._inference_steps)
            result = {"train": train, "inference": inference, "peak_memory_bytes": memory}
            self._steps_of_turn, self._uncounted = self._steps, UNCOUNTED_STEPS
        trainer.should_stop = not self.report(result)
        self._images = 0
        self.clock.begin()

    def _infer(self, trainer: L.Trainer, network: nn.Module, steps: int) -> dict[str, Any]:
        """Time the network on batches as the evaluation uses them."""
        clock = StepClock(self.device)
        images = 0
        network.eval()
        with torch.no_grad(), trainer.precision_plugin.forward_context():
            batches = _forever(self.loader())
            for _ in range(UNCOUNTED_STEPS):
                network(next(batches)[0])
            clock.begin()
            for _ in range(steps):
                pictures, _ = next(batches)
                network(pictures)
                clock.step()
                images += len(pictures)
        network.train()
        return {"images": images, "seconds": clock.take()}


def time_training(task: dict[str, Any], report: Report) -> None:
    """Train turn by turn, as `cnnlab train` would, with the `settings` of a run and the `steps` in a turn or None."""
    keep_freed_memory()  # as every command does
    flush_denormals()  # as training does
    settings = task["settings"]
    seed_everything(settings["seed"])
    data = build_data(settings)
    full_batches = len(data.train) // settings["data"]["batch_size"]
    if full_batches and isinstance(settings["trainer"]["limit_train_batches"], float):
        # A last batch with fewer images would be another kind of step, for which a GPU compiles and tunes anew.
        settings = {**settings, "trainer": {**settings["trainer"], "limit_train_batches": full_batches}}
    with tempfile.TemporaryDirectory() as folder:
        run = RunDirectory(folder)
        timed = TimedTurns(report, data.val_dataloader, task["steps"])
        recorder = Recorder(run, {}, stop_requested=lambda: False, checkpoint_every=float("inf"))
        cost, classifier, trainer = build_parts(settings, data, run.path, [timed, recorder])
        timed.first_entries |= {"parameters": cost.parameters, "macs": cost.macs, "data_fingerprint": data.fingerprint}
        trainer.fit(classifier, datamodule=data)


def time_machine(task: dict[str, Any], report: Report) -> None:
    """Measure the rates of the device (see `measure_rates`) turn by turn, with the `settings` of a run."""
    trainer = build_lightning_trainer(task["settings"], [], [], Path(tempfile.gettempdir()))
    device = trainer.strategy.root_device
    while report({"device_type": device.type, "rates": measure_rates(device)}):
        pass


def _steps_in_a_turn(seconds: list[float]) -> int:
    """Return how many steps take TURN_SECONDS, from the durations of some."""
    return min(MOST_STEPS, max(FEWEST_STEPS, ceil(TURN_SECONDS / median(seconds[len(seconds) // 2 :]))))


def _forever(loader: Loader) -> Iterator[tuple[Tensor, Tensor]]:
    while True:
        yield from loader
