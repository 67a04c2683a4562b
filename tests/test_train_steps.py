"""Test `cnnlab train`: what a step does, and when a training ends."""

import time
from typing import Any

import pytest
import torch

from cnnlab.training.classifier import Classifier
from tests.helpers import TINY, checkpoint, configuration, metrics, same_weights, stop_when_asked, summary

slow = pytest.mark.slow


@pytest.mark.parametrize(
    "option",
    [
        "augmentation.mixup=0.2",
        pytest.param("augmentation.cutmix=1", marks=slow),
        pytest.param("augmentation.erasing=0.5", marks=slow),
    ],
)
def test_mixed_and_erased_images_train_and_resume_exactly(train, tmp_path, monkeypatch, option):
    options = (*TINY, "trainer.precision=32-true", option, "loss.label_smoothing=0.1")
    train(*TINY, "trainer.precision=32-true", "loss.label_smoothing=0.1", "hydra.run.dir=without")
    train(*options, "hydra.run.dir=whole")
    with monkeypatch.context() as patch:
        stop_when_asked(patch, 5)
        assert train(*options, "hydra.run.dir=parts").code == 130
    assert train("resume=parts").code == 0
    assert same_weights(tmp_path / "whole", tmp_path / "parts")
    assert metrics(tmp_path / "whole", without="seconds") == metrics(tmp_path / "parts", without="seconds")
    assert not same_weights(tmp_path / "whole", tmp_path / "without")


def test_a_loss_that_takes_no_probabilities_cannot_be_used_with_mixing(train):
    loss = "loss={_target_: torch.nn.MultiMarginLoss}"
    assert train(*TINY, loss).code == 0
    outcome = train(*TINY, loss, "augmentation.mixup=0.2")
    assert (outcome.code, "augmentation.mixup and cutmix make labels probabilities" in outcome.err) == (2, True)


@pytest.mark.parametrize(
    "recipe",
    ["fast", *(pytest.param(r, marks=slow) for r in ("standard", "article", "resnet_paper")), "speedrun"],
)
def test_gradients_of_small_batches_add_up_to_those_of_a_large_one(train, tmp_path, monkeypatch, recipe):
    monkeypatch.setattr("cnnlab.training.muon.auto_precision", lambda device: "32-true")
    # LeNet-5 has no norms. Without them the speedrun's rate of biases is far too high.
    gentle = ["optimizer.lr=0.01", "optimizer.sgd_lr=0.1", "bias_lr_factor=2"] if recipe == "speedrun" else []
    options = (*TINY, f"recipe={recipe}", "trainer.precision=32-true", "trainer.gradient_clip_val=0.5", *gentle)
    train(*options, "data.batch_size=32", "trainer.limit_train_batches=4", "hydra.run.dir=large")
    small = ("data.batch_size=8", "trainer.limit_train_batches=16", "trainer.accumulate_grad_batches=4")
    train(*options, *small, "hydra.run.dir=small")
    assert summary(tmp_path / "small")["steps"] == summary(tmp_path / "large")["steps"] == 8
    large, added = (checkpoint(tmp_path / name)["state_dict"] for name in ("large", "small"))
    for name, value in large.items():
        torch.testing.assert_close(added[name], value, rtol=1e-3, atol=1e-5, msg=name)
    rows = [metrics(tmp_path / name, without="seconds") for name in ("large", "small")]
    for one, other in zip(*rows, strict=True):
        assert (one["step"], one["lr"]) == (other["step"], other["lr"])
        assert float(one["train/loss"]) == pytest.approx(float(other["train/loss"]), rel=1e-3)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_fused_optimizer_is_clipped_like_another(train, tmp_path, precision):
    options = (*TINY, f"trainer.precision={precision}", "optimizer.lr=1", "trainer.gradient_clip_val=0.01")
    assert train(*options, "hydra.run.dir=plain").code == 0
    assert train(*options, "+optimizer.fused=true", "hydra.run.dir=fused").code == 0
    plain, fused = (checkpoint(tmp_path / name)["state_dict"] for name in ("plain", "fused"))
    assert all(torch.allclose(plain[name], fused[name], atol=1e-3) for name in plain)


def test_clipping_bounds_a_step(train, tmp_path):
    plain = (
        *TINY,
        "recipe=standard",
        "trainer.max_epochs=1",
        "trainer.limit_train_batches=1",
        "optimizer.weight_decay=0",
    )
    train(*plain, "optimizer.lr=1e-9", "hydra.run.dir=start")
    clipping = ("trainer.gradient_clip_val=0.01", "trainer.gradient_clip_algorithm=null")  # Lightning's own: the norm
    train(*plain, "optimizer.lr=1", *clipping, "hydra.run.dir=clipped")
    before, after = (checkpoint(tmp_path / name)["state_dict"] for name in ("start", "clipped"))
    moved = sum(float((after[name] - before[name]).square().sum()) for name in before) ** 0.5
    assert moved == pytest.approx(0.01, rel=0.01)


def test_steps_after_a_validation_within_an_epoch_take_their_time(train, tmp_path, monkeypatch):
    step = Classifier.training_step

    def slow_step(self: Classifier, *batch: Any) -> Any:
        time.sleep(0.1)
        return step(self, *batch)

    monkeypatch.setattr(Classifier, "training_step", slow_step)
    assert train(*TINY, "+trainer.val_check_interval=1", "hydra.run.dir=run").code == 0
    assert 0 < summary(tmp_path / "run")["images_per_second"] < 16 / 0.1


def test_the_first_step_does_not_slow_the_others_down(train, tmp_path, monkeypatch):
    step, waits = Classifier.training_step, iter([5.0])

    def slow_at_first(self: Classifier, *batch: Any) -> Any:
        time.sleep(next(waits, 0))
        return step(self, *batch)

    monkeypatch.setattr(Classifier, "training_step", slow_at_first)
    assert train(*TINY, "hydra.run.dir=run").code == 0
    record = summary(tmp_path / "run")
    assert record["first_step_seconds"] > 5
    seconds = (record["steps"] - 1) * 16 / record["images_per_second"]
    assert seconds < record["train_seconds"] - 5


# --- how long --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "epochs", "steps"),
    [
        (["trainer.max_epochs=1.5", "trainer.limit_train_batches=4"], 1.5, 6),
        (["trainer.max_epochs=0.3", "trainer.limit_train_batches=10"], 0.3, 3),
        (["trainer.max_epochs=1.4", "trainer.limit_train_batches=3"], 1.7, 5),  # rounded up to a whole step
        (["trainer.max_epochs=1.5", "trainer.limit_train_batches=4", "trainer.accumulate_grad_batches=2"], 1.5, 3),
        (["trainer.max_epochs=2.0", "trainer.limit_train_batches=4"], 2, 8),
        (["trainer.max_epochs=9", "trainer.limit_train_batches=4", "trainer.max_steps=5"], 1.2, 5),
        (["trainer.max_epochs=9", "trainer.limit_train_batches=4", "trainer.max_steps=8"], 2, 8),
    ],
)
def test_a_training_may_end_within_an_epoch(train, tmp_path, options, epochs, steps):
    outcome = train(*TINY, *options, "schedule.warmup=0", "hydra.run.dir=run")
    assert outcome.code == 0
    record, rows = summary(tmp_path / "run"), metrics(tmp_path / "run")
    assert (record["epochs"], record["steps"]) == (epochs, steps)
    assert [row["epoch"] for row in rows] == [str(epoch + 1) for epoch in range(len(rows))]
    assert all(row["val/accuracy"] for row in rows)  # the last epoch is validated like any other
    # The schedule ends with the training: the rate of the last step, and none would be left for a further one.
    assert float(rows[-1]["lr"]) == pytest.approx(0.1 / steps)
    assert record["val_accuracy"] == max(float(row["val/accuracy"]) for row in rows)
    assert f"{len(rows)}/{len(rows)}" in outcome.out


@pytest.mark.parametrize("select", ["val/balanced_accuracy", "val/loss"])
def test_another_figure_may_choose_the_best_epoch(train, tmp_path, select):
    asked = (*TINY, "trainer.max_epochs=6", "optimizer.lr=0.5", "trainer.limit_train_batches=2", f"select={select}")
    assert train(*asked, "hydra.run.dir=run").code == 0
    rows, record = metrics(tmp_path / "run"), summary(tmp_path / "run")
    values = [-float(row[select]) if select == "val/loss" else float(row[select]) for row in rows]
    losses = [float(row["val/loss"]) for row in rows]
    assert record["best_epoch"] == 1 + max(range(6), key=lambda epoch: (values[epoch], -losses[epoch], -epoch))
    assert configuration(tmp_path / "run")["select"] == select
    refused = train("resume=run", "trainer.max_epochs=7", "select=val/accuracy")
    assert (refused.code, "a resumed run keeps its own select" in refused.err) == (2, True)
    assert train("resume=run", "trainer.max_epochs=7").code == 0
    assert summary(tmp_path / "run")["best_epoch"] in (record["best_epoch"], 7)


# Stopped within the first epoch, and within the one that is cut short.
@slow
@pytest.mark.parametrize("times", [4, 8])
def test_a_training_that_ends_within_an_epoch_resumes_exactly(train, tmp_path, monkeypatch, times):
    # The first model and recipe have norms, two kinds of groups, and rates of their own for biases.
    options = (*TINY, "model=resnet20", "recipe=speedrun", "trainer.precision=32-true", "data.batch_size=8")
    options = (*options, "trainer.limit_train_batches=5", "trainer.max_epochs=1.8")
    train(*options, "hydra.run.dir=whole")
    with monkeypatch.context() as patch:
        stop_when_asked(patch, times)
        assert train(*options, "hydra.run.dir=parts").code == 130
    assert train(*options, "hydra.run.dir=parts", "resume=auto").code == 0
    assert summary(tmp_path / "parts")["steps"] == 9
    assert same_weights(tmp_path / "whole", tmp_path / "parts")
    assert metrics(tmp_path / "whole", without="seconds") == metrics(tmp_path / "parts", without="seconds")


def test_a_stop_at_the_very_last_step_changes_nothing(train, tmp_path, monkeypatch):
    options = (*TINY, "trainer.max_epochs=1.5", "trainer.limit_train_batches=4")
    with monkeypatch.context() as patch:
        stop_when_asked(patch, 7)  # 4 steps, an epoch, 2 steps
        assert train(*options, "hydra.run.dir=run").code == 0
    assert (summary(tmp_path / "run")["epochs"], summary(tmp_path / "run")["status"]) == (1.5, "completed")
