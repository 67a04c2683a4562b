"""Test `cnnlab train` from the outside: its record, reproducibility and resuming."""

import csv
import itertools
import json
import shlex
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from cnnlab import train as train_module
from cnnlab.data.images import load_images
from cnnlab.data.sources import find_source
from cnnlab.runs.directory import SUMMARY_KEYS
from cnnlab.training.classifier import Classifier
from cnnlab.training.interruption import StopRequest

slow = pytest.mark.slow

# A run of a second: 2 epochs of 3 steps.
TINY = (
    "data=digits",
    "model=lenet5",
    "logger=none",
    "data.batch_size=16",
    "trainer.max_epochs=2",
    "trainer.limit_train_batches=3",
)


def summary(directory: Path) -> dict[str, Any]:
    return json.loads((directory / "summary.json").read_text())


def configuration(directory: Path) -> dict[str, Any]:
    return yaml.safe_load((directory / "config.yaml").read_text())


def metrics(directory: Path, *, without: str = "") -> list[dict[str, str]]:
    with (directory / "metrics.csv").open() as stream:
        return [{k: v for k, v in row.items() if k != without} for row in csv.DictReader(stream)]


def checkpoint(directory: Path, name: str = "last") -> dict[str, Any]:
    return torch.load(directory / "checkpoints" / f"{name}.ckpt", weights_only=True)


def same_weights(one: Path, other: Path) -> bool:
    a, b = (checkpoint(directory)["state_dict"] for directory in (one, other))
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def stop_when_asked(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """Stop the run as Ctrl-C would when it asks for the n-th time; it asks after every step and every epoch."""
    asked = [0]

    def requested(self: StopRequest) -> bool:
        asked[0] += 1
        return asked[0] >= times

    monkeypatch.setattr(StopRequest, "__call__", requested)


def test_a_run_leaves_a_complete_and_true_record(train, tmp_path):
    outcome = train("data=digits", "model=lenet5", "recipe=fast", "trainer.max_epochs=2", "hydra.run.dir=run")
    run = tmp_path / "run"
    assert outcome.code == 0
    record = summary(run)
    assert tuple(record) == SUMMARY_KEYS
    may_be_unknown = ("git_commit", "error", "test_accuracy_tta")
    assert [key for key, value in record.items() if value is None and key not in may_be_unknown] == []
    assert (record["status"], record["model"], record["recipe"], record["data"]) == (
        "completed",
        "lenet5",
        "fast",
        "digits",
    )
    assert (record["epochs"], record["steps"], record["parameters"]) == (2, 12, 62_006)
    rows = metrics(run)
    assert list(rows[0]) == [
        "epoch",
        "step",
        "seconds",
        "lr",
        "train/loss",
        "train/accuracy",
        "val/loss",
        "val/accuracy",
    ]
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert record["val_accuracy"] == max(float(row["val/accuracy"]) for row in rows)
    assert float(rows[record["best_epoch"] - 1]["val/loss"]) == record["val_loss"]
    assert 0 < record["train_seconds"] < record["total_seconds"]
    scored = np.load(run / "predictions.npz")
    assert scored["logits"].shape == (len(scored["labels"]), 10)
    assert np.array_equal(scored["labels"], load_images(find_source("digits", None), 32).test.labels.numpy())
    assert np.mean(scored["logits"].argmax(1) == scored["labels"]) == pytest.approx(record["test_accuracy"])
    config = configuration(run)
    assert config["optimizer"]["lr"] == 0.1
    assert "${" not in (run / "config.yaml").read_text()
    assert list((run / "tensorboard").glob("events*"))
    assert "2/2" in (run / "train.log").read_text()
    assert "test accuracy" in outcome.out
    assert str(run) in outcome.out
    assert record["command"].startswith("cnnlab train data=digits model=lenet5")


def test_an_evaluation_is_suggested_after_a_run_on_a_terminal(train, command, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    outcome = train(*TINY, "trainer.enable_progress_bar=false", "hydra.run.dir=my run")
    suggested = outcome.err.strip().removeprefix("Next: ")
    assert shlex.split(suggested) == ["cnnlab", "evaluate", f"checkpoint={tmp_path / 'my run'}"]
    assert command(*shlex.split(suggested)[1:]).code == 0


def test_no_job_of_a_sweep_suggests_an_evaluation(train, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    outcome = train("-m", *TINY, "trainer.enable_progress_bar=false", "seed=0,1", "hydra/launcher=basic")
    assert (outcome.code, "Next:" in outcome.err) == (0, False)


def test_a_checkpoint_holds_all_that_predictions_need(train, tmp_path):
    train(*TINY, "hydra.run.dir=run")
    about = checkpoint(tmp_path / "run", "best")["cnnlab"]
    assert about["model"]["_target_"] == "cnnlab.models.lenet.LeNet5"
    assert about["classes"] == [str(digit) for digit in range(10)]
    assert (about["image_size"], len(about["mean"]), len(about["std"])) == (32, 3, 3)


def test_the_default_directory_is_named_after_the_model_or_the_experiment(train, tmp_path):
    train(*TINY)
    train("experiment=demo", "logger=none", "trainer.max_epochs=1", "trainer.limit_train_batches=1")
    assert sorted(path.parent.parent.name for path in tmp_path.glob("runs/*/*/summary.json")) == ["demo", "lenet5"]


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(train, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(*TINY, f"seed={seed}", f"hydra.run.dir={name}")
    assert same_weights(tmp_path / "a", tmp_path / "b")
    assert metrics(tmp_path / "a", without="seconds") == metrics(tmp_path / "b", without="seconds")
    assert not same_weights(tmp_path / "a", tmp_path / "c")


def test_denormal_numbers_are_flushed_to_zero(train, tmp_path):
    torch.set_flush_denormal(False)
    tiny = torch.full((8,), 1e-40)
    assert (tiny * 0.5).all()
    assert train(*TINY, "hydra.run.dir=run").code == 0
    assert not (tiny * 0.5).any()


def test_the_article_protocol_selects_on_the_test_images(train, tmp_path):
    train(*TINY, "protocol=article", "hydra.run.dir=run")
    record = summary(tmp_path / "run")
    assert record["protocol"] == "article"
    assert record["val_accuracy"] == record["test_accuracy"]


def test_a_sweep_leaves_a_directory_for_each_job(train, tmp_path):
    outcome = train("-m", *TINY, "seed=0,1", "hydra/launcher=basic")  # in this process; see test_sweep.py
    assert outcome.code == 0
    records = [summary(path.parent) for path in sorted(tmp_path.glob("runs/sweep/*/*/summary.json"))]
    assert [(record["status"], record["seed"]) for record in records] == [("completed", 0), ("completed", 1)]


def test_a_wrong_job_of_a_sweep_does_not_affect_the_others(train, tmp_path):
    outcome = train("-m", *TINY, "data.batch_size=0,16", "hydra/launcher=basic")
    assert (outcome.code, "data.batch_size must be 1 or more" in outcome.err) == (2, True)
    assert [summary(path.parent)["status"] for path in tmp_path.glob("runs/sweep/*/*/summary.json")] == ["completed"]


def test_a_training_whose_loss_is_not_finite_ends_as_diverged(train, command, tmp_path):
    outcome = train(*TINY, "optimizer.lr=1e20", "hydra.run.dir=runs/x/run")
    assert (outcome.code, "Traceback" in outcome.err) == (1, False)
    record = summary(tmp_path / "runs" / "x" / "run")
    epoch = len(metrics(tmp_path / "runs" / "x" / "run"))
    assert f"The training diverged: the loss is not finite in epoch {epoch} (train/loss is" in outcome.err
    assert record["status"] == "diverged"
    assert record["error"].startswith(f"the loss is not finite in epoch {epoch} (train/loss is")
    assert "NaN" not in (tmp_path / "runs" / "x" / "run" / "summary.json").read_text()
    assert not list(tmp_path.rglob("best.ckpt"))  # weights that are not finite are no result
    assert train(*TINY, "hydra.run.dir=runs/x/other").code == 0
    compared = command("compare", "runs=runs/x", "output=report")
    assert (compared.code, "diverged: the loss is not finite in epoch" in compared.out + compared.err) == (0, True)


def test_early_stopping_ends_a_run_that_does_not_improve(train, tmp_path):
    patience = "callbacks.early_stopping.patience=1"
    train(*TINY, "callbacks=early_stopping", patience, "optimizer.lr=0", "trainer.max_epochs=9", "hydra.run.dir=run")
    record = summary(tmp_path / "run")
    assert (record["status"], record["epochs"]) == ("completed", 2)


@pytest.mark.parametrize("tta", ["flip", "flip_translate"])
def test_test_time_augmentation_is_reported_beside_the_plain_accuracy(train, tmp_path, tta):
    train(*TINY, "hydra.run.dir=plain")
    outcome = train(*TINY, f"tta={tta}", "hydra.run.dir=tta")
    plain, record = summary(tmp_path / "plain"), summary(tmp_path / "tta")
    assert plain["test_accuracy_tta"] is None
    assert (record["test_accuracy"], record["test_loss"]) == (plain["test_accuracy"], plain["test_loss"])
    assert 0 < record["test_accuracy_tta"] < 1
    assert f"{record['test_accuracy_tta']:.2%}" in outcome.out
    scored = [np.load(tmp_path / name / "predictions.npz")["logits"] for name in ("plain", "tta")]
    assert np.array_equal(*scored)


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
    loss = ("loss={_target_: torch.nn.MultiMarginLoss}", "~loss.label_smoothing")
    assert train(*TINY, *loss).code == 0
    outcome = train(*TINY, *loss, "augmentation.mixup=0.2")
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
    assert float(rows[-1]["lr"]) == 0  # the schedule ends with the training
    assert record["val_accuracy"] == max(float(row["val/accuracy"]) for row in rows)
    assert f"{len(rows)}/{len(rows)}" in outcome.out


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


# --- stopping and resuming -------------------------------------------------------------------------------------------


# The article net's dropout draws from the global generator.
@pytest.mark.parametrize("model", [("model=lenet5",), ("model=article", "model.width=0.25")], ids=["lenet5", "article"])
@pytest.mark.parametrize(
    ("times", "step"), [pytest.param(3, 3, marks=slow), (5, 4)]
)  # at the end of the first epoch, within the second
def test_a_resumed_run_ends_as_if_it_had_not_been_stopped(train, tmp_path, monkeypatch, model, times, step):
    options = (*TINY, *model, "trainer.precision=32-true", "averaging.every_n_steps=2")
    train(*options, "hydra.run.dir=whole")
    with monkeypatch.context() as patch:
        stop_when_asked(patch, times)
        stopped = train(*options, "hydra.run.dir=parts")
    assert stopped.code == 130
    assert "resume=" in stopped.err
    assert (summary(tmp_path / "parts")["status"], summary(tmp_path / "parts")["steps"]) == ("interrupted", step)
    assert train("resume=parts").code == 0
    assert same_weights(tmp_path / "whole", tmp_path / "parts")
    assert metrics(tmp_path / "whole", without="seconds") == metrics(tmp_path / "parts", without="seconds")
    whole, parts = summary(tmp_path / "whole"), summary(tmp_path / "parts")
    assert whole["test_loss"] == parts["test_loss"]
    assert (parts["status"], parts["error"], parts["steps"]) == ("completed", None, 6)


def test_resume_auto_finds_the_unfinished_run_of_the_same_configuration(train, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        stop_when_asked(patch, 5)
        train(*TINY)
    train(*TINY, "seed=7")  # finished, and another configuration
    assert train(*TINY, "resume=auto").code == 0
    records = [summary(path.parent) for path in tmp_path.glob("runs/lenet5/*/summary.json")]
    assert sorted((record["seed"], record["status"]) for record in records) == [(0, "completed"), (7, "completed")]
    # Nothing is unfinished any more, so the same command starts a run.
    assert "new one starts" in train(*TINY, "resume=auto").out
    assert len(list(tmp_path.glob("runs/lenet5/*/summary.json"))) == 3


def test_resume_auto_in_a_given_directory(train, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        stop_when_asked(patch, 5)
        train(*TINY, "hydra.run.dir=run", "resume=auto")
    other = train(*TINY, "hydra.run.dir=run", "resume=auto", "optimizer.lr=0.2")
    assert (other.code, "optimizer" in other.err) == (2, True)
    assert train(*TINY, "hydra.run.dir=run", "resume=auto").code == 0
    before = (tmp_path / "run" / "summary.json").read_text()
    assert "complete" in train(*TINY, "hydra.run.dir=run", "resume=auto").out
    assert (tmp_path / "run" / "summary.json").read_text() == before


def test_a_finished_run_can_be_made_longer(train, tmp_path):
    train(*TINY, "hydra.run.dir=run")
    assert train("resume=run", "trainer.max_epochs=3").code == 0
    assert summary(tmp_path / "run")["epochs"] == 3
    assert [row["epoch"] for row in metrics(tmp_path / "run")] == ["1", "2", "3"]
    # It is no run of three epochs: its schedule has been another one.
    assert configuration(tmp_path / "run")["lengthened"] == [2]
    assert train("resume=run", "trainer.max_epochs=4").code == 0
    assert configuration(tmp_path / "run")["lengthened"] == [2, 3]
    assert train("resume=run", "trainer.max_steps=15").code == 0
    assert configuration(tmp_path / "run")["lengthened"] == [2, 3, "-1 steps"]


def files(directory: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in directory.rglob("*") if file.is_file()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("trainer.max_epochs=1", "trainer.max_epochs=1: the run has trained 2 epochs, and cannot be made shorter"),
        ("trainer.max_epochs=1.5", "trainer.max_epochs=1.5: the run has trained 2 epochs"),
        ("trainer.max_steps=4", "trainer.max_steps=4: the run has trained 6 steps"),
        ("trainer.max_time=00:00:00:00", "trainer.max_time=00:00:00:00: the run has trained"),
        ("trainer.max_epochs=many", "trainer.max_epochs must be a number above 0"),
        ("trainer.max_time=soon", "max_time"),
        ("~trainer.max_steps", "a resumed run needs its trainer.max_steps"),
        ("trainer.devices=0", "trainer.devices must be"),
    ],
)
def test_a_request_that_a_resumed_run_cannot_carry_out_changes_nothing(finished, train, tmp_path, change, message):
    shutil.copytree(finished, tmp_path / "run")
    before = files(tmp_path / "run")
    outcome = train("resume=run", change)
    assert (outcome.code, message in outcome.err, len(outcome.err.splitlines())) == (2, True, 1), outcome.err
    assert files(tmp_path / "run") == before


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a completed run of two epochs; copy it before a command that may change it."""
    run = tmp_path_factory.mktemp("finished") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["cnnlab.train", *TINY, f"hydra.run.dir={run}"])
        with pytest.raises(SystemExit, match="0"):
            train_module.main()
    return run


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda run: (run / "config.yaml").unlink(), "config.yaml is missing or damaged"),
        (lambda run: (run / "config.yaml").write_text("[1, 2"), "config.yaml is missing or damaged"),
        (lambda run: (run / "summary.json").write_text("{"), "summary.json is damaged"),
        (lambda run: (run / "checkpoints" / "last.ckpt").unlink(), "there is no checkpoint"),
        (lambda run: (run / "checkpoints" / "last.ckpt").write_bytes(b"PK torn"), "is damaged or not a checkpoint"),
    ],
)
def test_a_damaged_run_is_not_resumed_and_stays_as_it_is(finished, train, tmp_path, damage, message):
    shutil.copytree(finished, tmp_path / "run")
    damage(tmp_path / "run")
    before = files(tmp_path / "run")
    outcome = train("resume=run", "trainer.max_epochs=3")
    assert (outcome.code, message in outcome.err, len(outcome.err.splitlines())) == (2, True, 1), outcome.err
    assert files(tmp_path / "run") == before


def test_a_resumed_run_does_not_overwrite_another_run(finished, train, tmp_path):
    for name in ("one", "other"):
        shutil.copytree(finished, tmp_path / name)
    before = files(tmp_path / "other")
    for resumed in ("one", "one/checkpoints/last.ckpt"):
        outcome = train(f"resume={resumed}", "trainer.max_epochs=3", "hydra.run.dir=other")
        assert (outcome.code, "holds another run" in outcome.err) == (2, True), outcome.err
    assert files(tmp_path / "other") == before


def test_a_checkpoint_alone_is_not_continued_for_less_than_it_has_done(finished, train, tmp_path):
    shutil.copy(finished / "checkpoints" / "last.ckpt", tmp_path / "alone.ckpt")
    outcome = train(*TINY, "resume=alone.ckpt", "trainer.max_epochs=1")
    assert (outcome.code, "trainer.max_epochs=1: the run has trained 6 steps" in outcome.err) == (2, True), outcome.err
    assert not (tmp_path / "runs").exists()


def test_a_completed_run_keeps_its_record_if_resuming_it_fails_before_the_first_step(
    finished, train, tmp_path, monkeypatch
):
    shutil.copytree(finished, tmp_path / "run")
    before = files(tmp_path / "run")
    monkeypatch.setattr("cnnlab.build.run.build_data", lambda _: 1 / 0)
    assert train("resume=run", "trainer.max_epochs=3").code == 1
    assert files(tmp_path / "run") == before


def test_a_resumed_run_keeps_what_it_was_trained_with(train, tmp_path):
    train(*TINY, "hydra.run.dir=run")
    before = (tmp_path / "run" / "config.yaml").read_text()
    changes = ("protocol=article", "seed=1", "optimizer.lr=0.2", "augmentation.flip=none", "model.dropout=0.5")
    for change in (*changes, "trainer.gradient_clip_val=1", "trainer.limit_train_batches=2"):
        outcome = train("resume=run", "trainer.max_epochs=3", change)
        assert outcome.code == 2
        assert f"{change}: a resumed run keeps its own {change.partition('=')[0]}" in outcome.err
    outcome = train("resume=run", "trainer=cpu")  # it would bring the clipping of another recipe
    assert (outcome.code, "takes single keys" in outcome.err) == (2, True)
    assert (tmp_path / "run" / "config.yaml").read_text() == before
    assert (
        train("resume=run", "seed=0", "protocol=holdout", "data.workers=0").code == 0
    )  # unchanged, or without effect on the result


def alternate_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have `precision=auto` mean another number format each time, as timings may."""
    formats = itertools.cycle(["bf16-mixed", "32-true"])
    monkeypatch.setattr("cnnlab.training.precision.auto_precision", lambda kind: next(formats))


@pytest.mark.parametrize("resume", ["resume=run", "resume=alone.ckpt"])
def test_a_resumed_run_keeps_its_number_format(train, tmp_path, monkeypatch, resume):
    alternate_precision(monkeypatch)
    assert train(*TINY, "hydra.run.dir=run").code == 0
    assert (summary(tmp_path / "run")["precision"], configuration(tmp_path / "run")["trainer"]["precision"]) == (
        "bf16-mixed",
        "auto",
    )
    shutil.copy(tmp_path / "run" / "checkpoints" / "last.ckpt", tmp_path / "alone.ckpt")
    keys = () if resume == "resume=run" else (*TINY, "hydra.run.dir=other")
    outcome = train(*keys, resume, "trainer.max_epochs=3")
    assert outcome.code == 0, outcome.err
    assert summary(tmp_path / ("run" if resume == "resume=run" else "other"))["precision"] == "bf16-mixed"
    assert train(*TINY, "hydra.run.dir=third").code == 0
    assert summary(tmp_path / "third")["precision"] == "32-true"  # a new run decides anew


@pytest.mark.parametrize("beside", ["multirun.yaml", "a.lock"])
def test_the_runs_of_a_sweep_or_search_share_a_number_format(train, tmp_path, monkeypatch, beside):
    alternate_precision(monkeypatch)
    folder = tmp_path / "trials"
    folder.mkdir()
    for name in (beside, "b.lock", "c.lock"):
        (folder / name).touch()
    for name in "abc":
        outcome = train(*TINY, f"seed={ord(name)}", f"hydra.run.dir={folder / name}")
        assert outcome.code == 0, outcome.err
    assert [summary(folder / name)["precision"] for name in "abc"] == ["bf16-mixed"] * 3
    assert train(*TINY, "hydra.run.dir=trials/single").code == 0
    expected = "bf16-mixed" if beside == "multirun.yaml" else "32-true"
    assert summary(folder / "single")["precision"] == expected


def test_a_finished_run_that_is_made_longer_has_no_score_until_its_end(train, tmp_path, monkeypatch):
    assert train(*TINY, "hydra.run.dir=run").code == 0
    assert summary(tmp_path / "run")["test_accuracy"] is not None
    stop_when_asked(monkeypatch, 2)
    assert train("resume=run", "trainer.max_epochs=4").code == 130
    record = summary(tmp_path / "run")
    assert (record["status"], record["test_accuracy"], record["test_loss"]) == ("interrupted", None, None)
    assert not (tmp_path / "run" / "predictions.npz").exists()


def test_a_checkpoint_can_be_continued_in_another_directory(train, tmp_path):
    assert train(*TINY, "hydra.run.dir=run").code == 0
    (tmp_path / "run" / "checkpoints" / "last.ckpt").rename(tmp_path / "alone.ckpt")
    # With this learning rate no epoch is better than those of the first directory.
    outcome = train(*TINY, "resume=alone.ckpt", "trainer.max_epochs=3", "optimizer.lr=1e-30", "hydra.run.dir=other")
    assert outcome.code == 0, outcome.err
    record = summary(tmp_path / "other")
    assert (record["status"], record["best_epoch"]) == ("completed", 3)


def test_a_network_that_a_function_makes_can_be_resumed_and_evaluated(train, command, tmp_path):
    body = "    return nn.Sequential(nn.Flatten(), nn.Linear(3072, num_classes))"
    (tmp_path / "by_function.py").write_text(f"from torch import nn\n\ndef make(num_classes):\n{body}\n")
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "mine.yaml").write_text("_target_: by_function.make\n")
    assert train(*TINY, "model=mine", "hydra.run.dir=run").code == 0
    assert train("resume=run", "trainer.max_epochs=3").code == 0
    assert command("evaluate", "checkpoint=run").code == 0


@pytest.mark.parametrize(
    "part",
    [
        {"callbacks": {"mine": {"_target_": "strange.Callback"}}},
        {"logger": {"mine": {"_target_": "os.mkdir", "save_dir": "attacked"}}},
        {"model": {"_target_": "strange.Net"}},
        {"optimizer": {"_target_": "torch.optim.SGD", "_partial_": True, "lr": {"_target_": "strange.rate"}}},
        {"loss": {"_target_": "torch.nn.CrossEntropyLoss", "weight": [{"_target_": "strange.weight"}]}},
        {"loss": {"_target_": "${oc.decode:strange.loss}"}},
        {"schedule": {"_target_": "torch.nn.torch.hub.load"}},
        {"schedule": {"_target_": 5}},
    ],
)
def test_the_record_of_a_stranger_names_no_code(train, tmp_path, part):
    assert train(*TINY, "trainer.max_epochs=1", "hydra.run.dir=run").code == 0
    before = {file: file.read_bytes() for file in (tmp_path / "run").rglob("*") if file.is_file()}
    config = configuration(tmp_path / "run") | part | {"trust": ["strange", "os"]}
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "strange.py").write_text("from pathlib import Path\nPath('attacked').touch()\n")
    outcome = train("resume=run", "trainer.max_epochs=2")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1), outcome.err
    assert outcome.err.startswith("resume: run is not loaded: ")
    assert not (tmp_path / "attacked").exists()
    same = [file for file, content in before.items() if file.read_bytes() == content]
    assert {file.name for file in before} - {file.name for file in same} == {"config.yaml"}


def test_a_run_whose_network_was_named_on_the_command_line_resumes_when_it_is_trusted(train, tmp_path):
    write_own_network(tmp_path, "namednet")
    (tmp_path / "conf" / "model" / "namednet.yaml").rename(tmp_path / "elsewhere.yaml")
    others = ("~model.activation", "~model.pooling", "~model.normalization", "~model.dropout", "~model.width")
    tiny = (*TINY, "trainer.max_epochs=1", *others)
    assert train(*tiny, "model._target_=namednet.Own", "hydra.run.dir=run").code == 0
    refused = train("resume=run", "trainer.max_epochs=2")
    expected = "resume: run is not loaded: it names namednet.Own, which may run any code; trust=namednet allows it\n"
    assert (refused.code, refused.err) == (2, expected)
    assert train("resume=run", "trainer.max_epochs=2", "trust=namednet").code == 0
    assert "trust" not in configuration(tmp_path / "run")


def test_a_run_is_not_resumed_with_other_images(train, class_folders):
    """Add a file, which changes the split: training images could choose the best epoch."""
    images = ("data=folder", f"data.path={class_folders}", "data.cache=cache", "logger=none")
    assert train(*TINY, *images, "hydra.run.dir=run").code == 0
    folder = class_folders / "train" / "cat"
    shutil.copy(next(folder.iterdir()), folder / "more.png")
    outcome = train("resume=run", "trainer.max_epochs=3")
    assert outcome.code == 2
    assert "was trained on other images" in outcome.err
    assert summary(class_folders.parent / "run")["epochs"] == 2


def test_a_run_can_be_resumed_from_another_directory(train, tmp_path, parquet_folder, monkeypatch):
    train(*TINY, "data=cifar10", f"data.path={parquet_folder.name}", "hydra.run.dir=run")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert train("resume=../run", "trainer.max_epochs=3").code == 0
    assert summary(tmp_path / "run")["epochs"] == 3


@pytest.mark.parametrize("own", [("train.log", "output.log", "errors.log", "notes.txt"), ("train.log",), ()])
def test_a_refused_request_leaves_the_users_own_files(train, tmp_path, own):
    folder = tmp_path / "mine"
    folder.mkdir()
    for name in own:
        (folder / name).write_text(f"my own {name}")
    wrong = ("optimizer.lr=fast", "data.path=nowhere", "data.batch_size=0", "resume=nowhere", "unknown=1")
    for arguments in [(*TINY, change, "hydra.run.dir=mine") for change in wrong]:
        assert train(*arguments).code == 2
    assert train("-m", *TINY, "seed=0,1", "data.batch_size=0", "hydra.sweep.dir=mine", "hydra/launcher=basic").code == 2
    assert {file.name: file.read_text() for file in folder.iterdir()} == {name: f"my own {name}" for name in own}
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_refused_request_leaves_no_folders(train, command, tmp_path):
    for change in ("optimizer.lr=fast", "data.path=nowhere", "resume=nowhere", "hydra.run.dir=a/b/c model.width=x"):
        assert train(*TINY, *change.split()).code == 2
    assert train("-m", *TINY, "seed=0,1", "data.batch_size=0", "hydra/launcher=basic").code == 2
    assert command("tune", *TINY, "search=optimizer", "trials=0").code == 2
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "runs").mkdir()  # made by the user
    assert train(*TINY, "optimizer.lr=fast").code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_a_run_is_prepared_is_recorded(train, tmp_path, monkeypatch, number):
    monkeypatch.setattr("cnnlab.train._train", lambda *_: signal.raise_signal(number))
    assert train(*TINY, "hydra.run.dir=run").code == 130
    record = summary(tmp_path / "run")
    assert (record["status"], record["error"]) == ("interrupted", f"Interrupted by {number.name}.")
    assert signal.getsignal(number) == signal.SIG_DFL


@pytest.mark.parametrize("name", ["../outside", "/tmp/outside", "a/../../b", "."])
def test_a_name_stays_below_runs(train, tmp_path, name):
    for sweep in ((), ("seeds=2",)):
        outcome = train(*TINY, f"name={name}", *sweep)
        assert (outcome.code, outcome.err.startswith("name must be a folder below runs/")) == (2, True), outcome.err
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_never_overwritten(train, tmp_path):
    train(*TINY, "hydra.run.dir=run")
    before = {
        file: file.read_bytes() for file in (tmp_path / "run").rglob("*") if file.is_file() and file.suffix != ".log"
    }
    outcome = train(*TINY, "hydra.run.dir=run", "seed=1")
    assert (outcome.code, "resume=auto" in outcome.err) == (2, True)
    assert {file: file.read_bytes() for file in before} == before


def test_a_checkpoint_of_another_network_is_refused(train, tmp_path):
    train(*TINY, "hydra.run.dir=run")
    (tmp_path / "alone.ckpt").write_bytes((tmp_path / "run" / "checkpoints" / "last.ckpt").read_bytes())
    outcome = train(*TINY, "model=article", "resume=alone.ckpt")
    assert outcome.code == 2
    assert "holds another network: features.0.weight is (6, 3, 5, 5) there, (64, 3, 4, 4)" in outcome.err
    assert not list(tmp_path.glob("runs/*/*"))  # a wrong request leaves nothing behind


def test_a_network_that_initializes_from_images_sees_them_once(train, tmp_path, monkeypatch):
    tiny = [*TINY, "model=speednet", "model.width=0.25", "hydra.run.dir=run"]
    assert train(*tiny, "trainer.max_epochs=1").code == 0
    whitening = checkpoint(tmp_path / "run")["state_dict"]["network.whitening.weight"]
    norms = whitening[:12].flatten(1).norm(dim=1)
    assert (norms.diff() > -1e-3).all()  # principal components in order, not random filters; grey ones vary in four
    monkeypatch.setattr(
        "cnnlab.build.run.initialize_from_data", lambda *_: pytest.fail("a resumed network has seen them")
    )
    assert train("resume=run", "trainer.max_epochs=2").code == 0
    assert torch.equal(checkpoint(tmp_path / "run")["state_dict"]["network.whitening.weight"], whitening)


def test_a_resumed_run_keeps_its_own_network(train):
    train(*TINY, "hydra.run.dir=run")
    outcome = train("resume=run", "model=article")
    assert (outcome.code, "model=article" in outcome.err) == (2, True)


def test_a_checkpoint_that_would_run_code_is_refused(train, tmp_path):
    class Malicious:
        def __reduce__(self):
            return Path.touch, (tmp_path / "it-ran",)

    torch.save({"cnnlab": {}, "state_dict": Malicious()}, tmp_path / "stranger.ckpt")
    outcome = train(*TINY, "resume=stranger.ckpt")
    assert (outcome.code, "it is not loaded" in outcome.err) == (2, True)
    assert not (tmp_path / "it-ran").exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 torn"])
def test_a_damaged_checkpoint_is_refused(train, tmp_path, content):
    (tmp_path / "torn.ckpt").write_bytes(content)
    outcome = train(*TINY, "resume=torn.ckpt")
    assert (outcome.code, "torn.ckpt" in outcome.err) == (2, True)


# --- residence of the images -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("residence", "fixture"),
    [
        ("host", "parquet_folder"),
        ("stream", "photo_folders"),
        *(pytest.param("host", folder, marks=slow) for folder in ("class_folders", "photo_folders")),
        *(pytest.param("stream", folder, marks=slow) for folder in ("parquet_folder", "class_folders")),
    ],
)
def test_a_run_is_the_same_wherever_its_images_are(train, tmp_path, fixture, residence, request):
    data = ("data=folder", f"data.path={request.getfixturevalue(fixture)}", "data.workers=1", "data.batch_size=9")
    options = (*TINY, *data, "trainer.precision=32-true")
    assert train(*options, "data.residence=device", "hydra.run.dir=device").code == 0
    outcome = train(*options, f"data.residence={residence}", "hydra.run.dir=other")
    assert outcome.code == 0, outcome.err
    assert same_weights(tmp_path / "device", tmp_path / "other")
    assert metrics(tmp_path / "device", without="seconds") == metrics(tmp_path / "other", without="seconds")
    scored, wanted = (np.load(tmp_path / name / "predictions.npz") for name in ("other", "device"))
    assert np.array_equal(scored["logits"], wanted["logits"])
    record = summary(tmp_path / "other")
    assert record["data_fingerprint"].startswith("files-") is (residence == "stream")


def test_a_streamed_run_that_was_stopped_within_an_epoch_resumes_exactly(train, tmp_path, class_folders, monkeypatch):
    data = ("data=folder", f"data.path={class_folders}", "data.residence=stream", "data.workers=1")
    options = (*TINY, *data, "trainer.precision=32-true")
    assert train(*options, "hydra.run.dir=whole").code == 0
    with monkeypatch.context() as patch:
        stop_when_asked(patch, 5)
        assert train(*options, "hydra.run.dir=parts").code == 130
    assert train("resume=parts").code == 0
    assert same_weights(tmp_path / "whole", tmp_path / "parts")


def test_a_broken_image_within_a_stream_fails_the_run_and_is_named(train, tmp_path, class_folders):
    file = class_folders / "train" / "dog" / "0065.png"
    file.write_bytes(file.read_bytes()[:100])
    data = ("data=folder", f"data.path={class_folders}", "data.residence=stream", "data.workers=1", "protocol=article")
    constants = ("data.mean=[0.5,0.5,0.5]", "data.std=[0.2,0.2,0.2]", "trainer.limit_train_batches=1.0")
    outcome = train(*TINY, *data, *constants, "hydra.run.dir=run")
    assert (outcome.code, f"data: {file} cannot be read" in outcome.err) == (1, True)
    record = summary(tmp_path / "run")
    assert (record["status"], str(file) in record["error"]) == ("failed", True)


# --- networks, recipes and experiments of the user's own -------------------------------------------------------------

OWN_NETWORK = """
from torch import nn

class Own(nn.Module):
    def __init__(self, num_classes, width=4):
        super().__init__()
        filters = nn.Conv2d(3, width, 3)
        self.body = nn.Sequential(filters, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, {out}))

    def forward(self, x):
        if {broken} and self.training:
            raise RuntimeError("the network broke")
        return self.body(x)
"""


def write_own_network(directory: Path, name: str, out: str = "num_classes", broken: bool = False) -> None:
    (directory / f"{name}.py").write_text(OWN_NETWORK.format(out=out, broken=broken))
    (directory / "conf" / "model").mkdir(parents=True, exist_ok=True)
    (directory / "conf" / "model" / f"{name}.yaml").write_text(f"_target_: {name}.Own\nwidth: 4\n")


def test_a_network_of_the_users_own_trains(train, tmp_path):
    write_own_network(tmp_path, "ownnet")
    assert train(*TINY, "model=ownnet", "model.width=8", "hydra.run.dir=run").code == 0
    assert summary(tmp_path / "run")["parameters"] == 3 * 9 * 8 + 8 + 8 * 10 + 10


def test_a_failing_network_leaves_a_record_that_says_so(train, tmp_path):
    write_own_network(tmp_path, "brokennet", broken=True)
    outcome = train(*TINY, "model=brokennet", "hydra.run.dir=run")
    assert outcome.code == 1
    record = summary(tmp_path / "run")
    assert (record["status"], record["error"]) == ("failed", "RuntimeError: the network broke")
    assert record["total_seconds"] > 0


def test_a_network_with_too_few_outputs_is_refused(train, tmp_path):
    write_own_network(tmp_path, "narrownet", out="7")
    outcome = train(*TINY, "model=narrownet")
    assert (outcome.code, "the network has 7 classes, the data have 10" in outcome.err) == (2, True)


def test_a_recipe_and_an_experiment_of_the_users_own(train, tmp_path):
    (tmp_path / "conf" / "recipe").mkdir(parents=True)
    (tmp_path / "conf" / "recipe" / "gentle.yaml").write_text(
        "# @package _global_\ndefaults: [fast]\noptimizer: {lr: 0.01}\n"
    )
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "question.yaml").write_text(
        "defaults:\n  - override /recipe: gentle\n  - override /model: lenet5\nseed: 5\n"
    )
    tiny = [option for option in TINY if not option.startswith("model")]
    assert train(*tiny, "experiment=question", "hydra.run.dir=run").code == 0
    record = summary(tmp_path / "run")
    assert (record["name"], record["recipe"], record["seed"]) == ("question", "gentle", 5)
    assert configuration(tmp_path / "run")["optimizer"]["lr"] == 0.01
