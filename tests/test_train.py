"""Test `cnnlab train` from the outside: its record, its directories, reproducibility, and parts of the user's own."""

import json
import os
import shlex
import signal

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import balanced_accuracy_score, f1_score

from cnnlab.data.images import load_images
from cnnlab.data.sources import find_source
from cnnlab.data.splits import held_out_positions
from cnnlab.runs.directory import SUMMARY_KEYS
from tests.helpers import TINY, checkpoint, configuration, metrics, same_weights, summary, write_own_network


def test_a_run_leaves_a_complete_and_true_record(train, tmp_path):
    outcome = train("data=digits", "model=lenet5", "recipe=fast", "trainer.max_epochs=2", "hydra.run.dir=run")
    run = tmp_path / "run"
    assert outcome.code == 0
    record = summary(run)
    assert tuple(record) == SUMMARY_KEYS
    may_be_unknown = ("data_revision", "git_commit", "error", "test_accuracy_tta", "started_from", "fold", "folds")
    may_be_unknown += ("plan", "warm_up")
    assert [key for key, value in record.items() if value is None and key not in may_be_unknown] == []
    assert (record["status"], record["model"], record["recipe"], record["data"]) == (
        "completed",
        "lenet5",
        "fast",
        "digits",
    )
    assert (record["epochs"], record["steps"], record["parameters"]) == (2, 86, 62_006)
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
        "val/balanced_accuracy",
        "val/macro_f1",
    ]
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert record["val_accuracy"] == max(float(row["val/accuracy"]) for row in rows)
    assert float(rows[record["best_epoch"] - 1]["val/loss"]) == record["val_loss"]
    assert 0 < record["train_seconds"] < record["total_seconds"]
    scored = np.load(run / "predictions.npz")
    assert scored["logits"].shape == (len(scored["labels"]), 10)
    assert np.array_equal(scored["labels"], load_images(find_source("digits", None), 32).test.labels.numpy())
    assert np.mean(scored["logits"].argmax(1) == scored["labels"]) == pytest.approx(record["test_accuracy"])
    answers, labels = scored["logits"].argmax(1), scored["labels"]
    assert record["test_balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, answers))
    assert record["test_macro_f1"] == pytest.approx(f1_score(labels, answers, average="macro"))
    assert record["test_largest_class"] == pytest.approx(np.bincount(labels).max() / 299)
    assert f"{record['test_balanced_accuracy']:.2%}; macro F1 {record['test_macro_f1']:.2%}" in outcome.out
    assert float(rows[record["best_epoch"] - 1]["val/balanced_accuracy"]) == record["val_balanced_accuracy"]
    config = configuration(run)
    assert (config["optimizer"]["lr"], config["data"]["batch_size"], config["augmentation"]["flip"]) == (
        0.1,
        32,
        "none",
    )
    assert "${" not in (run / "config.yaml").read_text()
    assert list((run / "tensorboard").glob("events*"))
    assert "2/2" in (run / "train.log").read_text()
    assert "test accuracy" in outcome.out
    assert record["classes"] == [str(digit) for digit in range(10)]
    assert record["images"] == {"train": 1349, "val": 149, "test": 299, "ignored": {}}
    assert outcome.out.count("10 classes (0, 1, 2, ...), 1,349 train, 149 val, 299 test images\n") == 1
    assert "run" in outcome.out.splitlines()  # as one would type it
    assert record["command"].startswith("cnnlab train data=digits model=lenet5")


def test_an_evaluation_is_suggested_after_a_run_on_a_terminal(train, command, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setattr("cnnlab.train.NEAR_CHANCE", -1.0)
    outcome = train(*TINY, "trainer.enable_progress_bar=false", "hydra.run.dir=my run")
    suggested = outcome.err.rpartition("Next: ")[2]
    assert shlex.split(suggested) == ["cnnlab", "evaluate", "checkpoint=my run"]
    assert command(*shlex.split(suggested)[1:]).code == 0


def test_no_job_of_a_sweep_suggests_an_evaluation(train, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    outcome = train("-m", *TINY, "trainer.enable_progress_bar=false", "seed=0,1", "hydra/launcher=basic")
    assert (outcome.code, "Next: cnnlab evaluate" in outcome.err) == (0, False)


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


def test_a_fold_keeps_its_outputs_for_the_held_out_images_and_can_be_resumed_and_evaluated(train, command, tmp_path):
    labels = load_images(find_source("digits", None), 32).train.labels
    assert train(*TINY, "data.fold=2", "data.folds=3", "data.fraction=0.5", "hydra.run.dir=run").code == 0
    for epochs in (2, 3):
        record, kept = summary(tmp_path / "run"), np.load(tmp_path / "run" / "held_out.npz")
        assert (record["fold"], record["folds"], record["fraction"], record["epochs"]) == (2, 3, 0.5, epochs)
        assert np.array_equal(kept["positions"], held_out_positions(labels, 2, 3))
        assert np.array_equal(kept["labels"], labels[kept["positions"]])
        right = kept["logits"].argmax(1) == kept["labels"]
        assert right.mean() == pytest.approx(record["val_accuracy"], abs=0.005)  # bf16 in other batches
        if epochs == 2:
            assert train("resume=run", "trainer.max_epochs=3").code == 0
    assert "keeps its own data.fold" in train("resume=run", "data.fold=1").err
    assert command("evaluate", "checkpoint=run", "split=val").code == 0
    evaluated = json.loads((tmp_path / "run" / "evaluation_val" / "evaluation.json").read_text())
    assert (evaluated["images"], evaluated["accuracy"]) == (499, pytest.approx(right.mean(), abs=0.005))


def test_a_sweep_leaves_a_directory_for_each_job(train, tmp_path):
    outcome = train("-m", *TINY, "seed=0,1", "hydra/launcher=basic")  # in this process
    assert outcome.code == 0
    records = [summary(path.parent) for path in sorted(tmp_path.glob("runs/sweep/*/*/summary.json"))]
    assert [(record["status"], record["seed"]) for record in records] == [("completed", 0), ("completed", 1)]


def test_a_wrong_job_of_a_sweep_does_not_affect_the_others(train, tmp_path):
    outcome = train("-m", *TINY, "data.batch_size=0,16", "hydra/launcher=basic")
    assert (outcome.code, "data.batch_size must be 1 or more" in outcome.err) == (2, True)
    assert [summary(path.parent)["status"] for path in tmp_path.glob("runs/sweep/*/*/summary.json")] == ["completed"]


@pytest.mark.parametrize("accuracy", [0.1, 0.119, 0.2])
def test_a_training_that_ends_near_chance_ends_with_the_doctor(train, monkeypatch, accuracy):
    """The largest of the ten classes has a tenth of these test images."""
    import cnnlab.train

    def score(classifier, trainer, data, run):
        run.update_summary(test_accuracy=accuracy, test_largest_class=0.1)

    monkeypatch.setattr(cnnlab.train, "_test", score)
    outcome = train(*TINY)
    assert outcome.code == 0
    asked = [line for line in outcome.err.splitlines() if line.startswith("Next: cnnlab doctor run=")]
    assert len(asked) == (accuracy < 0.12)


def test_a_training_whose_loss_is_not_finite_ends_as_diverged(train, command, tmp_path):
    outcome = train(*TINY, "optimizer.lr=1e20", "hydra.run.dir=runs/x/run")
    assert (outcome.code, "Traceback" in outcome.err) == (1, False)
    record = summary(tmp_path / "runs" / "x" / "run")
    epoch = len(metrics(tmp_path / "runs" / "x" / "run"))
    assert f"The training diverged: the loss is not finite in epoch {epoch} (train/loss is" in outcome.err
    assert outcome.err.splitlines()[-1].startswith("Next: cnnlab doctor run=")
    assert record["status"] == "diverged"
    assert record["error"].startswith(f"the loss is not finite in epoch {epoch} (train/loss is")
    assert "NaN" not in (tmp_path / "runs" / "x" / "run" / "summary.json").read_text()
    assert not list(tmp_path.rglob("best.ckpt"))  # weights that are not finite are no result
    again = train(*TINY, "optimizer.lr=1e20", "hydra.run.dir=runs/x/run", "resume=auto")
    assert (again.code, summary(tmp_path / "runs" / "x" / "run")) == (1, record)  # it would diverge again
    assert "runs/x/run is not tried again" in again.err
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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_a_run_is_prepared_is_recorded(train, tmp_path, monkeypatch, number):
    monkeypatch.setattr("cnnlab.train.train_recorded", lambda *_: signal.raise_signal(number))
    assert train(*TINY, "hydra.run.dir=run").code == 130
    record = summary(tmp_path / "run")
    assert (record["status"], record["error"]) == ("interrupted", f"Interrupted by {number.name}.")
    assert signal.getsignal(number) == signal.SIG_DFL


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


def test_odd_names_of_classes_are_recorded_and_shown(train, command, tmp_path):
    names = (b"$\\frac$", b"\xff", b"\x1b[31m", b"[red]:smile:", b"a\nb", b"<script>", b"l" * 250, "\u202e".encode())
    noise = np.random.default_rng(0)
    for name in names:
        folder = tmp_path / "odd" / os.fsdecode(name)
        folder.mkdir(parents=True)
        for number in range(6):
            Image.fromarray(noise.integers(0, 256, (32, 32, 3), np.uint8)).save(folder / f"{number}.png")
    given = ("data=folder", "data.path=odd", "data.holdout=0.2", "model=lenet5", "trainer.max_epochs=1")
    assert train(*given, "hydra.run.dir=run").code == 0
    shown = {r"$\frac$", r"\udcff", r"\x1b[31m", "[red]:smile:", r"a\nb", "<script>", "l" * 250, "\u202e"}
    assert set(summary(tmp_path / "run")["classes"]) == shown
    for arguments in (
        ["evaluate", "checkpoint=run"],
        ["compare", "runs=run"],
        ["visualize", "checkpoint=run", "image=test:0"],
    ):
        outcome = command(*arguments)
        assert outcome.code == 0, outcome.err
        assert "\x1b" not in outcome.out
