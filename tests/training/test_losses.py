import functools
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor, nn
from torch.nn import functional

from cnnlab.training.losses import Loss, balanced_weights, tried_loss

CLASSES = 4
generator = torch.Generator().manual_seed(1)
LOGITS = torch.randn(7, CLASSES, generator=generator)
LABELS = torch.randint(CLASSES, (7,), generator=generator)
ONE_HOT = functional.one_hot(LABELS, CLASSES).float()
MIXED = torch.rand(7, CLASSES, generator=generator).softmax(dim=1)

timms = pytest.importorskip("timm.loss")
torchvision = pytest.importorskip("torchvision")


@pytest.mark.parametrize(
    "loss",
    [
        nn.CrossEntropyLoss(torch.rand(CLASSES), label_smoothing=0.1),
        nn.MultiMarginLoss(weight=torch.rand(CLASSES)),
        nn.NLLLoss(),
        functional.cross_entropy,
        functools.partial(functional.cross_entropy, weight=torch.rand(CLASSES), label_smoothing=0.1),
        timms.LabelSmoothingCrossEntropy(0.2),
        timms.BinaryCrossEntropy(),
        timms.AsymmetricLossSingleLabel(),
    ],
)
def test_a_loss_of_class_numbers_is_used_as_it_is(loss: Any):
    used = tried_loss(loss, CLASSES, mixed=False)
    assert torch.equal(used(LOGITS, LABELS), loss(LOGITS, LABELS))


@pytest.mark.parametrize(
    "loss",
    [
        nn.BCEWithLogitsLoss(pos_weight=torch.rand(CLASSES)),
        nn.MSELoss(),
        nn.HuberLoss(),
        timms.SoftTargetCrossEntropy(),
        functools.partial(torchvision.ops.sigmoid_focal_loss, reduction="mean"),
    ],
)
def test_a_loss_of_probabilities_gets_one_hot_labels_or_mixed_ones(loss: Any):
    used = tried_loss(loss, CLASSES, mixed=False)
    assert torch.equal(used(LOGITS, LABELS), loss(LOGITS, ONE_HOT))
    assert torch.equal(tried_loss(loss, CLASSES, mixed=True)(LOGITS, MIXED), loss(LOGITS, MIXED))


def test_weights_are_stored_and_moved_with_the_loss():
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0])
    used = tried_loss(functools.partial(functional.cross_entropy, weight=weights), CLASSES, mixed=False)
    assert torch.equal(used.state_dict()["weight"], weights)
    assert used.double()(LOGITS.double(), LABELS).dtype == torch.float64
    assert used(LOGITS.double(), LABELS) == functional.cross_entropy(LOGITS.double(), LABELS, weights.double())


class Learned(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(self.scale * logits, labels)


def changing(logits: Tensor, labels: Tensor) -> Tensor:
    logits -= logits.mean()
    return functional.cross_entropy(logits, labels)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (nn.CrossEntropyLoss(torch.ones(3)), "weight must have 4 numbers, one per class, got 3"),
        (nn.CrossEntropyLoss(torch.ones(4) * -1), "weight must be 0 or more, got -1"),
        (nn.CrossEntropyLoss(torch.zeros(4)), "the loss is nan for random logits"),
        (nn.CrossEntropyLoss(reduction="none"), r"one number per batch, got the shape \(5,\) for 5 images"),
        (nn.CrossEntropyLoss(reduction="sum"), "must be the mean over the images, not their sum"),
        (torchvision.ops.sigmoid_focal_loss, r"one number per batch, got the shape \(5, 4\) for 5 images"),
        (lambda logits, labels: 1.0, "must return a tensor with one number, got float"),
        (lambda logits, labels: None, "must return a tensor with one number, got NoneType"),
        (lambda logits, labels: logits.mean().detach(), "has no gradient"),
        (lambda logits, labels: logits.argmax(1).sum(), "has no gradient"),
        (lambda logits, labels: (0 * logits.abs().log()).exp().sum().log() / 0, "the loss is inf"),
        (lambda logits, labels: logits.mean().clamp(min=9) / (logits * 0).mean().clamp(0, 1), "the loss is inf"),
        (changing, "in-place operation"),
        (Learned(), "a loss with weights of its own is not trained"),
        (functools.partial(nn.CrossEntropyLoss), "_partial_ is for functions, not for a class"),
        (3, "_target_ makes int instead of a function of logits and labels"),
    ],
)
def test_what_cannot_be_minimized_is_refused(loss: Any, message: str):
    with pytest.raises((ValueError, RuntimeError), match=message):
        tried_loss(loss, CLASSES, mixed=False)


@pytest.mark.parametrize("loss", [nn.TripletMarginLoss(), nn.CTCLoss(), lambda logits: logits.sum()])
def test_what_takes_other_arguments_is_refused(loss: Any):
    with pytest.raises(TypeError):
        tried_loss(loss, CLASSES, mixed=False)


def test_a_loss_of_class_numbers_cannot_take_mixed_labels():
    with pytest.raises(ValueError, match="mixup and cutmix make labels probabilities, which it does not take"):
        tried_loss(nn.MultiMarginLoss(), CLASSES, mixed=True)


def test_a_module_that_needs_no_change_stays_itself():
    loss = nn.CrossEntropyLoss()
    assert tried_loss(loss, CLASSES, mixed=False) is loss
    assert isinstance(tried_loss(nn.MSELoss(), CLASSES, mixed=False), Loss)


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    labels = np.repeat([0, 1, 3], [40, 20, 8])
    expected = compute_class_weight("balanced", classes=np.array([0, 1, 3]), y=labels)
    weights = balanced_weights([40, 20, 0, 8])
    assert [weights[0], weights[1], weights[3]] == pytest.approx(expected)
    assert weights[2] == 0
    assert np.mean([weights[label] for label in labels]) == pytest.approx(1)
