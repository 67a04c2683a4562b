"""Average the weights over training steps."""

from itertools import chain
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor

from cnnlab.limits import BelowOne, Count
from cnnlab.training.half_weights import master


class AveragedWeights(WeightAveraging):
    """Keep an exponential moving average of weights and norm statistics, and validate, test and save that average.

    (Polyak and Juditsky 1992; exponential as in Tarvainen and Valpola 2017, "Mean teachers", section 2.)
    The optimizer continues from its own weights; a checkpoint holds both. Early updates average over fewer steps, so
    that the initial weights are soon forgotten: update n keeps at most (1 + n) / (10 + n) of the average, and the first
    update keeps nothing. Before the first update, the average equals the current weights.

    Args:
        decay: share of the average that one step keeps, in [0, 1).
        every_n_steps: steps between updates; an update then keeps decay ** every_n_steps.
    """

    def __init__(self, decay: BelowOne = 0.998, every_n_steps: Count = 5):
        super().__init__()
        self.decay = decay
        self.every_n_steps = every_n_steps
        self._own: list[Any] = []  # weights of the module while it has the average

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Update the average after every `every_n_steps`-th step, and after each step before the first of these.

        Replaces Lightning's method, whose `AveragedModel.update_parameters` waits for the device twice per update.
        """
        step = trainer.global_step  # does not change between batches whose gradients are accumulated
        updates, rest = divmod(step, self.every_n_steps)
        if step > self._latest_update_step and (updates == 0 or rest == 0):
            self._update(pl_module, updates)
            self._latest_update_step = step

    @torch.no_grad()
    def _update(self, module: L.LightningModule, n: int) -> None:
        keep = min(self.decay**self.every_n_steps, (1 + n) / (10 + n)) if n > 1 else 0.0
        for averages, currents in self._by_type(module):
            exact = [master(current) for current in currents]
            if averages[0].is_floating_point():
                torch._foreach_lerp_(averages, exact, 1 - keep)  # pyright: ignore[reportPrivateImportUsage]
            else:  # batch counters of the norms
                torch._foreach_copy_(averages, exact)  # pyright: ignore[reportPrivateImportUsage]

    @torch.no_grad()
    def _swap_models(self, pl_module: L.LightningModule) -> None:
        """Give the module the average, and the next time its own weights again; in few operations, unlike Lightning."""
        if self._own:
            for (_, currents), own in zip(self._by_type(pl_module), self._own, strict=True):
                torch._foreach_copy_(currents, own)  # pyright: ignore[reportPrivateImportUsage]
            self._own = []
        else:
            for _, currents in self._by_type(pl_module):
                self._own.append(torch._foreach_clone(currents))  # pyright: ignore
            self._copy_average_to_current(pl_module)

    @torch.no_grad()
    def _copy_average_to_current(self, pl_module: L.LightningModule) -> None:
        for averages, currents in self._by_type(pl_module):
            torch._foreach_copy_(currents, averages)  # pyright: ignore[reportPrivateImportUsage]

    def _by_type(self, module: L.LightningModule) -> list[tuple[list[Tensor], list[Tensor]]]:
        """Return the average's tensors and the module's, those of one type together: they are changed at once."""
        assert self._average_model is not None
        groups: dict[tuple[torch.dtype, torch.dtype], tuple[list[Tensor], list[Tensor]]] = {}
        tensors = [chain(m.parameters(), m.buffers()) for m in (self._average_model.module, module)]
        for average, current in zip(*tensors, strict=True):
            averages, currents = groups.setdefault((average.dtype, current.dtype), ([], []))
            averages.append(average)
            currents.append(current)
        return list(groups.values())
