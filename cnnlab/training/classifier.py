"""The LightningModule: one training step, and figures once an epoch."""

from collections.abc import Callable
from typing import Any

import lightning as L
import torch
from lightning.pytorch.plugins.precision import Precision
from lightning.pytorch.utilities import GradClipAlgorithmType
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from cnnlab.training.duration import total_steps
from cnnlab.training.optimizers import OptimizerFactory, build_optimizer, fused_on_gpu
from cnnlab.training.synced_norms import norms_are_synced
from cnnlab.training.tta import Tta, tta_logits

Batch = tuple[Tensor, Tensor]
ScheduleFactory = Callable[[Optimizer, int], LRScheduler]


class Totals:
    """Sums of loss and of correct answers, kept in tensors so that adding to them never waits for a GPU."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Starts anew."""
        self.loss: Tensor | float = 0.0
        self.correct: Tensor | int = 0
        self.images = 0

    def add(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Adds a batch of at least one image: its mean loss, logits (N, classes) and labels (N,), or probabilities of
        labels (N, classes).

        Where images are mixed, the class that has the largest share is the correct answer.
        """
        if labels.ndim == 2:
            labels = labels.argmax(1)
        self.loss = self.loss + loss.detach() * len(labels)
        self.correct = self.correct + (logits.detach().argmax(1) == labels).sum()
        self.images += len(labels)

    def state_dict(self) -> dict[str, Any]:
        """The sums so far."""
        return {"loss": self.loss, "correct": self.correct, "images": self.images}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from the sums of a checkpoint."""
        self.loss, self.correct, self.images = state["loss"], state["correct"], state["images"]

    def means(self) -> tuple[float, float]:
        """Mean loss and accuracy of an image so far; this waits for the device."""
        return float(self.loss) / max(1, self.images), float(self.correct) / max(1, self.images)


class Classifier(L.LightningModule):
    """Trains a network to name what images show.

    Logs `train/loss`, `train/accuracy`, `val/loss`, `val/accuracy`, `test/loss`, `test/accuracy` and `lr`, once an
    epoch. The training loss is the recipe's own (with label smoothing, if any); validation and test report the plain
    cross-entropy. Accuracies are fractions.

    Args:
        network: images (N, C, H, W) to logits (N, classes).
        optimizer: makes the optimizer from parameter groups, such as `partial(torch.optim.SGD, lr=0.1)`.
        schedule: makes the learning-rate schedule from the optimizer and the number of steps.
        loss: of logits (N, classes) and labels (N,) a scalar; of probabilities (N, classes) too, where the training
            images are mixed.
        decay_norms_and_biases: see `cnnlab.training.optimizers.parameter_groups`.
        bias_lr_factor: see `cnnlab.training.optimizers.build_optimizer`.
        tta: test-time augmentation whose accuracy is reported beside the plain one, see `cnnlab.training.tta`.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: OptimizerFactory,
        schedule: ScheduleFactory,
        loss: nn.Module,
        decay_norms_and_biases: bool = True,
        bias_lr_factor: float = 1.0,
        tta: Tta = "none",
    ):
        super().__init__()
        self.network = network
        self.optimizer = optimizer
        self.schedule = schedule
        self.loss = loss
        self.decay_norms_and_biases = decay_norms_and_biases
        self.bias_lr_factor = bias_lr_factor
        self.tta: Tta = tta
        self.train_totals, self.eval_totals, self.tta_totals = Totals(), Totals(), Totals()
        self.test_outputs: list[Batch] = []
        self._resumed: dict[str, Any] | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        # Lightning notes the hook under way some 40 times a step; torch's way of setting an attribute made that a
        # seventh of what Lightning costs (60 us a step).
        if name == "_current_fx_name":
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of normalized images (N, C, H, W)."""
        return self.network(images)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer, and the schedule over all steps of the training."""
        make = fused_on_gpu(self.optimizer, self.device, str(self.trainer.precision))
        optimizer = build_optimizer(make, self.network, self.decay_norms_and_biases, self.bias_lr_factor)
        schedule = self.schedule(optimizer, total_steps(self.trainer))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clips as Lightning does, and fused optimizers too, unless the precision scales gradients (16-mixed).

        Lightning refuses them under every mixed precision, because with scaled gradients they would undo the scaling
        only after the clipping. With bf16-mixed nothing is scaled.
        """
        plugin = self.trainer.precision_plugin
        if gradient_clip_val and getattr(plugin, "scaler", None) is None:
            Precision.clip_gradients(
                plugin, optimizer, gradient_clip_val, GradClipAlgorithmType(gradient_clip_algorithm or "norm")
            )
        else:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def on_train_start(self) -> None:
        """Puts the loader and the random number generators where a resumed run left them.

        Lightning restores a loader only if it is made after the checkpoint was read; the schedule, which must know the
        number of steps, has it made before. Of several processes each has random numbers of its own.
        """
        rank = self.trainer.global_rank
        if rank:
            torch.manual_seed(torch.initial_seed() + rank)
        if self._resumed is not None:
            self.trainer.train_dataloader.load_state_dict(self._resumed["loader"])  # pyright: ignore
            states = self._resumed["random_states"]
            if rank < len(states):
                _set_random_state(states[rank])
            self._resumed = None

    def on_train_epoch_start(self) -> None:
        """A new epoch has new totals. Not called when a run goes on within an epoch."""
        self.train_totals.clear()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of a batch; of several processes, of this one's share of it."""
        images, labels = batch
        if not len(labels):
            return self._loss_of_nothing(images)
        logits = self.network(images)
        loss = self.loss(logits, labels)
        self.train_totals.add(loss, logits, labels)
        return loss if self.trainer.world_size == 1 else loss * self._weight(len(labels))

    def on_train_epoch_end(self) -> None:
        """Logs the epoch's means."""
        self._log_totals("train", self.train_totals)
        self.log("lr", self.trainer.optimizers[0].param_groups[0]["lr"])

    def everywhere(self, totals: Totals) -> Totals:
        """The totals of all processes together; every process must ask."""
        if self.trainer.world_size == 1:
            return totals
        sums = torch.tensor([float(value) for value in totals.state_dict().values()], dtype=torch.float64)
        loss, correct, images = self.trainer.strategy.reduce(sums.to(self.device), reduce_op="sum").tolist()
        together = Totals()
        together.load_state_dict({"loss": loss, "correct": correct, "images": round(images)})
        return together

    def on_validation_epoch_start(self) -> None:
        """New totals."""
        self.eval_totals.clear()

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Adds a batch to the totals; returns its logits (N, classes), for callbacks to look at."""
        return self._evaluate(batch)

    def on_validation_epoch_end(self) -> None:
        """Logs the means over the validation images."""
        self._log_totals("val", self.eval_totals)

    def on_test_epoch_start(self) -> None:
        """New totals and outputs."""
        self.eval_totals.clear()
        self.tta_totals.clear()
        self.test_outputs.clear()

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Adds a batch to the totals and keeps its logits; again with test-time augmentation, if there is any."""
        logits = self._evaluate(batch)
        self.test_outputs.append((logits.float().cpu(), batch[1].cpu()))
        images, labels = batch
        if self.tta != "none" and len(labels):
            logits = tta_logits(self.network, images, self.tta).float()
            self.tta_totals.add(nn.functional.cross_entropy(logits, labels), logits, labels)

    def on_test_epoch_end(self) -> None:
        """Logs the means over the test images, and brings all processes' outputs to the first, in the data's order."""
        self._log_totals("test", self.eval_totals)
        if self.tta != "none":
            self._log_totals("test_tta", self.tta_totals)
        if self.trainer.world_size > 1:
            shares = _gathered(self.test_outputs)
            self.test_outputs = [part for batch in zip(*shares, strict=True) for part in batch if len(part[1])]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds what an exact continuation needs beyond weights: the epoch's totals, the place in it, random states."""
        checkpoint["train_totals"] = self.everywhere(self.train_totals).state_dict()
        checkpoint["loader"] = self.trainer.train_dataloader.state_dict()  # pyright: ignore
        states = [_random_state(self.device)]
        checkpoint["random_states"] = states if self.trainer.world_size == 1 else sum(_gathered(states), [])

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes back what `on_save_checkpoint` added."""
        if self.trainer.is_global_zero:
            self.train_totals.load_state_dict(checkpoint["train_totals"])
        self._resumed = {key: checkpoint[key] for key in ("loader", "random_states")}

    def _evaluate(self, batch: Batch) -> Tensor:
        images, labels = batch
        if not len(labels):
            return images.new_empty(0, 0)
        logits = self.network(images)
        self.eval_totals.add(nn.functional.cross_entropy(logits.float(), labels), logits, labels)
        return logits

    def _weight(self, images: int) -> float:
        """Of a share's mean loss: the mean over the processes, which is what they step with, must be the batch's."""
        return images * self.trainer.world_size / self.trainer.train_dataloader.batch_images  # pyright: ignore

    def _loss_of_nothing(self, images: Tensor) -> Tensor:
        """Zero, for a share without an image (of the last batch): the others wait for this process's gradients."""
        if norms_are_synced(self.network):  # and for its sums
            return self.network(images).sum()
        return torch.stack([parameter.sum() for parameter in self.network.parameters()]).sum() * 0

    def _log_totals(self, split: str, totals: Totals) -> None:
        """Means over the images of all processes."""
        loss, accuracy = self.everywhere(totals).means()
        self.log_dict({f"{split}/loss": loss, f"{split}/accuracy": accuracy})


def _gathered(values: list[Any]) -> list[list[Any]]:
    """The values of every process, in the order of their ranks, in the first process; no values in the others."""
    leads = torch.distributed.get_rank() == 0
    shares: list[Any] | None = [None] * torch.distributed.get_world_size() if leads else None
    torch.distributed.gather_object(values, shares)
    return shares or []


def _random_state(device: torch.device) -> dict[str, Tensor]:
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def _set_random_state(state: dict[str, Tensor]) -> None:
    torch.set_rng_state(state["cpu"].cpu())
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"].cpu())
