"""Measure networks on a few batches: short trainings, gradients by layer, activations, the loss in both modes."""

import copy
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from cnnlab.training.classifier import Classifier
from cnnlab.training.scheduling import Schedule

Batches = Sequence[tuple[Tensor, Tensor]]
MULTIPLICATIONS = 1e11  # of the forward passes of one short training: a few seconds of a processor core
FEWEST, MOST = 16, 60  # steps of a short training


@dataclass(frozen=True)
class Short:
    """Outcome of a short training; it stops at the first loss that is not finite."""

    losses: np.ndarray  # of each step, in training, float64 (steps,)
    rates: np.ndarray  # of the first parameter group, float64 (steps,)
    gradients: np.ndarray  # norm of the whole gradient in each step, before it is clipped, float64 (steps,)
    lost: float  # share of the updates that a number format of 16 bits rounds to nothing; 0 for 32 bits
    classifier: Classifier  # as it is afterwards

    @property
    def loss(self) -> float:
        """Mean loss of the last quarter of the steps; infinite if a loss was not finite."""
        if not np.isfinite(self.losses).all():
            return math.inf
        return float(self.losses[-max(1, len(self.losses) // 4) :].mean())


@dataclass(frozen=True)
class Layer:
    """Weights of a layer, filters or a matrix, and their gradient."""

    name: str  # of the weights, such as `features.0.weight`
    weight: float  # root of the mean square of the weights
    gradient: float  # the same of the gradient; 0 if there is none


@dataclass(frozen=True)
class Score:
    """Mean loss and accuracy on training images that are not augmented."""

    loss: float
    accuracy: float


def short_length(macs: int | None, batch_size: int) -> int:
    """Return the number of steps of a short training, from the multiplications of a network for one image."""
    return int(min(MOST, max(FEWEST, MULTIPLICATIONS / ((macs or 1e7) * batch_size))))


def train_shortly(
    classifier: Classifier,
    batches: Batches,
    precision: str,
    clip: float | None = None,
    lr: float = 1.0,
    decay: float = 1.0,
    warmup: bool = False,
    epochs: int = 1,
    constant: float | None = None,
) -> Short:
    """Train a copy of a network, with the whole schedule squeezed into one step for each batch.

    Args:
        classifier: the network, its optimizer, schedule and loss.
        batches: normalized images and labels of each step.
        precision: number format, as `trainer.precision`.
        clip: maximum norm of the gradient.
        lr, decay: factors on the learning rates and on the weight decay.
        warmup: whether the rate also rises linearly over the first third of the steps.
        epochs: number of epochs of the whole training, for schedules that move by epoch.
        constant: share of the peak rate to keep throughout, instead of the schedule.
    """
    trained = copy.deepcopy(classifier).train()
    dtype = torch.bfloat16 if precision == "bf16-true" else torch.float32
    if precision == "bf16-true":
        trained.network.to(dtype)
    small = [weight for weight in trained.network.parameters() if weight.dtype.itemsize < 4]
    optimizer = trained.make_optimizer(trained.optimizer, trained.network)
    for group in optimizer.param_groups:
        group["lr"] *= lr
        for name in ("weight_decay", "sgd_weight_decay"):
            if name in group:
                group[name] *= decay
    schedule = Schedule(trained.schedule, optimizer, len(batches), epochs, trained.schedule_interval)
    peaks = [group["lr"] for group in optimizer.param_groups] if constant is not None else []
    if constant is not None:
        peaks = [rate / (optimizer.param_groups[0]["lr"] or 1) * schedule.peak_lr * constant for rate in peaks]
    losses, norms, used, lost = [], [], [], []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for step, (images, labels) in enumerate(batches):
            rates = [group["lr"] for group in optimizer.param_groups]
            share = min(1.0, (step + 1) / (len(batches) / 3)) if warmup else 1.0
            for group, rate in zip(optimizer.param_groups, peaks or rates, strict=True):
                group["lr"] = rate * share
            used.append(optimizer.param_groups[0]["lr"])
            optimizer.zero_grad()
            with computing(precision):
                _, loss = trained.logits_and_loss(images.to(dtype), labels)
            losses.append(float(loss.detach()))
            if not math.isfinite(losses[-1]):
                norms.append(math.nan)
                break
            loss.backward()
            norms.append(float(nn.utils.clip_grad_norm_(trained.network.parameters(), clip or math.inf)))
            before = [weight.detach().clone() for weight in small]
            optimizer.step()
            pairs = [(w.grad != 0, w == old) for w, old in zip(small, before, strict=True) if w.grad is not None]
            if total := sum(int(moving.sum()) for moving, _ in pairs):
                lost.append(sum(int((moving & same).sum()) for moving, same in pairs) / total)
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate
            if not schedule.per_epoch or (step + 1) % max(1, len(batches) // max(1, epochs)) == 0:
                schedule.move(losses[-1] if schedule.watches else None)
    return Short(np.array(losses), np.array(used), np.array(norms), float(np.mean(lost or [0.0])), trained)


@contextmanager
def computing(precision: str) -> Iterator[None]:
    """Compute in a number format."""
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"):
        yield


@torch.no_grad()
def fit_first_weights(classifier: Classifier, images: Tensor) -> tuple[Classifier, list[float]]:
    """Scale the weights of a copy so that the outputs of every layer have a deviation of 1 (Mishkin and Matas 2016).

    Args:
        classifier: the network, before its first step.
        images: normalized images (N, C, H, W).

    Returns:
        The copy, and the deviation of the outputs of each layer as they were, first to last, each with inputs that are
        scaled already.
    """
    fitted, deviations = copy.deepcopy(classifier).train(), list[float]()

    def scale(layer: nn.Conv2d | nn.Linear, _: object, outputs: Tensor) -> Tensor:
        deviations.append(float(outputs.float().std()))
        size = deviations[-1] or 1.0
        for weight in layer.parameters():
            weight /= size
        return outputs / size

    layers = [layer for layer in fitted.network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    handles = [layer.register_forward_hook(scale) for layer in layers]
    fitted.network(images)
    for handle in handles:
        handle.remove()
    return fitted, deviations


def gradients(classifier: Classifier, batches: Batches) -> list[Layer]:
    """Return the layers of a network, first to last, with their gradients of the mean loss over some batches."""
    network = classifier.network
    kept = {name: value.clone() for name, value in network.state_dict().items()}
    classifier.train()
    network.zero_grad()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for images, labels in batches:
            (classifier.logits_and_loss(images, labels)[1] / len(batches)).backward()
    layers = [
        Layer(name, _size(weight), 0.0 if weight.grad is None else _size(weight.grad))
        for name, weight in network.named_parameters()
        if weight.ndim >= 2
    ]
    network.zero_grad()
    network.load_state_dict(kept)  # the statistics of norms as they were
    return layers


@torch.no_grad()
def score(network: nn.Module, batches: Batches, batch_statistics: bool = False) -> Score:
    """Score images in evaluation, or also with the statistics of each batch in place of the collected ones."""
    network = copy.deepcopy(network).eval()
    if batch_statistics:
        for module in network.modules():
            if isinstance(module, _NormBase):
                module.train()
    loss = correct = count = 0.0
    for images, labels in batches:
        logits = network(images).float()
        loss += float(nn.functional.cross_entropy(logits, labels, reduction="sum"))
        correct += float((logits.argmax(1) == labels).sum())
        count += len(labels)
    return Score(loss / count, correct / count)


def has_batch_norm(network: nn.Module) -> bool:
    """Return whether a network normalizes by the statistics of a batch."""
    return any(isinstance(module, _NormBase) for module in network.modules())


def has_norms(network: nn.Module) -> bool:
    """Return whether a network normalizes its values in any way."""
    return any(isinstance(module, _NormBase | nn.GroupNorm | nn.LayerNorm) for module in network.modules())


def _size(values: Tensor) -> float:
    return float(values.detach().float().square().mean().sqrt())
