"""Train with weights in bfloat16: the results of bf16-mixed, since float32 masters add up the updates."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from cnnlab.errors import RequestError
from cnnlab.training.half_weights import HalfWeights, half_weights, hand_over_gradients
from cnnlab.training.optimizers import build_optimizer
from tests.helpers import TINY, checkpoint, metrics, same_weights, stop_when_asked, summary, weights

# Convolutions, batch norms, averaged weights, mixed labels, a label that is smoothed, and clipping.
MIXED = (
    *(*TINY, "model=resnet20", "model.width=0.25", "averaging.every_n_steps=1", "augmentation.mixup=0.2"),
    *("augmentation.cutmix=1.0", "loss.label_smoothing=0.1", "trainer.gradient_clip_val=0.5"),
)
HALF = "trainer.precision=bf16-true"


def small_network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 2))


def test_weights_and_gradients_are_in_bfloat16_and_norms_and_optimizer_in_float32():
    network: Any = HalfWeights("cpu").convert_module(small_network())
    optimizer = build_optimizer(torch.optim.AdamW, network)
    with torch.autocast("cpu", torch.bfloat16):
        network(torch.randn(8, 3, 8, 8)).float().square().sum().backward()
    kinds = {name: (p.dtype, None if p.grad is None else p.grad.dtype) for name, p in network.named_parameters()}
    half, full = torch.bfloat16, torch.float32
    assert kinds["0.weight"] == kinds["3.weight"] == kinds["3.bias"] == (half, half)
    assert kinds["1.weight"] == kinds["1.bias"] == (full, full)
    assert network[1].running_mean.dtype == network[1].running_var.dtype == full
    hand_over_gradients(half_weights(network))
    optimizer.step()
    assert {value.dtype for state in optimizer.state.values() for value in state.values()} == {full}
    assert {value.dtype for value in network.state_dict().values() if value.is_floating_point()} == {full}


def test_updates_that_bfloat16_cannot_hold_add_up():
    network: Any = nn.Sequential(nn.Linear(1, 1, bias=False))
    nn.init.ones_(network[0].weight)
    HalfWeights("cpu").convert_module(network)
    optimizer = build_optimizer(lambda groups: torch.optim.SGD(groups, lr=1e-4), network)
    for _ in range(100):
        network[0].weight.grad = torch.ones_like(network[0].weight)
        hand_over_gradients(half_weights(network))
        optimizer.step()
    assert network[0].weight.item() == pytest.approx(0.99, abs=0.004)
    assert network.state_dict()["0.weight"].item() == pytest.approx(0.99, abs=1e-5)


def test_a_run_equals_one_in_bf16_mixed_and_can_be_used_like_it(train, command, tmp_path, monkeypatch):
    seen: list[torch.dtype] = []
    original = nn.Conv2d._conv_forward

    def forward(self: nn.Conv2d, images: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        seen.append(weight.dtype)
        return original(self, images, weight, bias)

    monkeypatch.setattr(nn.Conv2d, "_conv_forward", forward)
    assert train(*MIXED, "trainer.precision=bf16-mixed", "hydra.run.dir=mixed").code == 0
    seen.clear()
    outcome = train(*MIXED, HALF, "hydra.run.dir=half")
    assert outcome.code == 0, outcome.err
    assert {torch.bfloat16} <= set(seen) <= {torch.bfloat16, torch.float32}  # counting and rehearsal are in float32
    assert seen[-1] == torch.bfloat16
    mixed, half = tmp_path / "mixed", tmp_path / "half"
    assert metrics(half, without="seconds") == metrics(mixed, without="seconds")
    assert same_weights(half, mixed)
    assert {value.dtype for value in weights(half, "best").values() if value.is_floating_point()} == {torch.float32}
    assert [summary(run)["precision"] for run in (mixed, half)] == ["bf16-mixed", "bf16-true"]
    # Evaluation computes as the test of the run did.
    assert command("evaluate", "checkpoint=half").code == 0
    outputs = [np.load(file)["logits"] for file in (half / "predictions.npz", half / "evaluation" / "predictions.npz")]
    np.testing.assert_array_equal(*outputs)
    assert command("export", "checkpoint=half", "format=torch", "output=half.pt2").code == 0
    assert command("predict", "checkpoint=half", "images=test", "limit=3", "output=predicted.csv").code == 0


@pytest.mark.parametrize("times", [3, 5])  # at the end of the first epoch, within the second
def test_a_run_resumes_exactly(train, tmp_path, monkeypatch, times):
    assert train(*MIXED, HALF, "hydra.run.dir=whole").code == 0
    with monkeypatch.context() as patch:
        stop_when_asked(patch, times)
        assert train(*MIXED, HALF, "hydra.run.dir=parts").code == 130
    state = checkpoint(tmp_path / "parts")
    assert {value.dtype for value in state["current_model_state"].values()} <= {torch.float32, torch.int64}
    assert train("resume=parts").code == 0
    assert same_weights(tmp_path / "whole", tmp_path / "parts")
    assert metrics(tmp_path / "whole", without="seconds") == metrics(tmp_path / "parts", without="seconds")
    assert summary(tmp_path / "whole")["test_loss"] == summary(tmp_path / "parts")["test_loss"]


def test_an_optimizer_that_computes_the_loss_itself_is_refused():
    network: Any = HalfWeights("cpu").convert_module(small_network())
    with pytest.raises(RequestError, match=r"optimizer: LBFGS does not work with trainer.precision=bf16-true"):
        build_optimizer(torch.optim.LBFGS, network)


def test_weights_in_float16_are_refused(train):
    outcome = train(*TINY, "trainer.precision=16-true")
    assert (outcome.code, len(outcome.err.splitlines())) == (2, 1)
    assert "bf16-true" in outcome.err
