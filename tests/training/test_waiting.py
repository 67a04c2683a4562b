"""Check that training never waits for the device within an epoch: on a GPU, the host queues step after step.

The meta device replaces a GPU. Its tensors have no values, so reading one is an error.
"""

import functools
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.loops import fit_loop
from lightning.pytorch.strategies import SingleDeviceStrategy

from cnnlab.data.augment import Augmentation
from cnnlab.data.images import Images
from cnnlab.data.loader import Loader
from cnnlab.models.speednet import SpeedNet
from cnnlab.training.averaging import AveragedWeights
from cnnlab.training.classifier import Classifier
from cnnlab.training.muon import Muon
from cnnlab.training.schedules import triangle

PLAIN = Augmentation(pad=2, flip="alternating", cutout=4)
MIXED = Augmentation(pad=2, flip="random", erasing=0.5, mixup=0.2, cutmix=1.0, sizes=[[0, 9], [1, 16]])
SGD = functools.partial(torch.optim.SGD, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.0005)


class OnMeta(SingleDeviceStrategy):
    """Skip what Lightning does before and after a training: it needs a known device."""

    def __init__(self) -> None:
        super().__init__(torch.device("meta"), CPUAccelerator())

    def setup_environment(self) -> None:
        pass

    def teardown(self) -> None:
        pass


def loader(augmentation: Augmentation) -> Loader:
    """Return a loader of forty images of 16x16 pixels."""
    images = Images.decoded(torch.zeros(40, 16, 16, 3, dtype=torch.uint8), torch.arange(40) % 10)
    mean, std = torch.full((3,), 0.5), torch.full((3,), 0.25)
    return Loader(images, 16, mean, std, augmentation, shuffle=True, device="meta", classes=10)


def fit(optimizer: Any, augmentation: Augmentation) -> L.Trainer:
    """Train for two epochs, with clipping and averaging."""
    loss = torch.nn.CrossEntropyLoss(label_smoothing=0.1)
    module = Classifier(SpeedNet(width=0.125), optimizer, functools.partial(triangle, warmup=0.2), loss)
    trainer = L.Trainer(
        max_epochs=2,
        strategy=OnMeta(),
        callbacks=[AveragedWeights(every_n_steps=2)],
        gradient_clip_val=2.0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, loader(augmentation))
    return trainer


@pytest.fixture(autouse=True)
def between_epochs(monkeypatch):
    """Leave out what may wait: it runs once per training or once per epoch."""
    monkeypatch.setattr(fit_loop, "has_len_all_ranks", lambda *_: True)
    monkeypatch.setattr(Classifier, "on_train_epoch_end", lambda _: None)


@pytest.mark.parametrize("optimizer", [SGD, functools.partial(Muon, normalize_weights=True)], ids=["sgd", "muon"])
@pytest.mark.parametrize("augmentation", [PLAIN, MIXED], ids=["plain", "mixed"])
def test_nothing_waits_within_an_epoch(optimizer, augmentation):
    assert fit(optimizer, augmentation).global_step == 6


def test_waiting_would_be_noticed(monkeypatch):
    step = Classifier.training_step

    def curious(module: Classifier, batch: Any, batch_idx: int) -> torch.Tensor:
        loss = step(module, batch, batch_idx)
        assert loss.item() < 100
        return loss

    monkeypatch.setattr(Classifier, "training_step", curious)
    with pytest.raises(RuntimeError, match="meta"):
        fit(SGD, PLAIN)
