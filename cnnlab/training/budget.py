"""End the training when a budget of time is used up: choose its steps by how fast it is."""

import copy
import logging
import time
from collections import defaultdict
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from cnnlab.errors import RequestError
from cnnlab.training.classifier import Classifier
from cnnlab.training.duration import Duration, share_done, steps_per_epoch
from cnnlab.training.freezing import Freezing
from cnnlab.training.losses import all_logits

log = logging.getLogger(__name__)

clock = time.perf_counter

FIRST_GAP = 4  # steps before the pace is first looked at; the gaps grow
LOOKS = 25  # how often it is looked at, about
TOLERANCE = 0.005  # share of the steps by which a new plan must differ from the old one
MEASURING = 0.03  # share of the budget after which sizes that were not measured are reckoned by their area
VALIDATION = 1 / 3  # cost of validating an image, in trainings of one; until a validation was measured


class Budget(Duration):
    """Train for so many seconds: as many steps as fit, the last epoch's validation and the saving included.

    The clock is that of `train_seconds` in the record: it runs from the start of the training to its end, with the
    first steps, in which libraries are loaded, and with what is measured here. The first plan comes from passes of a
    copy of the network in every image size of the training. The pace is then looked at some 25 times. If another number
    of steps fits, what is left of the schedule is stretched to it, so that the learning rate goes on without a jump and
    is at its end when the time is up. `plan` holds what was decided: a training with the same plan is the same.

    Args:
        budget: seconds, or the plan of an earlier training (see `share_done`), which is followed whatever the time.
    """

    stretches = True

    def __init__(self, budget: float | list[list[int]]):
        super().__init__(epochs=float("inf"))
        self.seconds = None if isinstance(budget, list) else float(budget)
        if isinstance(budget, list):
            self.plan = budget
        self._before = 0.0  # seconds that a resumed run had used
        self._started: float | None = None
        self._relative: dict[int, float] = {}  # seconds of a pass of a copy of the network, by image size
        self._costs: dict[int, float] = {}  # seconds of a step, by image size, of those trained on so far
        self._size = 0  # of the images of the last step
        self._spent: dict[int, float] = defaultdict(float)  # seconds since the last look, by image size
        self._steps: dict[int, int] = defaultdict(int)
        self._ends: list[float] = []  # seconds between epochs: validation and saving
        self._mark, self._step, self._gap, self._next = 0.0, 0, FIRST_GAP, 0

    def steps(self, trainer: L.Trainer) -> int | None:
        """Return the steps of the whole training, as far as they are planned."""
        return self.plan[-1][1] if self.plan else None

    def first_steps(self, trainer: L.Trainer) -> int | None:
        """Return the steps of the first plan."""
        return self.plan[0][1] if self.plan else None

    def seconds_left(self) -> float | None:
        """Return the seconds to the end of the budget."""
        return None if self.seconds is None else max(0.0, self.seconds - self.seconds_used)

    @property
    def seconds_used(self) -> float:
        """Seconds of training so far, with those before the run was resumed."""
        return self._before + (0.0 if self._started is None else clock() - self._started)

    def state_dict(self) -> dict[str, Any]:
        """Return the plan and the time that is used."""
        return {"plan": self.plan, "seconds": self.seconds_used}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the plan of a run that was stopped, and the time it had left."""
        self.plan, self._before = state_dict["plan"], state_dict["seconds"]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock."""
        self._started = self._mark = clock()
        self._step = trainer.global_step
        self._next = self._step + FIRST_GAP
        super().on_train_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note how long the end of the epoch before took."""
        if self._size:
            self._ends.append(clock() - self._mark)
            self._mark = clock()

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Measure the network before the first step, and make the first plan."""
        if self._size or self.seconds is None:
            return
        assert isinstance(pl_module, Classifier)
        loader: Any = trainer.train_dataloader
        sizes = {loader.size, *(size for _, size in loader.augmentation.sizes)}
        self._size = batch[0].shape[-1]
        self._relative = _measure(pl_module.network, batch[0], sizes, trainer, MEASURING * self.seconds)
        if not self.plan:
            self.plan = [[0, trainer.strategy.broadcast(self._steps_that_fit(trainer))]]
            self.follow_plan(trainer)
            for schedule in pl_module.schedules:
                schedule.set_length(self.plan[0][1], trainer.max_epochs or 1)
            self._check_freezing(trainer)
            self._gap = min(FIRST_GAP, max(1, self.plan[0][1] // 8))
            self._next = self._step + self._gap
        self._mark = clock()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take the time of a step, plan anew if it is due, and stop after the last step."""
        if self.seconds is not None:
            self._take_time(trainer, batch[0].shape[-1])
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Tell what came of the budget."""
        if self.seconds is not None and trainer.is_global_zero:
            epochs = trainer.global_step / steps_per_epoch(trainer)
            came = f"{epochs:.2f} epochs, {trainer.global_step:,} steps"
            log.info("The budget of %g s: %s in %.1f s", self.seconds, came, self.seconds_used)

    def _take_time(self, trainer: L.Trainer, size: int) -> None:
        is_due = self._next <= trainer.global_step < self.plan[-1][1]
        if is_due and trainer.strategy.root_device.type == "cuda":
            torch.cuda.synchronize(trainer.strategy.root_device)  # the steps are only queued
        now = clock()
        if size in self._costs or size in self._spent:
            self._spent[size] += now - self._mark
            self._steps[size] += trainer.global_step - self._step
        else:
            self._spent[size] = 0.0  # the first step of a size, in which kernels are chosen or compiled, tells no pace
        self._size, self._mark, self._step = size, now, trainer.global_step
        if is_due:
            self._look(trainer)

    def _look(self, trainer: L.Trainer) -> None:
        """Compare the pace with the plan, and plan anew if other steps fit. All processes follow the first one."""
        for size, steps in self._steps.items():
            if steps:
                cost = self._spent[size] / steps
                self._costs[size] = (cost + self._costs.get(size, cost)) / 2  # what happens besides varies
        self._spent.clear()
        self._steps.clear()
        steps = trainer.strategy.broadcast(self._steps_that_fit(trainer))
        if abs(steps - self.plan[-1][1]) > TOLERANCE * steps:
            self.plan.append([trainer.global_step, steps])
            self.follow_plan(trainer)
        self._gap = min(2 * self._gap, max(1, steps // LOOKS))
        self._next = trainer.global_step + self._gap

    def _steps_that_fit(self, trainer: L.Trainer) -> int:
        """Return the steps of the whole training that the time suffices for; at least one more."""
        left = self.seconds_left() or 0.0
        fewest = trainer.global_step + 1
        most = fewest + int(left / min(self._cost(trainer, size) for size in self._relative))
        while fewest < most:
            middle = (fewest + most + 1) // 2
            if self._seconds_until(trainer, middle) <= left:
                fewest = middle
            else:
                most = middle - 1
        return fewest

    def _seconds_until(self, trainer: L.Trainer, steps: int) -> float:
        """Return the seconds from now to the end of a training of so many steps."""
        loader: Any = trainer.train_dataloader
        here, epoch = trainer.global_step, steps_per_epoch(trainer)
        done = share_done(self.plan, here)
        starts = [(here, loader.size)]  # first step, and size of the images from there on
        for moment, size in loader.augmentation.sizes:
            first = moment * epoch if moment >= 1 else here + (moment - done) / (1 - done) * (steps - here)
            starts.append((min(steps, max(here, first)), size))
        ends = [first for first, _ in starts[1:]] + [steps]
        pairs = zip(starts, ends, strict=True)
        stepping = sum((end - start) * self._cost(trainer, size) for (start, size), end in pairs)
        return stepping + (-(-steps // epoch) - here // epoch) * self._epoch_end(trainer)

    def _cost(self, trainer: L.Trainer, size: int) -> float:
        """Return the seconds of a step with images of this size; in proportion to those measured, if it is to come."""
        if size in self._costs:
            return self._costs[size]
        known = self._size if self._size in self._costs else next(reversed(self._costs), size)
        whole = self._costs.get(known, self._relative[known] * trainer.accumulate_grad_batches)
        return max(1e-9, whole * self._relative[size] / self._relative[known])

    def _epoch_end(self, trainer: L.Trainer) -> float:
        """Return the seconds between two epochs. The first time, what draws and validates may still be loaded."""
        if self._ends:
            ends = self._ends[1:] or self._ends
            return sum(ends) / len(ends)
        data: Any = trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
        if data is None or not trainer.limit_val_batches:
            return 0.0
        loader: Any = trainer.train_dataloader
        share = data.counts["val"] / data.counts["train"]
        return VALIDATION * share * steps_per_epoch(trainer) * self._cost(trainer, loader.size)

    def _check_freezing(self, trainer: L.Trainer) -> None:
        """Raise a RequestError if the training would end before all layers learn."""
        epochs = self.plan[0][1] / steps_per_epoch(trainer)
        for callback in trainer.callbacks:  # pyright: ignore[reportAttributeAccessIssue]
            if isinstance(callback, Freezing) and epochs <= callback.epochs < float("inf"):
                problem = f"the budget lasts for {epochs:.2g} epochs, in all of which only the head would learn"
                raise RequestError(f"freeze={callback.epochs}: {problem}; freeze=all says so")


def _measure(network: nn.Module, images: Tensor, sizes: set[int], trainer: L.Trainer, limit: float) -> dict[int, float]:
    """Return the seconds of a forward and backward pass of a copy of a network, by height and width of the images.

    Neither the network nor the random numbers of the training change. After `limit` seconds, no pass begins.
    """
    network, device, begun = copy.deepcopy(network), images.device, clock()
    is_cuda, own = device.type == "cuda", images.shape[-1]
    seconds: dict[int, float] = {}
    with torch.random.fork_rng([device] if is_cuda else []):
        for size in sorted(sizes, key=lambda size: (size != own, size)) * 2:  # the first time chooses kernels
            if seconds and clock() - begun > limit:
                break
            started = clock()
            with trainer.precision_plugin.forward_context():
                outputs = all_logits(network(nn.functional.interpolate(images, size=(size, size))))
            torch.stack([logits.float().square().mean() for logits in outputs]).sum().backward()
            if is_cuda:
                torch.cuda.synchronize(device)
            seconds[size] = max(1e-9, clock() - started)
    return {size: seconds.get(size, seconds[own] * (size / own) ** 2) for size in sizes}
