"""Searches the learning rate before the training."""

import contextlib
import csv
import functools
import io
import logging
import math
import sys
from collections.abc import Iterator
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch import callbacks

from cnnlab.errors import RequestError
from cnnlab.training.classifier import Classifier

log = logging.getLogger(__name__)

LIGHTNINGS_DECAY = 0.98  # of the running mean of losses that its search returns
WINDOW = 11  # steps that a loss is averaged over here
SMALLEST_FALL = 0.01  # of the loss, without which no rate is better than another


class LearningRateFinder(callbacks.LearningRateFinder):
    """Tries rising rates for some steps, puts the weights back, and trains with the highest that was of use.

    The range test (Smith 2017, "Cyclical learning rates for training neural networks", section 3.3), as Lightning does
    it. Chosen is the rate from which on the loss rises, because it becomes the peak of the schedule; for a constant
    rate it is rather high. (Lightning's own choice, the steepest fall, is often that of the first steps, in which a
    network just learns to expect all classes alike: 0.0006 for a ResNet-20 that trains well with 0.05.) Writes
    lr_finder.csv and lr_finder.png to the run directory. A run that is resumed keeps its rate.

    Args:
        min_lr: of the first step.
        max_lr: of the last step.
        num_training_steps: of the search.
        early_stop_threshold: ends the search when the smoothed loss is that many times its lowest value.
    """

    def __init__(
        self,
        min_lr: float = 1e-4,
        max_lr: float = 10.0,
        num_training_steps: int = 100,
        early_stop_threshold: float = 4.0,
    ):
        if not 0 < min_lr < max_lr:
            raise ValueError(f"min_lr must be above 0 and below max_lr, {max_lr}, got {min_lr}")
        if num_training_steps < 2 * WINDOW:
            raise ValueError(f"num_training_steps must be {2 * WINDOW} or more, got {num_training_steps}")
        super().__init__(min_lr, max_lr, num_training_steps, "exponential", early_stop_threshold, update_attr=False)

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Searches, unless the run goes on from a checkpoint.

        Raises:
            RequestError: where parameters have different rates, or no rate lets the loss fall.
        """
        if trainer.ckpt_path is not None:
            return
        assert isinstance(pl_module, Classifier)
        if trainer.world_size > 1:
            raise RequestError(
                "callbacks.lr_finder searches on one device: give its rate as optimizer.lr to a run on several"
            )
        if len({group["lr"] for group in trainer.optimizers[0].param_groups}) > 1:
            raise RequestError(
                "callbacks.lr_finder searches one rate for all parameters: bias_lr_factor must be 1, and Muon has two"
            )
        with _for_search(trainer):
            self.lr_find(trainer, pl_module)
        assert self.optimal_lr is not None
        rates, losses = self.optimal_lr.results["lr"], smoothed(self.optimal_lr.results["loss"])
        lr = highest_useful(rates, losses)
        folder = Path(trainer.default_root_dir)
        if trainer.is_global_zero:
            _write(folder, rates, losses, lr)
        if lr is None:
            raise RequestError(
                f"callbacks.lr_finder: the loss falls at no rate from {self._min_lr} to {self._max_lr} "
                f"({folder / 'lr_finder.csv'})"
            )
        log.info("Learning rate %.3g, from which on the loss rises (%s)", lr, folder / "lr_finder.png")
        pl_module.optimizer = functools.partial(pl_module.optimizer, lr=lr)  # pyright: ignore[reportCallIssue]
        trainer.strategy.setup_optimizers(trainer)


def smoothed(running_means: list[float]) -> list[float]:
    """Losses averaged over their neighbours, from the running means of Lightning's search.

    Those lag behind by some 50 steps, and the first ones are too small: they are divided by 1 - decay^(n + 1) in step n
    instead of 1 - decay^n. So the losses of the steps are taken out of them first.
    """
    if not running_means:
        return []
    steps = torch.arange(1, len(running_means) + 1, dtype=torch.float64)
    sums = torch.tensor(running_means, dtype=torch.float64) * (1 - LIGHTNINGS_DECAY ** (steps + 1))
    before = torch.cat([torch.zeros(1, dtype=torch.float64), sums[:-1]])
    losses = (sums - LIGHTNINGS_DECAY * before) / (1 - LIGHTNINGS_DECAY)
    pooled = torch.nn.functional.avg_pool1d(losses[None], WINDOW, 1, WINDOW // 2, count_include_pad=False)
    return pooled[0].tolist()


def highest_useful(rates: list[float], losses: list[float]) -> float | None:
    """The rate with the lowest loss, or None where that is hardly below the first.

    Args:
        rates: rising.
        losses: smoothed, at each rate.
    """
    points = [(loss, rate) for rate, loss in zip(rates, losses, strict=False) if math.isfinite(loss)]
    if not points or min(points)[0] > (1 - SMALLEST_FALL) * points[0][0]:
        return None
    return min(points)[1]


@contextlib.contextmanager
def _for_search(trainer: L.Trainer) -> Iterator[None]:
    """Inside, the training has no end of its own and does not validate; a bar is shown on terminals alone."""
    epochs, every = trainer.fit_loop.max_epochs, trainer.check_val_every_n_epoch
    trainer.fit_loop.max_epochs, trainer.check_val_every_n_epoch = -1, sys.maxsize
    quiet = contextlib.nullcontext() if sys.stderr.isatty() else contextlib.redirect_stderr(io.StringIO())
    try:
        with quiet:
            yield
    finally:
        trainer.fit_loop.max_epochs, trainer.check_val_every_n_epoch = epochs, every


def _write(folder: Path, rates: list[float], losses: list[float], chosen: float | None) -> None:
    from matplotlib.figure import Figure

    with (folder / "lr_finder.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["lr", "loss"])
        writer.writerows(zip(rates, losses, strict=False))
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(rates[: len(losses)], losses)
    if chosen is not None:
        axes.axvline(chosen, color="tab:red", linestyle="--", label=f"chosen: {chosen:.3g}")
        axes.legend()
    axes.set(xscale="log", xlabel="learning rate", ylabel=f"training loss (mean over {WINDOW} steps)")
    figure.savefig(folder / "lr_finder.png", dpi=120)
