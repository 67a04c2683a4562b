"""Define the LightningModule: its training step, its evaluation, and its metrics once per epoch."""

from collections.abc import Collection
from typing import Any

import lightning as L
import torch
from lightning.pytorch.plugins.precision import Precision
from lightning.pytorch.utilities import GradClipAlgorithmType
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer

from cnnlab.errors import RequestError
from cnnlab.limits import AboveZero, Positive
from cnnlab.training.class_counts import balanced_figures, count_classes
from cnnlab.training.compiled import CompiledStep
from cnnlab.training.duration import flexible_share, total_epochs, total_steps
from cnnlab.training.half_weights import half_weights, hand_over_gradients
from cnnlab.training.losses import all_logits
from cnnlab.training.optimizers import OptimizerFactory, build_optimizer, fused_on_gpu
from cnnlab.training.scheduling import Interval, Schedule, ScheduleFactory, check_schedule
from cnnlab.training.synced_norms import norms_are_synced
from cnnlab.training.totals import Totals
from cnnlab.training.tta import Tta, tta_logits

Batch = tuple[Tensor, Tensor]
AUXILIARY_WEIGHT = 0.3  # of the loss of an auxiliary classifier (Szegedy et al. 2014, "Going deeper with convolutions")


class Classifier(L.LightningModule):
    """Train a network to classify images.

    Logs `train/loss`, `train/accuracy`, `val/loss`, `val/accuracy`, `test/loss`, `test/accuracy` and `lr` once per
    epoch, of validation and test also `balanced_accuracy` and `macro_f1`. The training loss is the recipe's (with label
    smoothing, for example); validation and test report the plain cross-entropy. Accuracies are fractions. `lr` is the
    rate of the epoch's last step, of the first parameter group.

    Args:
        network: maps images (N, C, H, W) to logits (N, classes). In training it may return those of auxiliary
            classifiers too; see `cnnlab.training.losses.all_logits`. Their losses are added with a weight of 0.3.
        optimizer, decay_norms_and_biases, bias_lr_factor, layer_decay, head: see
            `cnnlab.training.optimizers.build_optimizer`.
        schedule, schedule_interval: see `cnnlab.training.scheduling.Schedule`.
        loss: maps logits (N, classes) and labels (N,) to a scalar. If training images are mixed, it must also accept
            probabilities (N, classes) as labels.
        tta: test-time augmentation, reported in addition to the plain accuracy; see `cnnlab.training.tta`.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: OptimizerFactory,
        schedule: ScheduleFactory,
        loss: nn.Module,
        decay_norms_and_biases: bool = True,
        bias_lr_factor: Positive = 1.0,
        tta: Tta = "none",
        schedule_interval: Interval | None = None,
        layer_decay: AboveZero | None = None,
        head: Collection[str] = (),
    ):
        super().__init__()
        self.network = network
        self.optimizer = optimizer
        self.schedule = schedule
        self.loss = loss
        self.decay_norms_and_biases = decay_norms_and_biases
        self.bias_lr_factor = bias_lr_factor
        self.layer_decay, self.head = layer_decay, head
        self.tta: Tta = tta
        self.schedule_interval: Interval | None = schedule_interval
        self._lr: float | None = None  # of the last step
        self._half_weights: list[nn.Parameter] = []
        self.compiled_step: CompiledStep | None = None
        self._validation: dict[str, float] = {}  # figures of this epoch
        self._is_logged = False
        self.train_totals, self.eval_totals, self.tta_totals = Totals(), Totals(), Totals()
        self.eval_counts = torch.tensor(0)  # see `count_classes`; 0 before the first image
        self.test_outputs: list[Batch] = []
        self._checkpoint_state: dict[str, Any] | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        # Lightning sets the name of the current hook some 40 times per step. Torch's way of setting an attribute made
        # that a seventh of Lightning's cost (60 us per step).
        if name == "_current_fx_name":
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def forward(self, images: Tensor) -> Tensor:
        """Map normalized images (N, C, H, W) to logits (N, classes)."""
        return self.network(images)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Create the optimizer, and the schedule over the whole training.

        Raises:
            RequestError: if the optimizer or the schedule does not fit the training.
        """
        factory = fused_on_gpu(self.optimizer, self.device, str(self.trainer.precision), self.trainer.gradient_clip_val)
        optimizer, self._half_weights = self.make_optimizer(factory, self.network), half_weights(self.network)
        plan = (self.schedule, optimizer, total_steps(self.trainer), total_epochs(self.trainer), self.schedule_interval)
        check_schedule(*plan)
        schedule = Schedule(*plan)
        if (figure := schedule.watches) and not self.trainer.limit_val_batches:
            raise RequestError(f"schedule: the scheduler watches {figure}, but trainer.limit_val_batches is 0")
        # Lightning calls `lr_scheduler_step` after every step; the schedule itself knows whether it moves.
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}  # pyright: ignore

    def make_optimizer(self, factory: OptimizerFactory, network: nn.Module) -> Optimizer:
        """Create the optimizer of a network that has the weights of this one."""
        rates = (self.decay_norms_and_biases, self.bias_lr_factor, self.layer_decay, self.head)
        return build_optimizer(factory, network, *rates)

    @property
    def schedules(self) -> list[Schedule]:
        """Return the schedule of the training in a list, which is empty if a callback has put its own in its place."""
        schedulers: list[Any] = [config.scheduler for config in self.trainer.lr_scheduler_configs]
        return [scheduler for scheduler in schedulers if isinstance(scheduler, Schedule)]

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Let the schedule, or the scheduler that a callback has put in its place, follow a step."""
        if isinstance(scheduler, Schedule):
            scheduler.after_step(flexible_share(self.trainer))
        else:
            super().lr_scheduler_step(scheduler, metric)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Remember the learning rate of this step, and give masters of weights their gradients."""
        if self._half_weights:
            hand_over_gradients(self._half_weights)
        self._lr = optimizer.param_groups[0]["lr"]

    @property
    def _scaler(self) -> Any:
        """Scaler of gradients of 16-mixed, which skips steps that overflow; None for other number formats."""
        return getattr(self.trainer.precision_plugin, "scaler", None)

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip gradients, also for fused optimizers unless the precision scales gradients (16-mixed).

        Lightning refuses fused optimizers for every mixed precision: they undo the scaling of gradients only after
        clipping. With bf16-mixed, gradients are not scaled.
        """
        if gradient_clip_val and self._scaler is None:
            algorithm = GradClipAlgorithmType(gradient_clip_algorithm or "norm")
            Precision.clip_gradients(self.trainer.precision_plugin, optimizer, gradient_clip_val, algorithm)
        else:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def on_train_start(self) -> None:
        """Restore the loader and random generators of a resumed run, and give every process its own seed.

        Lightning restores only loaders that are created after it reads the checkpoint. Here the loader exists before:
        the schedule needs it to count the steps.
        """
        rank = self.trainer.global_rank
        if rank:
            torch.manual_seed(torch.initial_seed() + rank)
        if self._checkpoint_state is not None:
            self.trainer.train_dataloader.load_state_dict(self._checkpoint_state["loader"])  # pyright: ignore
            states = self._checkpoint_state["random_states"]
            if rank < len(states):
                _set_random_state(states[rank])
            self._checkpoint_state = None

    def on_train_epoch_start(self) -> None:
        """Reset the totals. Lightning does not call this if a run resumes within an epoch."""
        self.train_totals = Totals()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of a batch, or of this process's share of it."""
        images, labels = batch
        if not len(labels):
            return self._loss_without_images(images)
        compiled = self.compiled_step if self.compiled_step and len(labels) == self.compiled_step.size else None
        logits, loss = (compiled or self.logits_and_loss)(images, labels)
        self.train_totals.add(loss, logits, labels, may_overflow=self._scaler is not None)
        if self.trainer.world_size > 1:  # processes average their gradients: weight by this share of the images
            batch_images = self.trainer.train_dataloader.batch_images  # pyright: ignore
            loss = loss * (len(labels) * self.trainer.world_size / batch_images)
        return loss

    def logits_and_loss(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the network's logits (N, classes) in training, and their loss with that of auxiliary classifiers."""
        logits, *auxiliary = all_logits(self.network(images))
        loss = self.loss(logits.float(), labels)
        for more in auxiliary:
            loss = loss + AUXILIARY_WEIGHT * self.loss(more.float(), labels)
        return logits, loss

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Compute the gradients of the weights, unless the compiled step has done so."""
        if self.compiled_step is None or not self.compiled_step.give_gradients():
            super().backward(loss, *args, **kwargs)

    def log_epoch(self) -> None:
        """Log the means of the epoch and the learning rate.

        Lightning calls `on_train_epoch_end` of callbacks first. `Progress`, the first of them, calls this, so that the
        others find the figures.
        """
        self._log_means("train", self.train_totals)
        self.log("lr", self.trainer.optimizers[0].param_groups[0]["lr"] if self._lr is None else self._lr)
        self._is_logged = True

    def on_train_epoch_end(self) -> None:
        """Log the epoch, unless that is done, and let a schedule by epochs move."""
        if not self._is_logged:
            self.log_epoch()
        self._is_logged = False
        for schedule in self.schedules:
            schedule.after_epoch(self._validation, flexible_share(self.trainer))
        self._validation = {}

    def sum_over_processes(self, totals: Totals) -> Totals:
        """Return the totals of all processes together. Every process must call this at the same point."""
        if self.trainer.world_size == 1:
            return totals
        sums = torch.tensor([float(value) for value in vars(totals).values()], dtype=torch.float64)
        loss, correct, *images = self.trainer.strategy.reduce(sums.to(self.device), reduce_op="sum").tolist()
        return Totals(loss, correct, *map(round, images))

    def on_validation_epoch_start(self) -> None:
        """Reset the totals."""
        self.eval_totals, self.eval_counts = Totals(), torch.tensor(0)

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Add a batch to the totals; return its logits (N, classes) for callbacks."""
        images, labels = batch
        if not len(labels):
            return images.new_empty(0, 0)
        logits = self.network(images)
        self.eval_totals.add(nn.functional.cross_entropy(logits.float(), labels), logits, labels)
        self.eval_counts = self.eval_counts + count_classes(logits, labels)
        return logits

    def on_validation_epoch_end(self) -> None:
        """Log the means over the validation images."""
        figures = self._log_means("val", self.eval_totals) | self._log_balanced("val")
        if not self.trainer.sanity_checking:
            self._validation = figures

    def on_test_epoch_start(self) -> None:
        """Reset totals and outputs."""
        self.eval_totals, self.tta_totals, self.eval_counts = Totals(), Totals(), torch.tensor(0)
        self.test_outputs = []

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Add a batch to the totals and keep its logits; repeat with test-time augmentation, if asked for."""
        images, labels = batch
        logits = self.validation_step(batch, batch_idx)
        self.test_outputs.append((logits.float().cpu(), labels.cpu()))
        if self.tta != "none" and len(labels):
            logits = tta_logits(self.network, images, self.tta).float()
            self.tta_totals.add(nn.functional.cross_entropy(logits, labels), logits, labels)

    def on_test_epoch_end(self) -> None:
        """Log the means over the test images, and gather all outputs in the first process, in the data's order."""
        self._log_means("test", self.eval_totals)
        self._log_balanced("test")
        if self.tta != "none":
            self._log_means("test_tta", self.tta_totals)
        if self.trainer.world_size > 1:
            shares = _gather_in_first_process(self.test_outputs)
            self.test_outputs = [part for batch in zip(*shares, strict=True) for part in batch if len(part[1])]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what an exact resume needs besides weights: totals, position in the epoch, random states."""
        checkpoint["train_totals"] = dict(vars(self.sum_over_processes(self.train_totals)))
        checkpoint["loader"] = self.trainer.train_dataloader.state_dict()  # pyright: ignore
        states, shares = [_random_state(self.device)], []
        if self.trainer.world_size > 1:  # totals that are summed in another order are rounded differently
            shares = [{name: torch.as_tensor(value).item() for name, value in vars(self.train_totals).items()}]
            states, shares = (sum(_gather_in_first_process(own), []) for own in (states, shares))
        checkpoint["random_states"], checkpoint["shares_of_totals"] = states, shares

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Read what `on_save_checkpoint` added."""
        if len(shares := checkpoint.get("shares_of_totals", [])) == self.trainer.world_size > 1:
            self.train_totals = Totals(**shares[self.trainer.global_rank])
        elif self.trainer.is_global_zero:
            self.train_totals = Totals(**checkpoint["train_totals"])
        self._checkpoint_state = {key: checkpoint[key] for key in ("loader", "random_states")}

    def _loss_without_images(self, images: Tensor) -> Tensor:
        """Return a loss of zero with gradients: other processes wait for them even if this one has no images."""
        if norms_are_synced(self.network):  # these wait for its sums, too
            return self.network(images).sum()
        return torch.stack([parameter.sum() for parameter in self.network.parameters()]).sum() * 0

    def _log_means(self, split: str, totals: Totals) -> dict[str, float]:
        loss, accuracy = self.sum_over_processes(totals).means()
        figures = {f"{split}/loss": loss, f"{split}/accuracy": accuracy}
        self.log_dict(figures)
        return figures

    def _log_balanced(self, split: str) -> dict[str, float]:
        """Log the figures of all classes alike. A process without images does not know how many classes there are."""
        shares = [self.eval_counts.cpu()] * self.trainer.world_size
        if len(shares) > 1:
            torch.distributed.all_gather_object(shares, shares[0])
        accuracy, f1 = balanced_figures(sum(shares, torch.tensor(0)))
        figures = {f"{split}/balanced_accuracy": accuracy, f"{split}/macro_f1": f1}
        self.log_dict(figures)
        return figures


def _gather_in_first_process(values: list[Any]) -> list[list[Any]]:
    """Return the values of every process, in rank order; in processes other than the first, an empty list."""
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
