"""End the training after a number of epochs or steps; the last epoch may be a fraction."""

import math
from collections.abc import Sequence
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from cnnlab.errors import RequestError


class Duration(Callback):
    """End the training after `epochs` epochs or `max_steps` steps, whichever comes first.

    Lightning counts whole epochs only, and its own step limit ends the training without validation if it falls within
    an epoch. Here, a shortened last epoch is validated and recorded like any other.

    Args:
        epochs: above 0; a fraction of an epoch is rounded up to whole steps.
        max_steps: optimizer steps, or -1 for no limit.
    """

    stretches = False  # whether the length may change during the training, and the schedule with it

    def __init__(self, epochs: float, max_steps: int = -1):
        self.epochs = epochs
        self.max_steps = max_steps
        # From which step on how many steps were planned for the whole training, see `share_done`.
        self.plan: list[list[int]] = []

    def steps(self, trainer: L.Trainer) -> int | None:
        """Return the steps of the whole training."""
        steps = max(1, math.ceil(round(self.epochs * steps_per_epoch(trainer), 6)))
        return steps if self.max_steps == -1 else min(steps, self.max_steps)

    def first_steps(self, trainer: L.Trainer) -> int | None:
        """Return the steps of the whole training as first planned, or None if that is not known yet."""
        return self.steps(trainer)

    def seconds_left(self) -> float | None:
        """Return the seconds to the end if the training has a budget of time, else None."""
        return None

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Raise a RequestError if a run that is resumed has more steps already; Lightning would fail or do nothing."""
        done, planned = checkpoint["global_step"], self.steps(trainer)
        if planned is not None and done > planned:
            length = f"max_steps={planned}" if planned == self.max_steps else f"max_epochs={self.epochs}"
            problem = f"the run has trained {done} steps, and cannot be made shorter to {planned}"
            raise RequestError(f"trainer.{length}: {problem}")

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Plan the epochs, and tell the loader how to count shares. A resumed run may already have all its steps."""
        if steps := self.steps(trainer):
            self.plan = self.plan or [[0, steps]]
            self.follow_plan(trainer)
            self._stop_if_done(trainer)
        batches, together = trainer.num_training_batches, trainer.accumulate_grad_batches
        loader: Any = trainer.train_dataloader
        loader.share_done = lambda epoch, batch: share_done(
            self.plan, epoch * math.ceil(batches / together) + batch // together
        )

    def follow_plan(self, trainer: L.Trainer) -> None:
        """Tell Lightning the number of epochs of the plan."""
        trainer.fit_loop.max_epochs = math.ceil(self.plan[-1][1] / steps_per_epoch(trainer))

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Ask Lightning to validate and stop after the last step."""
        self._stop_if_done(trainer)

    def _stop_if_done(self, trainer: L.Trainer) -> None:
        if trainer.global_step >= self.plan[-1][1]:
            trainer.should_stop = True


def share_done(plan: Sequence[Sequence[int]], step: int) -> float:
    """Return the share of the training that is done after a number of steps, from 0 to 1.

    Args:
        plan: pairs of a step and the steps of the whole training that were planned from there on, with rising first
            steps from 0. Within a pair the share grows evenly, so that it would be 1 after that many steps. An empty
            plan says nothing: the share is 0.
        step: steps done.
    """
    done, since = 0.0, 0
    for number, (_, steps) in enumerate(plan):
        end = min(step, plan[number + 1][0]) if number + 1 < len(plan) else step
        if end >= steps:
            return 1.0
        done += (1 - done) * (end - since) / (steps - since)
        since = end
        if end == step:
            break
    return done


def steps_per_epoch(trainer: L.Trainer) -> int:
    """Return the optimizer steps of a whole epoch, creating the training loader if needed to count its batches."""
    if trainer.train_dataloader is None:
        trainer.fit_loop.setup_data()
    return math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches)


def duration_of(trainer: L.Trainer) -> Duration | None:
    """Return what ends a training, or None for a Trainer that cnnlab has not made."""
    callbacks: list[Any] = trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]
    return next((callback for callback in callbacks if isinstance(callback, Duration)), None)


def flexible_share(trainer: L.Trainer) -> float | None:
    """Return the share of the training that is done if its length may change, else None."""
    duration = duration_of(trainer)
    return share_done(duration.plan, trainer.global_step) if duration and duration.stretches else None


def total_steps(trainer: L.Trainer) -> int | None:
    """Return the steps of the whole training as first planned, those before a resume included; None if not known."""
    duration = duration_of(trainer)
    return duration.first_steps(trainer) if duration else int(trainer.estimated_stepping_batches)


def total_epochs(trainer: L.Trainer) -> int | None:
    """Return the number of epochs of the whole training; a last one that is cut short counts as one."""
    steps = total_steps(trainer)
    return steps and math.ceil(steps / steps_per_epoch(trainer))
