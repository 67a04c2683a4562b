"""Writes the run directory while a training goes on."""

import csv
import shutil
import time
from collections.abc import Callable
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint

from cnnlab.errors import Interrupted
from cnnlab.runs.directory import COLUMNS, METRICS, RunDirectory
from cnnlab.runs.environment import device_name, peak_memory_bytes


class Recorder(Checkpoint):
    """Keeps metrics.csv, summary.json and the checkpoints up to date: after every epoch, and when the run is stopped.

    One callback does all of it, so that they agree: a checkpoint holds the rows of metrics.csv up to its own moment,
    and a run that goes on from it rewrites the file from them. Lightning calls a `Checkpoint` last, when the epoch's
    figures are known.

    Args:
        run: where to write.
        about: added to every checkpoint under `cnnlab`: plain values that `predict` needs beside the weights.
        stop_requested: asked after every step; true when the run should save and end.
        minutes: an epoch that takes longer is saved within, that often.
    """

    def __init__(
        self, run: RunDirectory, about: dict[str, Any], stop_requested: Callable[[], bool], minutes: float = 10.0
    ):
        self.run = run
        self.about = about
        self.stop_requested = stop_requested
        self.minutes = minutes
        self.rows: list[dict[str, Any]] = []
        self.best_row: dict[str, Any] | None = None
        self.epochs: float = 0
        self.seconds_before = 0.0  # of the parts of this run that ended earlier
        self.stepping_seconds = 0.0  # without validation and saving
        self.images = 0
        self._before = (0.0, 0.0, 0)  # seconds, of stepping too, and images when the epoch started
        self._started: float | None = None
        self._stepping_since: float | None = None
        self._validated = False
        # What several processes have agreed on; see _to_do.
        self._steps = self._asked_step = self._ask_at = 0
        self._asked = 0.0
        self._stop_agreed = self._save_agreed = False

    @property
    def seconds(self) -> float:
        """Training time so far, over all parts of a resumed run."""
        return self.seconds_before + (time.perf_counter() - self._started if self._started is not None else 0.0)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Starts the clock, and metrics.csv with the rows that a resumed run has already; records rate and device."""
        if self.run.writes:
            self.run.last_checkpoint.parent.mkdir(parents=True, exist_ok=True)
            with self.run.metrics_file.open("w", newline="") as stream:
                writer = csv.DictWriter(stream, COLUMNS)
                writer.writeheader()
                writer.writerows(self.rows)
            self.run.predictions_file.unlink(missing_ok=True)
        # The scores of a run that was complete, and is made longer, are those of other weights.
        stale = dict.fromkeys(("test_accuracy", "test_loss", "test_accuracy_tta"))
        # Not earlier: processes on the CPU have their share of the threads since Lightning launched them.
        device = device_name(trainer.strategy.root_device)
        self.run.update_summary(
            lr=trainer.optimizers[0].param_groups[0].get("initial_lr"),
            device=device if trainer.world_size == 1 else f"{trainer.world_size} x {device}",
            **stale,
        )
        self._started = self._saved = time.perf_counter()
        self._stepping_since = self._started
        self._before = (self.seconds, self.stepping_seconds, self.images)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The clock of the steps runs."""
        self._stepping_since = time.perf_counter()
        self._validated = False
        self._before = (self.seconds, self.stepping_seconds, self.images)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Counts images; saves within the epoch when the run is stopped, or a long while has passed."""
        self.images += trainer.train_dataloader.batch_images  # pyright: ignore
        self._steps += 1
        stop, save = self._to_do(trainer)
        if not stop and not save:
            return
        # The last step of an epoch is saved with the epoch; gradients that wait to be added up are not saved.
        epoch_ends = trainer.should_stop or batch_idx + 1 >= trainer.num_training_batches
        if epoch_ends or (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        self._stop_stepping(trainer)
        self._save(trainer)
        self._stepping_since = time.perf_counter()
        if stop:
            self._end_early(trainer)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The clock of the steps stops."""
        self._stop_stepping(trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """This epoch has validation figures."""
        self._validated = not trainer.sanity_checking
        if trainer.state.fn == "fit" and self._validated:  # within an epoch the steps go on
            self._stepping_since = time.perf_counter()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Writes the epoch's row, checkpoints and record."""
        self._stop_stepping(trainer)
        figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
        metrics = {name: figures.get(name) if self._validated or name.startswith("train") else None for name in METRICS}
        row = {
            "epoch": trainer.current_epoch + 1,
            "step": trainer.global_step,
            "seconds": round(self.seconds, 3),
            "lr": figures["lr"],
            **metrics,
        }
        self.rows.append(row)
        self.epochs = self._epochs_done(trainer)
        if self.run.writes:
            with self.run.metrics_file.open("a", newline="") as stream:
                csv.DictWriter(stream, COLUMNS).writerow(row)
        is_best = self._is_better(row)
        if is_best:
            self.best_row = row
        self._save(trainer, is_best)
        self._log_speed(pl_module)
        self._update_summary(trainer)
        self._ask_at = self._steps
        if self._to_do(trainer)[0] and not self._is_last_epoch(trainer):
            # Lightning would log the epoch after this; the validation it has logged already.
            done = {name: float(value) for name, value in trainer.callback_metrics.items() if name[:4] != "val/"}
            for logger in trainer.loggers:
                logger.log_metrics({**done, "epoch": trainer.current_epoch}, trainer.global_step)
            self._end_early(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The final figures of the training."""
        self._update_summary(trainer)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Adds what is needed to use the network without its run directory."""
        checkpoint["cnnlab"] = self.about

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run goes on from."""
        return {
            "rows": self.rows,
            "best_row": self.best_row,
            "epochs": self.epochs,
            "seconds": self.seconds,
            "stepping_seconds": self.stepping_seconds,
            "images": self.images,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on from a checkpoint."""
        # A checkpoint that goes on in another directory leaves the best weights before it behind.
        self.rows, self.best_row = state_dict["rows"], state_dict["best_row"]
        if not self.run.best_checkpoint.exists():
            self.best_row = None
        self.epochs, self.seconds_before = state_dict["epochs"], state_dict["seconds"]
        self.stepping_seconds, self.images = state_dict["stepping_seconds"], state_dict["images"]

    def _to_do(self, trainer: L.Trainer) -> tuple[bool, bool]:
        """Whether the run should save and end, and whether it is time to save.

        Several processes must come to the same answer after the same step, whichever of them a signal has reached.
        They ask each other about once a second: oftener would slow small networks down.
        """
        stop, save = self.stop_requested(), time.perf_counter() - self._saved >= 60 * self.minutes
        if trainer.world_size == 1:
            return stop, save
        if self._steps >= self._ask_at and not self._stop_agreed:
            now = time.perf_counter()
            pace = (self._steps - self._asked_step) / max(now - self._asked, 1e-9)  # steps a second
            answers = torch.tensor([stop, save, pace], dtype=torch.float64)
            if not trainer.is_global_zero:
                answers[1:] = 0  # the clock of the first process counts
            answers = trainer.strategy.reduce(answers.to(trainer.strategy.root_device, torch.float32), reduce_op="sum")
            self._stop_agreed, self._save_agreed = bool(answers[0] > 0), bool(answers[1] > 0)
            self._ask_at = self._steps + max(1, round(float(answers[2])))
            self._asked, self._asked_step = now, self._steps
        return self._stop_agreed, self._save_agreed

    def _stop_stepping(self, trainer: L.Trainer) -> None:
        if self._stepping_since is None:
            return
        device = trainer.strategy.root_device
        if device.type == "cuda":
            torch.cuda.synchronize(device)  # the steps were only queued
        self.stepping_seconds += time.perf_counter() - self._stepping_since
        self._stepping_since = None

    def _log_speed(self, pl_module: L.LightningModule) -> None:
        """Tells the loggers how fast the epoch was; of one that a resumed run ends, its own part of it."""
        seconds, stepping, images = self._before
        pl_module.log("speed/images_per_second", (self.images - images) / max(1e-9, self.stepping_seconds - stepping))
        pl_module.log("speed/epoch_seconds", self.seconds - seconds)  # with validation and saving

    def _is_better(self, row: dict[str, Any]) -> bool:
        """Higher validation accuracy; of equals the lower loss. Without validation, the latest epoch."""
        best = self.best_row
        if best is None or best["val/accuracy"] is None:
            return True
        if row["val/accuracy"] is None:
            return False
        return (row["val/accuracy"], -row["val/loss"]) > (best["val/accuracy"], -best["val/loss"])

    def _save(self, trainer: L.Trainer, is_best: bool = False) -> None:
        """Writes last.ckpt, and best.ckpt as a second name of the same file.

        Each takes its place in one step, the best first: whenever the process dies, the best checkpoint is at least as
        new as the last one says.
        """
        last, best = self.run.last_checkpoint, self.run.best_checkpoint
        new = last.with_name(".new.ckpt")
        trainer.save_checkpoint(new)  # all processes take part; one writes
        self._saved, self._save_agreed = time.perf_counter(), False
        if not self.run.writes:
            return
        if is_best:
            link = best.with_name(".best.ckpt")
            link.unlink(missing_ok=True)
            try:
                link.hardlink_to(new)
            except OSError:  # a file system without hard links
                shutil.copyfile(new, link)
            link.replace(best)
        new.replace(last)

    def _end_early(self, trainer: L.Trainer) -> None:
        self._update_summary(trainer)
        raise Interrupted(f"Interrupted and saved. To go on: resume={self.run.path}")

    @staticmethod
    def _is_last_epoch(trainer: L.Trainer) -> bool:
        return trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs

    def _epochs_done(self, trainer: L.Trainer) -> float:
        """Epochs up to now, when one ends; with a decimal where it was cut short."""
        share = (trainer.fit_loop.batch_idx + 1) / trainer.num_training_batches
        return len(self.rows) if share >= 1 else round(len(self.rows) - 1 + share, 1)

    def _update_summary(self, trainer: L.Trainer) -> None:
        best = self.best_row or {}
        self.run.update_summary(
            epochs=self.epochs,
            steps=trainer.global_step,
            train_seconds=round(self.seconds, 3),
            images_per_second=round(self.images / self.stepping_seconds, 1) if self.stepping_seconds else None,
            peak_memory_bytes=peak_memory_bytes(trainer.strategy.root_device),
            val_accuracy=best.get("val/accuracy"),
            val_loss=best.get("val/loss"),
            best_epoch=best.get("epoch"),
        )
