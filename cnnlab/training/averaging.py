"""Averaging of the weights over the steps."""

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
        super().__init__(multi_avg_fn=self._average)
        self.decay = decay
        self.every_n_steps = every_n_steps
        self._updates = 0

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """After every `every_n_steps`-th step, and after each of those before the first: no step may be lost."""
        if step_idx is None:
            return False
        self._updates, rest = divmod(step_idx + 1, self.every_n_steps)
        return self._updates == 0 or rest == 0

    def _average(self, averages: tuple[Tensor, ...], current: tuple[Tensor, ...], count: Tensor | int) -> None:
        n = self._updates
        keep = min(self.decay**self.every_n_steps, (1 + n) / (10 + n)) if n > 1 else 0.0
        if averages[0].is_floating_point():
            torch._foreach_lerp_(averages, current, 1 - keep)  # pyright: ignore[reportPrivateImportUsage]
        else:
            for average, value in zip(averages, current, strict=True):  # counters of the norms
                average.copy_(value)
