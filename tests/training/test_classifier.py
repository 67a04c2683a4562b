import functools
import math

import lightning as L
import pytest
import torch
from torch import Tensor, nn

from cnnlab.training.classifier import Classifier, Totals
from cnnlab.training.schedules import constant


class Batches:
    """Yield two batches, of three images and of one, with a state as the real loader has."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        images = torch.randn(4, 3, 2, 2, generator=generator)
        labels = torch.tensor([0, 1, 1, 0])
        self.batches = [(images[:3], labels[:3]), (images[3:], labels[3:])]

    def __len__(self) -> int:
        return 2

    def __iter__(self):
        return iter(self.batches)

    def state_dict(self) -> dict:
        return {}

    def load_state_dict(self, state: dict) -> None:
        pass


def classifier(label_smoothing: float = 0.0, lr: float = 0.0) -> Classifier:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    optimizer = functools.partial(torch.optim.SGD, lr=lr)
    return Classifier(network, optimizer, constant, nn.CrossEntropyLoss(label_smoothing=label_smoothing))


def fit(module: Classifier, epochs: int = 1) -> dict[str, float]:
    trainer = L.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, Batches(), Batches())
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


def whole_set(module: Classifier) -> tuple[Tensor, Tensor]:
    images, labels = (torch.cat(parts) for parts in zip(*Batches().batches, strict=True))
    return module(images), labels


def test_metrics_are_means_over_images_not_over_batches():
    module = classifier(label_smoothing=0.2)
    figures = fit(module)
    with torch.no_grad():
        logits, labels = whole_set(module)
    assert figures["train/loss"] == pytest.approx(float(module.loss(logits, labels)), abs=1e-6)
    # Validation reports the plain cross-entropy, to be comparable between recipes.
    assert figures["val/loss"] == pytest.approx(float(nn.functional.cross_entropy(logits, labels)), abs=1e-6)
    right = float((logits.argmax(1) == labels).float().mean())
    assert figures["train/accuracy"] == figures["val/accuracy"] == right
    assert figures["lr"] == 0


def test_metrics_are_reset_every_epoch():
    module = classifier(lr=0.5)
    first, later = fit(module)["train/loss"], fit(module, epochs=3)["train/loss"]
    assert later < first
    assert module.train_totals.images == 4


def test_totals_continue_from_a_checkpoint():
    logits, labels = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0])
    whole, first = Totals(), Totals()
    for totals in (whole, first):
        totals.add(torch.tensor(0.5), logits, labels)
    second = Totals(**vars(first))
    for totals in (whole, second):
        totals.add(torch.tensor(1.5), logits, labels)
    assert whole.means() == second.means() == (1.0, 0.5)


class Overflowing(nn.CrossEntropyLoss):
    """Gives the last batch, of one image, an infinite loss."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return super().forward(input, target) * (float("inf") if len(target) == 1 else 1)


def test_a_step_that_16_mixed_skips_does_not_count_as_diverged(monkeypatch):
    module = classifier()
    images, labels = Batches().batches[0]
    with torch.no_grad():
        kept = float(nn.functional.cross_entropy(module(images), labels))
    assert fit_with_overflow(module, monkeypatch, skips=True) == pytest.approx(kept)  # of the batch that counts
    assert not math.isfinite(fit_with_overflow(module, monkeypatch, skips=False))


def test_an_epoch_whose_steps_all_overflow_has_no_loss():
    totals = Totals()
    totals.add(torch.tensor(float("inf")), torch.zeros(2, 2), torch.tensor([0, 0]), may_overflow=True)
    assert math.isnan(totals.means()[0])
    assert totals.means()[1] == 1


def fit_with_overflow(module: Classifier, monkeypatch: pytest.MonkeyPatch, skips: bool) -> float:
    """Return the loss of an epoch with an overflow; `skips` says whether a scaler of gradients skips its step."""
    monkeypatch.setattr(Classifier, "_scaler", object() if skips else None)
    module.loss = Overflowing()
    return fit(module)["train/loss"]


def test_the_most_probable_class_of_a_mixed_label_counts_as_correct():
    totals = Totals()
    probabilities = torch.tensor([[0.6, 0.4], [0.3, 0.7], [0.9, 0.1]])
    totals.add(torch.tensor(1.0), torch.tensor([[2.0, 0.0], [2.0, 0.0], [0.5, 0.0]]), probabilities)
    assert totals.means() == (1.0, pytest.approx(2 / 3))
