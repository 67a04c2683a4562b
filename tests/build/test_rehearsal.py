import functools
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision, Precision
from torch import Tensor, nn

from cnnlab.build.rehearsal import rehearse
from cnnlab.errors import RequestError
from cnnlab.training.averaging import AveragedWeights
from cnnlab.training.classifier import Classifier
from cnnlab.training.losses import Loss
from cnnlab.training.schedules import constant


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5))
        self.head, self.auxiliary = nn.Linear(4, 5), nn.Linear(4, 5)

    def forward(self, images: Tensor) -> Any:
        return self.head(self.pooled(images))

    def pooled(self, images: Tensor) -> Tensor:
        return self.features(images).mean(dim=(2, 3))


class Several(Net):
    """Returns something else in training."""

    def __init__(self, make: Any):
        super().__init__()
        self.make = make

    def forward(self, images: Tensor) -> Any:
        pooled = self.pooled(images)
        return self.make(self.head(pooled), self.auxiliary(pooled)) if self.training else self.head(pooled)


class Outputs(NamedTuple):
    logits: Tensor
    auxiliary: Tensor | None


class Changed(Net):
    """Passes its output, or its images, through a function."""

    def __init__(self, change: Any, images: bool = False):
        super().__init__()
        self.change, self.images = change, images

    def forward(self, images: Tensor) -> Any:
        return super().forward(self.change(images)) if self.images else self.change(super().forward(images))


def tried(
    network: nn.Module,
    loss: nn.Module | None = None,
    optimizer: Any = torch.optim.SGD,
    callbacks: Any = (),
    precision: Precision | None = None,
) -> Classifier:
    module = Classifier(network, functools.partial(optimizer, lr=0.1), constant, loss or nn.CrossEntropyLoss())
    trainer: Any = SimpleNamespace(
        callbacks=list(callbacks),
        precision_plugin=precision or Precision(),
        precision="bf16-mixed" if precision else "32-true",
    )
    rehearse(module, trainer, (3, 8, 8), 5, mixed=False)
    return module


def test_a_rehearsal_changes_nothing():
    network = Net()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = torch.get_rng_state()
    tried(network)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters()) and network.training


@pytest.mark.parametrize(
    "make",
    [
        lambda logits, auxiliary: (logits, auxiliary),
        lambda logits, auxiliary: [logits, auxiliary, auxiliary],
        lambda logits, auxiliary: {"aux": auxiliary, "out": logits},
        lambda logits, auxiliary: {"logits": logits},
        Outputs,
        lambda logits, auxiliary: Outputs(logits, None),
    ],
)
def test_logits_of_auxiliary_classifiers_are_trained_with_a_smaller_weight(make: Any):
    module = tried(Several(make).train())
    torch.manual_seed(0)
    images, labels = torch.randn(6, 3, 8, 8), torch.arange(6) % 5
    torch.manual_seed(1)
    logits, loss = module.logits_and_loss(images, labels)
    torch.manual_seed(1)
    pooled = module.network.pooled(images)  # pyright: ignore[reportCallIssue]
    outputs = make(module.network.head(pooled), module.network.auxiliary(pooled))  # pyright: ignore[reportCallIssue]
    parts = outputs.values() if isinstance(outputs, dict) else outputs
    others = [part for part in parts if part is not None and not torch.equal(part, logits)]
    expected = module.loss(logits, labels) + 0.3 * sum(module.loss(part, labels) for part in others)
    torch.testing.assert_close(loss, expected)
    assert torch.equal(logits, module.network.head(pooled))  # pyright: ignore[reportCallIssue]


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Several(lambda a, b: None), "in training, the network must return logits (3, 5) for 3 images, got None"),
        (Several(lambda a, b: (a, a[:, :2])), "must return logits (3, 5) for 3 images, got float32 (3, 2)"),
        (Several(lambda a, b: a.argmax(1)), "got int64 (3,)"),
        (Several(lambda a, b: [][0]), "model: IndexError: list index out of range (test_rehearsal.py, line"),
        (Several(lambda a, b: a.detach()), "model: no trained weight has an influence on the network's outputs"),
        (Changed(lambda logits: logits.mean(0, keepdim=True)), "in evaluation, the network must return logits (3, 5)"),
        (Changed(lambda logits: logits + 0j), "got complex64 (3, 5)"),
        (Changed(lambda logits: logits.view(2, -1)), "model: shape '[2, -1]' is invalid"),
        (Changed(lambda images: images.sub_(1), images=True), "model: the network changes its images in place"),
        (Changed(lambda images: images.view(len(images), -1).view_as(images), images=True), "model: view size is not"),
        (Changed(lambda logits: logits.exp().mul_(logits.exp_())), "modified by an inplace operation"),
    ],
)  # fmt: skip
def test_what_would_fail_in_the_first_step_is_said(network: nn.Module, message: str):
    with pytest.raises(RequestError) as caught:
        tried(network)
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_an_optimizer_that_fails_in_its_first_step_is_said():
    with pytest.raises(RequestError, match="optimizer: .*does not support dense gradients"):
        tried(Net(), optimizer=torch.optim.SparseAdam)


@pytest.mark.parametrize("loss", [nn.NLLLoss(), Loss(nn.KLDivLoss(reduction="batchmean"), one_hot=True)])
def test_a_loss_of_log_probabilities_needs_a_network_that_returns_them(loss: nn.Module):
    tried(Changed(lambda logits: logits.log_softmax(1)), loss)
    with pytest.raises(RequestError, match="loss: it falls without end for the logits of this network; NLLLoss"):
        tried(Net(), loss)


def test_the_number_format_of_the_run_is_used():
    network = Changed(lambda logits: logits + torch.from_numpy(logits.detach().numpy()))
    tried(network)
    with pytest.raises(
        RequestError, match="model: .*BFloat16.*; if the reason is bf16-mixed: trainer.precision=32-true"
    ):
        tried(network, precision=MixedPrecision("bf16-mixed", "cpu"))


class Growing(Net):
    """Keeps a value of every batch."""

    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(0))

    def forward(self, images: Tensor) -> Tensor:
        self.seen = torch.cat([self.seen, images.mean()[None]])
        return super().forward(images)


class Remembering(Net):
    """Has a state that is no tensor."""

    def __init__(self, memory: Any):
        super().__init__()
        self.memory = memory

    def get_extra_state(self) -> Any:
        return self.memory

    def set_extra_state(self, state: Any) -> None:
        self.memory = state


def test_a_network_whose_checkpoint_could_not_be_loaded_is_refused():
    tried(Remembering({"count": 3}))
    with pytest.raises(RequestError, match="model: its extra state cannot be read from a checkpoint"):
        tried(Remembering(object))
    with pytest.raises(RequestError, match="model: seen is no tensor of a constant shape"):
        tried(Growing())
    quantized = torch.ao.quantization.quantize_dynamic(Net(), {nn.Linear})
    with pytest.raises(RequestError, match="model: head.*is no tensor of a constant shape"):
        tried(quantized)


def test_a_network_without_a_copy_cannot_be_averaged():
    network = Net()
    network.register_buffer("seen", network.head.weight * 1, persistent=False)  # no leaf of the graph
    tried(network)
    with pytest.raises(
        RequestError, match="model: the network cannot be copied, which averaging needs; averaging=null"
    ):
        tried(network, callbacks=[AveragedWeights()])
