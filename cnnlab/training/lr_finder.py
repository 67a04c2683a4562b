"""Search for a learning rate before the training."""

import contextlib
import functools
import io
import logging
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import lightning as L
import torch
from lightning.pytorch import callbacks

from cnnlab.display import save_figure
from cnnlab.errors import RequestError
from cnnlab.files import write_atomically
from cnnlab.limits import Positive
from cnnlab.training.classifier import Classifier

log = logging.getLogger(__name__)

LIGHTNINGS_DECAY = 0.98  # of the running mean of losses in Lightning's search
WINDOW = 11  # steps over which a loss is averaged here
SMALLEST_FALL = 0.01  # share of the first loss; below it, no rate counts as better than another


class LearningRateFinder(callbacks.LearningRateFinder):
    """Try rising learning rates for some steps, restore the weights, and train with the rate of the lowest loss.

    Runs Lightning's range test (Smith 2017, "Cyclical learning rates for training neural networks", section 3.3). Above
    the chosen rate, the loss rises. It becomes the peak of the schedule; for a constant rate it is rather high.
    (Lightning would choose the steepest fall. That is often in the first steps, in which a network only learns to
    expect all classes alike: 0.0006 for a ResNet-20 that trains well with 0.05.) Writes lr_finder.csv and lr_finder.png
    to the run directory. A resumed run keeps its rate.

    Args:
        min_lr, max_lr: rates of the first and last step.
        num_training_steps: steps of the search.
        early_stop_threshold: stop the search if the smoothed loss exceeds its minimum by this factor.
    """

    def __init__(
        self,
        min_lr: Positive = 1e-4,
        max_lr: Positive = 10.0,
        num_training_steps: Annotated[int, "[22, inf)"] = 100,  # twice the window
        early_stop_threshold: Positive | None = 4.0,
    ):
        if min_lr >= max_lr:
            raise ValueError(f"min_lr must be below max_lr, {max_lr}, got {min_lr}")
        super().__init__(min_lr, max_lr, num_training_steps, "exponential", early_stop_threshold, update_attr=False)

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Search, unless the run resumes from a checkpoint.

        Raises:
            RequestError: if parameters have different rates, the run uses several devices, or the loss never falls.
        """
        if trainer.ckpt_path is not None:
            return
        assert isinstance(pl_module, Classifier)
        problem = ""
        if trainer.world_size > 1:
            problem = " works on one device only; for several, search on one and set optimizer.lr"
        elif len({group["lr"] for group in trainer.optimizers[0].param_groups}) > 1:
            problem = (
                " needs one rate for all parameters: bias_lr_factor must be 1, layer_decay null; Muon has two rates"
            )
        elif "max_lr" in getattr(pl_module.schedule, "keywords", {}):
            problem = ": leave out schedule.max_lr; the rate that is found takes its place"
        if problem:
            raise RequestError(f"callbacks.lr_finder{problem}")
        with _unlimited_and_quiet(trainer):
            self.lr_find(trainer, pl_module)
        assert self.optimal_lr is not None
        rates, losses = self.optimal_lr.results["lr"], smooth_losses(self.optimal_lr.results["loss"])
        lr = rate_of_lowest_loss(rates, losses)
        folder = Path(trainer.default_root_dir)
        if trainer.is_global_zero:
            _write(folder, rates, losses, lr)
        if lr is None:
            problem = f"the loss does not fall at any rate from {self._min_lr} to {self._max_lr}"
            raise RequestError(f"callbacks.lr_finder: {problem} ({folder / 'lr_finder.csv'})")
        log.info("Learning rate %.3g: the loss rises above it (%s)", lr, folder / "lr_finder.png")
        pl_module.optimizer = functools.partial(pl_module.optimizer, lr=lr)  # pyright: ignore[reportCallIssue]
        trainer.strategy.setup_optimizers(trainer)


def smooth_losses(running_means: list[float]) -> list[float]:
    """Return losses averaged over neighbouring steps, from the running means of Lightning's search.

    The running means lag by some 50 steps, and the first ones are too small: in step n, Lightning divides by
    1 - decay^(n + 1) instead of 1 - decay^n. So this first recovers the loss of each step.
    """
    if not running_means:
        return []
    steps = torch.arange(1, len(running_means) + 1, dtype=torch.float64)
    sums = torch.tensor(running_means, dtype=torch.float64) * (1 - LIGHTNINGS_DECAY ** (steps + 1))
    before = torch.cat([torch.zeros(1, dtype=torch.float64), sums[:-1]])
    losses = (sums - LIGHTNINGS_DECAY * before) / (1 - LIGHTNINGS_DECAY)
    pooled = torch.nn.functional.avg_pool1d(losses[None], WINDOW, 1, WINDOW // 2, count_include_pad=False)
    return pooled[0].tolist()


def rate_of_lowest_loss(rates: list[float], losses: list[float]) -> float | None:
    """Return the rate with the lowest smoothed loss, or None if that is hardly below the first loss.

    Rates rise; there may be fewer losses.
    """
    points = [(loss, rate) for rate, loss in zip(rates, losses, strict=False) if math.isfinite(loss)]
    if not points or min(points)[0] > (1 - SMALLEST_FALL) * points[0][0]:
        return None
    return min(points)[1]


@contextlib.contextmanager
def _unlimited_and_quiet(trainer: L.Trainer) -> Iterator[None]:
    """Let a Trainer train without an end and without validation; show its bar on terminals only."""
    epochs, every = trainer.fit_loop.max_epochs, trainer.check_val_every_n_epoch
    trainer.fit_loop.max_epochs, trainer.check_val_every_n_epoch = -1, sys.maxsize
    try:
        with contextlib.nullcontext() if sys.stderr.isatty() else contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        trainer.fit_loop.max_epochs, trainer.check_val_every_n_epoch = epochs, every


def _write(folder: Path, rates: list[float], losses: list[float], chosen: float | None) -> None:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from cnnlab.style import LIGHT

    rows = [("lr", "loss"), *zip(rates, losses, strict=False)]
    write_atomically(folder / "lr_finder.csv", "".join(f"{rate},{loss}\r\n" for rate, loss in rows))
    with rc_context(LIGHT):
        figure = Figure(figsize=(6, 4), layout="constrained")
        axes = figure.subplots()
        axes.plot(rates[: len(losses)], losses)
        if chosen is not None:
            axes.axvline(chosen, color="C1", linestyle="--", label=f"chosen: {chosen:.3g}, above which the loss rises")
            axes.legend()
        axes.set_title(f"Loss of a training whose learning rate rises in each of {len(losses)} steps")
        axes.set(xscale="log", xlabel="learning rate", ylabel=f"training loss, mean over {WINDOW} steps")
        axes.grid()
    save_figure(figure, folder / "lr_finder.png")
