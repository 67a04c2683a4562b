"""End the training after a number of epochs or steps; the last epoch may be a fraction."""

import math
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

    def __init__(self, epochs: float, max_steps: int = -1):
        self.epochs = epochs
        self.max_steps = max_steps

    def steps(self, trainer: L.Trainer) -> int:
        """Return the steps of the whole training, creating the training loader if needed to count its batches."""
        if trainer.train_dataloader is None:
            trainer.fit_loop.setup_data()
        steps = max(1, math.ceil(round(self.epochs * _steps_per_epoch(trainer), 6)))
        return steps if self.max_steps == -1 else min(steps, self.max_steps)

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Raise a RequestError if a run that is resumed has more steps already; Lightning would fail or do nothing."""
        done, planned = checkpoint["global_step"], self.steps(trainer)
        if done > planned:
            length = f"max_steps={planned}" if planned == self.max_steps else f"max_epochs={self.epochs}"
            problem = f"the run has trained {done} steps, and cannot be made shorter to {planned}"
            raise RequestError(f"trainer.{length}: {problem}")

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Tell Lightning the number of epochs. A resumed run may already have all its steps."""
        self._last_step = self.steps(trainer)
        trainer.fit_loop.max_epochs = math.ceil(self._last_step / _steps_per_epoch(trainer))
        self._stop_if_done(trainer)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Ask Lightning to validate and stop after the last step."""
        self._stop_if_done(trainer)

    def _stop_if_done(self, trainer: L.Trainer) -> None:
        if trainer.global_step >= self._last_step:
            trainer.should_stop = True


def _steps_per_epoch(trainer: L.Trainer) -> int:
    return math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches)


def total_steps(trainer: L.Trainer) -> int:
    """Return the number of steps of the whole training, those before a resume included."""
    for callback in trainer.callbacks:  # pyright: ignore[reportAttributeAccessIssue]
        if isinstance(callback, Duration):
            return callback.steps(trainer)
    return int(trainer.estimated_stepping_batches)


def total_epochs(trainer: L.Trainer) -> int:
    """Return the number of epochs of the whole training; a last one that is cut short counts as one."""
    return math.ceil(total_steps(trainer) / _steps_per_epoch(trainer))
