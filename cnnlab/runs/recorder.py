"""Write the run directory during a training."""

import csv
import io
import math
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Literal

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping

from cnnlab.errors import Diverged, Interrupted
from cnnlab.files import write_atomically
from cnnlab.limits import NotNegative
from cnnlab.runs.directory import COLUMNS, METRICS, MORE_METRICS, RunDirectory
from cnnlab.runs.environment import device_name, peak_memory_bytes
from cnnlab.runs.saving import Checkpoints
from cnnlab.runs.summary import SUMMARY_KEYS

Selection = Literal["val/accuracy", "val/balanced_accuracy", "val/macro_f1", "val/loss"]


# Seconds between savings within an epoch that takes longer, if `checkpoint_every` is less.
WITHIN_EPOCH = 30.0


class Recorder(Checkpoint):
    """Updates metrics.csv after every epoch, and summary.json and the checkpoints by time, at the end or when stopped.

    One callback writes all files, so that they agree: the record tells as much as last.ckpt. metrics.csv may be ahead;
    a checkpoint holds the rows so far, and a resumed run rewrites the file from them. Lightning calls a `Checkpoint`
    last, when the figures of the epoch are known.

    Args:
        run: run directory.
        about: plain values added to every checkpoint under `cnnlab`; `predict` needs them beside the weights.
        stop_requested: called after every step; True if the run should save and end.
        select: figure that chooses the best epoch; of equals, the lower val/loss does, and then the earlier epoch.
        checkpoint_every: seconds between savings at least; 0 saves after every epoch.
    """

    def __init__(
        self,
        run: RunDirectory,
        about: dict[str, Any],
        stop_requested: Callable[[], bool],
        select: Selection = "val/accuracy",
        checkpoint_every: NotNegative = 30.0,
    ):
        self.run = run
        self.about = about
        self.stop_requested = stop_requested
        self.select = select
        self.checkpoint_every = checkpoint_every
        self.checkpoints = Checkpoints(run)
        self._kept: dict[str, Any] = {}  # figures of the state that the checkpoints keep in memory
        self.rows: list[dict[str, Any]] = []
        self.best_row: dict[str, Any] | None = None
        self.epochs: float = 0
        self.seconds_before = 0.0  # of the run before it was resumed
        # Without validation, saving, and the first step, in which libraries are loaded and kernels chosen or compiled.
        self.stepping_seconds = 0.0
        self.images = 0  # trained on in that time
        self.first_step_seconds: float | None = None
        self._before = (0.0, 0.0, 0)  # seconds, stepping seconds and images at the start of the epoch
        self._started: float | None = None
        self._stepping_since: float | None = None
        self._validated = False
        # Agreement of several processes; see _stop_and_save.
        self._steps = self._asked_step = self._next_question = 0
        self._asked = 0.0
        self._stop_agreed = self._save_agreed = False

    @property
    def seconds(self) -> float:
        """Training time so far, with that before the run was resumed."""
        return self.seconds_before + (time.perf_counter() - self._started if self._started is not None else 0.0)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock, write the rows of a resumed run to metrics.csv, and record learning rate and device."""
        self.run.begin()
        trainer.strategy.checkpoint_io = self.checkpoints
        if self.run.writes:
            self.run.last_checkpoint.parent.mkdir(parents=True, exist_ok=True)
            self._write_metrics()
            for file in (self.run.predictions_file, self.run.held_out_file):
                file.unlink(missing_ok=True)
        # The test results of a completed run that is made longer are of other weights.
        stale = dict.fromkeys(name for name in SUMMARY_KEYS if name.startswith("test_"))
        # Not earlier: Lightning has just given this process its share of the threads.
        device = device_name(trainer.strategy.root_device)
        self.run.update_summary(
            lr=next((schedule.peak_lr for schedule in getattr(pl_module, "schedules", [])), None),
            device=device if trainer.world_size == 1 else f"{trainer.world_size} x {device}",
            **stale,
        )
        self._started = self._saved = time.perf_counter()
        self._stepping_since = self._started
        self._before = (self.seconds, self.stepping_seconds, self.images)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock of the steps."""
        self._stepping_since = time.perf_counter()
        self._validated = False
        self._before = (self.seconds, self.stepping_seconds, self.images)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count images, and save within the epoch if the run is stopped or a long time has passed."""
        self._steps += 1
        if self._steps == 1:
            self._take_out_first_step(trainer)
        else:
            self.images += trainer.train_dataloader.batch_images  # pyright: ignore
        stop, save = self._stop_and_save(trainer, max(self.checkpoint_every, WITHIN_EPOCH))
        if not stop and not save:
            return
        # The last step of an epoch is saved with the epoch. Accumulated gradients cannot be saved.
        epoch_ends = trainer.should_stop or batch_idx + 1 >= trainer.num_training_batches
        if epoch_ends or (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        self._stop_stepping(trainer)
        self._save(trainer)
        self._stepping_since = time.perf_counter()
        if stop:
            self._end_early()

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop the clock of the steps."""
        self._stop_stepping(trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note that this epoch has validation figures."""
        self._validated = not trainer.sanity_checking
        if trainer.state.fn == "fit" and self._validated:  # more steps may follow in this epoch
            self._stepping_since = time.perf_counter()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the row of the epoch, and checkpoints and record if they are due."""
        self._stop_stepping(trainer)
        figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
        known = [name for name in (*METRICS, *MORE_METRICS) if self._validated or name.startswith("train")]
        metrics = dict.fromkeys((*METRICS, *MORE_METRICS)) | {name: figures.get(name) for name in known}
        row = {"epoch": trainer.current_epoch + 1, "step": trainer.global_step, "seconds": round(self.seconds, 3)}
        row |= {"lr": figures["lr"], **metrics}
        self.rows.append(row)
        self.epochs = self._epochs_done(trainer)
        if self.run.writes:
            self._write_metrics()
        self._check_losses(trainer, row)
        # All processes take part in what follows, so one decides.
        is_best = trainer.strategy.broadcast(self._is_better(row))
        if is_best:
            self.best_row = row
        self._next_question = self._steps
        stop, save = self._stop_and_save(trainer, self.checkpoint_every)
        is_last = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        if stop or save or is_last:
            self._save(trainer, is_best)
        elif is_best:
            self.checkpoints.keep(trainer)
            self._kept = self._figures(trainer)
        self._log_speed(pl_module)
        if stop and not is_last:
            # Lightning would log the epoch after this; it has logged the validation already.
            done = {name: float(value) for name, value in trainer.callback_metrics.items() if name[:4] != "val/"}
            for logger in trainer.loggers:
                logger.log_metrics({**done, "epoch": trainer.current_epoch}, trainer.global_step)
            self._end_early()

    def _check_losses(self, trainer: L.Trainer, row: dict[str, Any]) -> None:
        """Raise Diverged if a loss of the epoch is not finite. The checkpoints stay those of earlier epochs."""
        losses = {name: row[name] for name in ("train/loss", "val/loss") if row[name] is not None}
        if wrong := [f"{name} is {loss}" for name, loss in losses.items() if not math.isfinite(loss)]:
            self._rescue()
            self.run.update_summary(**self._figures(trainer))
            raise Diverged(f"the loss is not finite in epoch {row['epoch']} ({', '.join(wrong)})")

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the final figures of the training."""
        self.run.update_summary(**self._figures(trainer))

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Save the best epoch if it is kept in memory. The first error tells more than one of saving."""
        with suppress(Exception):
            self._rescue()

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add values to the checkpoint with which the network can be used without its run directory."""
        checkpoint["cnnlab"] = self.about

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Bring the record up to the last checkpoint if the run was killed between the two, and all epochs are done."""
        if self._started is None and self.rows:
            self.run.update_summary(**self._figures(trainer))

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep the patience that is asked for now, and train no further where early stopping had ended the training."""
        for callback in trainer.callbacks:  # pyright: ignore[reportAttributeAccessIssue]
            state = checkpoint["callbacks"].get(callback.state_key)
            if isinstance(callback, EarlyStopping) and state:
                state["patience"] = callback.patience
                is_complete = (self.run.read_summary() or {}).get("status") == "completed"  # it is made longer
                trainer.should_stop |= state["wait_count"] >= callback.patience and not is_complete

    def state_dict(self) -> dict[str, Any]:
        """Return the state that a resumed run continues from."""
        names = ("rows", "best_row", "epochs", "seconds", "stepping_seconds", "images")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state of a checkpoint."""
        # If the run continues in another directory, the best weights so far are left behind.
        self.rows, self.best_row = state_dict["rows"], state_dict["best_row"]
        if not self.run.best_checkpoint.exists():
            self.best_row = None
        self.epochs, self.seconds_before = state_dict["epochs"], state_dict["seconds"]
        self.stepping_seconds, self.images = state_dict["stepping_seconds"], state_dict["images"]

    def _stop_and_save(self, trainer: L.Trainer, interval: float) -> tuple[bool, bool]:
        """Return whether the run should save and end, and whether the last saving was so many seconds ago.

        Several processes must agree after the same step, whichever of them has received a signal. They ask each other
        about once a second; more often would slow small networks down.
        """
        stop, save = self.stop_requested(), time.perf_counter() - self._saved >= interval
        if trainer.world_size == 1:
            return stop, save
        if self._steps >= self._next_question and not self._stop_agreed:
            now = time.perf_counter()
            pace = (self._steps - self._asked_step) / max(now - self._asked, 1e-9)  # steps per second
            votes = torch.tensor([stop, save, pace], dtype=torch.float64)
            if not trainer.is_global_zero:
                votes[1:] = 0  # the clock of the leader counts
            votes = trainer.strategy.reduce(votes.to(trainer.strategy.root_device, torch.float32), reduce_op="sum")
            self._stop_agreed, self._save_agreed = bool(votes[0] > 0), bool(votes[1] > 0)
            self._next_question = self._steps + max(1, round(float(votes[2])))
            self._asked, self._asked_step = now, self._steps
        return self._stop_agreed, self._save_agreed

    def _stop_stepping(self, trainer: L.Trainer) -> None:
        if self._stepping_since is None:
            return
        device = trainer.strategy.root_device
        if device.type == "cuda":
            torch.cuda.synchronize(device)  # the steps are only queued
        self.stepping_seconds += time.perf_counter() - self._stepping_since
        self._stepping_since = None

    def _take_out_first_step(self, trainer: L.Trainer) -> None:
        """Measure the first step apart from the others: their rate and memory are those of a long training."""
        before = self.stepping_seconds
        self._stop_stepping(trainer)
        self.first_step_seconds, self.stepping_seconds = self.stepping_seconds - before, before
        self._stepping_since = time.perf_counter()
        if trainer.strategy.root_device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(trainer.strategy.root_device)  # the search for kernels takes more

    def _log_speed(self, pl_module: L.LightningModule) -> None:
        """Log the speed of the epoch; after resuming within an epoch, of the rest of it."""
        seconds, stepping, images = self._before
        pl_module.log("speed/images_per_second", (self.images - images) / max(1e-9, self.stepping_seconds - stepping))
        pl_module.log("speed/epoch_seconds", self.seconds - seconds)  # with validation and saving

    def _write_metrics(self) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS)
        writer.writeheader()
        writer.writerows(self.rows)
        write_atomically(self.run.metrics_file, text.getvalue())

    def _is_better(self, row: dict[str, Any]) -> bool:
        """Compare the figure that selects, then the loss. Without validation the latest epoch is the best."""
        best = self.best_row
        if best is None or best[self.select] is None:
            return True
        if row[self.select] is None:
            return False
        if self.select == "val/loss":
            return row["val/loss"] < best["val/loss"]
        return (row[self.select], -row["val/loss"]) > (best[self.select], -best["val/loss"])

    def _save(self, trainer: L.Trainer, is_best: bool = False) -> None:
        """Write the checkpoints and then the record."""
        self.checkpoints.save(trainer, is_best)
        self._saved, self._save_agreed = time.perf_counter(), False
        self.run.update_summary(**self._figures(trainer))

    def _rescue(self) -> None:
        if self.checkpoints.rescue():
            self.run.update_summary(**self._kept)

    def _end_early(self) -> None:
        raise Interrupted(f"Interrupted and saved. To continue: resume={self.run.path}")

    def _epochs_done(self, trainer: L.Trainer) -> float:
        """Return the number of epochs when one ends; with a decimal if it was cut short."""
        share = (trainer.fit_loop.batch_idx + 1) / trainer.num_training_batches
        return len(self.rows) if share >= 1 else round(len(self.rows) - 1 + share, 1)

    def _figures(self, trainer: L.Trainer) -> dict[str, Any]:
        """Return what the record says about the training so far."""
        best = self.best_row or {}
        return {
            "epochs": self.epochs,
            "steps": trainer.global_step,
            "plan": next((c.plan for c in trainer.callbacks if getattr(c, "stretches", False)), None),  # pyright: ignore
            "train_seconds": round(self.seconds, 3),
            "first_step_seconds": self.first_step_seconds and round(self.first_step_seconds, 3),
            "images_per_second": round(self.images / self.stepping_seconds, 1) if self.stepping_seconds else None,
            "peak_memory_bytes": peak_memory_bytes(trainer.strategy.root_device),
            "val_accuracy": best.get("val/accuracy"),
            "val_loss": best.get("val/loss"),
            "val_balanced_accuracy": best.get("val/balanced_accuracy"),
            "val_macro_f1": best.get("val/macro_f1"),
            "best_epoch": best.get("epoch"),
        }
