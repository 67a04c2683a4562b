"""How long a training takes: epochs, of which the last may be a part of one, or steps."""

import math
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback


class Duration(Callback):
    """Ends the training after `epochs` epochs or `max_steps` steps, whichever comes first.

    Lightning counts whole epochs. Its own limit of steps, when it falls within an epoch, ends the training without
    validation; here the epoch that is cut short ends like every last one, validated and recorded.

    Args:
        epochs: above 0; a part of an epoch is rounded up to whole steps.
        max_steps: steps of the optimizer, or -1 for no limit.
    """

    def __init__(self, epochs: float, max_steps: int = -1):
        self.epochs = epochs
        self.max_steps = max_steps

    def steps(self, trainer: L.Trainer) -> int:
        """Steps of the whole training. Makes the training batches, if there are none yet, to count them."""
        if trainer.train_dataloader is None:
            trainer.fit_loop.setup_data()
        steps = max(1, math.ceil(round(self.epochs * _steps_an_epoch(trainer), 6)))
        return steps if self.max_steps == -1 else min(steps, self.max_steps)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Tells Lightning the number of epochs; a run that was resumed may have done its steps already."""
        self._end_after = self.steps(trainer)
        trainer.fit_loop.max_epochs = math.ceil(self._end_after / _steps_an_epoch(trainer))
        self._end_if_done(trainer)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Asks Lightning to stop, which then validates."""
        self._end_if_done(trainer)

    def _end_if_done(self, trainer: L.Trainer) -> None:
        if trainer.global_step >= self._end_after:
            trainer.should_stop = True


def _steps_an_epoch(trainer: L.Trainer) -> int:
    return math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches)


def total_steps(trainer: L.Trainer) -> int:
    """Steps that the training takes from its first to its last."""
    for callback in trainer.callbacks:  # pyright: ignore[reportAttributeAccessIssue]
        if isinstance(callback, Duration):
            return callback.steps(trainer)
    return int(trainer.estimated_stepping_batches)
