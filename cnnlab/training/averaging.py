"""Averaging of the weights over the steps."""

from itertools import chain
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor


class AveragedWeights(WeightAveraging):
    """An exponential moving average of weights and norm statistics, which is what is validated, tested and saved.

    (Polyak and Juditsky 1992; exponential as in Tarvainen and Valpola 2017, "Mean teachers", section 2.)
    The optimizer goes on from its own weights; a checkpoint holds both. In the first updates the average is over
    fewer steps, so that it does not hold on to the initial weights: update n keeps at most (1 + n) / (10 + n), and the
    first nothing. Before that one, the average is the weights themselves.

    Args:
        decay: share of the average that one step keeps, in [0, 1).
        every_n_steps: steps from one update to the next; an update then keeps decay ** every_n_steps.
    """

    def __init__(self, decay: float = 0.998, every_n_steps: int = 5):
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be at least 0 and below 1, got {decay}")
        if every_n_steps < 1:
            raise ValueError(f"every_n_steps must be 1 or more, got {every_n_steps}")
        super().__init__()
        self.decay = decay
        self.every_n_steps = every_n_steps
        self._updates = 0

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """After every `every_n_steps`-th step, and after each of those before the first: no step may be lost."""
        if step_idx is None:
            return False
        self._updates, rest = divmod(step_idx + 1, self.every_n_steps)
        return self._updates == 0 or rest == 0

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Updates the average after a step, where one is due.

        In place of Lightning's own, whose `AveragedModel.update_parameters` waits for the device twice in each update.
        """
        step = trainer.global_step  # the same for all batches whose gradients are added up
        if step > self._latest_update_step and self.should_update(step_idx=step - 1):
            self._update(pl_module)
            self._latest_update_step = step

    @torch.no_grad()
    def _update(self, module: L.LightningModule) -> None:
        assert self._average_model is not None
        averaged = self._average_model.module
        averages: list[Tensor] = []
        currents: list[Tensor] = []
        pairs = zip(
            chain(averaged.parameters(), averaged.buffers()), chain(module.parameters(), module.buffers()), strict=True
        )
        for average, current in pairs:
            if average.is_floating_point():
                averages.append(average)
                currents.append(current)
            else:
                average.copy_(current)  # counters of the norms
        n = self._updates
        keep = min(self.decay**self.every_n_steps, (1 + n) / (10 + n)) if n > 1 else 0.0
        torch._foreach_lerp_(averages, currents, 1 - keep)  # pyright: ignore[reportPrivateImportUsage]
