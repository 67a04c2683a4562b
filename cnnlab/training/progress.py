"""Show the training on the terminal: a bar within an epoch, a line after it."""

import logging
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from tqdm import tqdm

from cnnlab import waiting
from cnnlab.display import terminal_width
from cnnlab.training.classifier import Classifier
from cnnlab.training.duration import duration_of

log = logging.getLogger(__name__)

REFRESH = 0.5  # seconds; rare, because reading the loss waits for a GPU
# Widths of the columns, from left to right; a narrow terminal has no room for the last ones.
COLUMNS = {
    **{"epoch": 7, "train loss": 12, "train acc": 11, "val loss": 10, "val acc": 9},
    **{"images/s": 11, "elapsed": 10, "left": 9, "lr": 11},
}


class Progress(Callback):
    """Show a bar with loss, accuracy, images/s and time left on a terminal, and log a line of metrics per epoch.

    Without `bar` or a terminal, there is no bar.
    """

    def __init__(self, bar: bool = True):
        self._show_bar = bar and sys.stderr.isatty()
        self._bar: tqdm[Any] | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the header of the table."""
        self._started = time.perf_counter()
        self._steps_before = trainer.global_step
        _log_row(COLUMNS)
        self.on_train_epoch_start(trainer, pl_module)  # Lightning leaves it out if a run resumes within an epoch

    def on_train_batch_end(  # type: ignore[override]
        self, trainer: L.Trainer, pl_module: Classifier, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Refresh the bar if it is time."""
        now = time.perf_counter()
        if self._bar is None or now - self._refreshed < REFRESH:
            return
        self._refreshed = now
        loss, accuracy = pl_module.train_totals.means()
        images = (pl_module.train_totals.images - self._images_before) * trainer.world_size  # if shares are equal
        speed = images / (now - self._epoch_started)
        self._bar.n = batch_idx + 1
        left = _clock(self._seconds_left(trainer, now))
        metrics = f"loss {loss:.3f}, acc {accuracy:.1%}, {speed:,.0f} images/s, {left} left"
        self._bar.set_description_str(f"{self._label(trainer)}, {metrics}")

    def on_validation_start(self, trainer: L.Trainer, pl_module: Classifier) -> None:  # type: ignore[override]
        """Stop the clock of the epoch's training steps."""
        if trainer.sanity_checking:
            return
        self._validated = True
        pl_module.train_totals.means()  # waits for the device, where steps are only queued
        self._epoch_seconds = time.perf_counter() - self._epoch_started
        self._open_bar(trainer.num_val_batches, f"{self._label(trainer)}, validation")

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show the bar of the epoch again, which may not be over."""
        if not trainer.sanity_checking:
            self._open_bar([trainer.num_training_batches], self._label(trainer))

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show a bar for the test."""
        self._open_bar(trainer.num_test_batches, "test")

    def on_validation_batch_end(self, *_: Any, **__: Any) -> None:
        """Move the bar."""
        if self._bar is not None:
            self._bar.update()

    def on_test_batch_end(self, *_: Any, **__: Any) -> None:
        """Move the bar."""
        self.on_validation_batch_end()

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Remove the bar."""
        self._close_bar()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Classifier) -> None:  # type: ignore[override]
        """Log the epoch's figures, for all callbacks, and its line."""
        self._close_bar()
        pl_module.log_epoch()
        totals = pl_module.sum_over_processes(pl_module.train_totals)
        loss, accuracy = totals.means()
        now = time.perf_counter()
        seconds = self._epoch_seconds or now - self._epoch_started
        metrics = trainer.callback_metrics
        validated = self._validated and "val/loss" in metrics  # else they are an earlier epoch's
        val_loss = f"{float(metrics['val/loss']):.4f}" if validated else "-"
        val_accuracy = f"{float(metrics['val/accuracy']):.2%}" if validated else "-"
        epochs = self._epoch_of(trainer)
        speed = (totals.images - self._images_before) / seconds
        times = _clock(now - self._started), _clock(self._seconds_left(trainer, now))
        figures = epochs, f"{loss:.4f}", f"{accuracy:.2%}", val_loss, val_accuracy, f"{speed:,.0f}"
        _log_row([*figures, *times, f"{float(metrics['lr']):.3g}"])

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Remove the bar from the terminal."""
        self._close_bar()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock of the epoch, and a new bar."""
        self._epoch_started = self._refreshed = time.perf_counter()
        self._epoch_seconds = 0.0
        self._validated = False
        assert isinstance(pl_module, Classifier)
        self._images_before = pl_module.train_totals.images if trainer.fit_loop.restarted_mid_epoch else 0
        if self._bar is None:
            self._open_bar([trainer.num_training_batches], self._label(trainer))
        if self._show_bar and trainer.global_step == self._steps_before:
            waiting.tell("First step")  # of a compiled network, it takes long

    @staticmethod
    def _epoch_of(trainer: L.Trainer) -> str:
        """Return the number of the epoch, and how many there will be, if that is known."""
        return f"{trainer.current_epoch + 1}/{trainer.max_epochs if (trainer.max_epochs or 0) > 0 else '-'}"

    def _label(self, trainer: L.Trainer) -> str:
        return f"epoch {self._epoch_of(trainer)}"

    def _open_bar(self, batches: Sequence[float], label: str) -> None:
        self._close_bar()
        if self._show_bar:
            total, bar_format = int(sum(batches)), "{percentage:3.0f}% |{bar}| {desc}"
            self._bar = tqdm(total=total, desc=label, leave=False, bar_format=bar_format, dynamic_ncols=True)

    def _close_bar(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _seconds_left(self, trainer: L.Trainer, now: float) -> float:
        """Return the seconds to the end: those of the budget of time, or an estimate from the pace so far."""
        duration = duration_of(trainer)
        if duration is None or not duration.plan:
            return 0.0
        if (left := duration.seconds_left()) is not None:
            return left
        done = trainer.global_step - self._steps_before
        return (now - self._started) * (duration.plan[-1][1] - trainer.global_step) / max(1, done)


def _log_row(cells: Iterable[str]) -> None:
    """Log as many cells of the table as the terminal has room for, or all."""
    room, row = terminal_width() or 1000, ""
    for cell, width in zip(cells, COLUMNS.values(), strict=True):
        if len(row) + width > room:
            break
        row += f"{cell:>{width}}"
    log.info(row)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
