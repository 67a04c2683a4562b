"""Test `cnnlab train`: a run that was stopped goes on as if it had not been, and a finished one can be made longer."""

import itertools
import json
import shutil

import pytest
import torch
import yaml
from torchvision.models import WeightsEnum

from cnnlab.libraries import torchvision_network
from tests.helpers import (
    TINY,
    checkpoint,
    configuration,
    metrics,
    same_weights,
    stop_when_asked,
    summary,
    write_own_network,
)

slow = pytest.mark.slow


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


@pytest.mark.parametrize("weights", [(), ("weights=start",)])
def test_a_run_that_was_killed_before_its_first_checkpoint_starts_again(train, tmp_path, weights):
    options = (*TINY, "trainer.precision=32-true", *weights)
    if weights:
        train(*TINY, "seed=5", "hydra.run.dir=start")
    train(*options, "hydra.run.dir=whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "parts")
    shutil.rmtree(tmp_path / "parts" / "checkpoints")
    assert "there is no checkpoint" in train("resume=parts").err  # it has trained, and they were removed
    killed = summary(tmp_path / "parts") | {"status": "running", "epochs": None, "steps": None}
    (tmp_path / "parts" / "summary.json").write_text(json.dumps(killed))
    config = configuration(tmp_path / "parts")
    config["data"]["cache"] = str(tmp_path / "elsewhere")  # a record, which may be a stranger's, makes no folders
    (tmp_path / "parts" / "config.yaml").write_text(yaml.safe_dump(config))
    leftovers = [tmp_path / "parts" / name for name in (".metrics-ab12cd34.csv", "checkpoints/..new-ab12cd34.ckpt")]
    for file in leftovers:
        file.parent.mkdir(exist_ok=True)
        file.touch()
    assert train("resume=parts").code == 0
    assert same_weights(tmp_path / "whole", tmp_path / "parts")
    assert not [file for file in (*leftovers, tmp_path / "elsewhere") if file.exists()]


def test_a_pretrained_run_that_was_killed_before_its_first_checkpoint_starts_again(train, tmp_path, monkeypatch):
    published = torchvision_network("squeezenet1_1", num_classes=1000).state_dict()
    monkeypatch.setattr(WeightsEnum, "get_state_dict", lambda self, **options: published)
    network = ("model=torchvision", "model.name=squeezenet1_1", "model.pretrained=true")
    options = (*TINY, *network, "trainer.precision=32-true", "trainer.max_epochs=1", "trainer.limit_train_batches=1")
    assert train(*options, "trainer.limit_test_batches=1", "hydra.run.dir=whole").code == 0
    parts = shutil.copytree(tmp_path / "whole", tmp_path / "parts", ignore=shutil.ignore_patterns("checkpoints"))
    killed = summary(parts) | {"status": "running", "epochs": None, "steps": None}
    (parts / "summary.json").write_text(json.dumps(killed))
    config = configuration(parts)
    (parts / "config.yaml").write_text(yaml.safe_dump(config | {"model": {**config["model"], "cache_dir": "else"}}))
    assert "there is no checkpoint" in train("resume=parts").err  # the record may be a stranger's
    (parts / "config.yaml").write_text(yaml.safe_dump(config))
    assert train("resume=parts").code == 0
    assert same_weights(tmp_path / "whole", parts)


def test_early_stopping_ends_a_resumed_run_where_it_ended_the_run(train, tmp_path):
    patience = "callbacks.early_stopping.patience"
    options = (*TINY, "callbacks=early_stopping", f"{patience}=1", "trainer.max_epochs=6", "optimizer.lr=0")
    train(*options, "hydra.run.dir=run")
    record = summary(tmp_path / "run")
    assert record["epochs"] == 2
    (tmp_path / "run" / "summary.json").write_text(json.dumps(record | {"status": "running"}))  # killed before the test
    assert train("resume=run").code == 0
    assert (summary(tmp_path / "run")["status"], summary(tmp_path / "run")["epochs"]) == ("completed", 2)
    assert train("resume=run", f"{patience}=3").code == 0
    assert summary(tmp_path / "run")["epochs"] == 4


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


def test_a_resumed_run_keeps_what_it_was_trained_with(train, tmp_path):
    train(*TINY, "hydra.run.dir=run")
    before = (tmp_path / "run" / "config.yaml").read_text()
    changes = ("protocol=article", "seed=1", "optimizer.lr=0.2", "augmentation.flip=random", "model.dropout=0.5")
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


def test_a_run_whose_network_was_named_on_the_command_line_resumes_when_it_is_trusted(train, tmp_path):
    write_own_network(tmp_path, "namednet")
    (tmp_path / "conf" / "model" / "namednet.yaml").rename(tmp_path / "elsewhere.yaml")
    tiny = (*TINY, "trainer.max_epochs=1")
    assert train(*tiny, "model._target_=namednet.Own", "hydra.run.dir=run").code == 0
    refused = train("resume=run", "trainer.max_epochs=2")
    expected = "resume: run is not loaded: it names namednet.Own, which may run any code; trust=namednet allows it\n"
    assert (refused.code, refused.err) == (2, expected)
    assert train("resume=run", "trainer.max_epochs=2", "trust=namednet").code == 0
    assert "trust" not in configuration(tmp_path / "run")


def test_a_run_can_be_resumed_from_another_directory(train, tmp_path, parquet_folder, monkeypatch):
    train(*TINY, "data=cifar10", f"data.path={parquet_folder.name}", "hydra.run.dir=run")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert train("resume=../run", "trainer.max_epochs=3").code == 0
    assert summary(tmp_path / "run")["epochs"] == 3


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


def test_the_record_of_a_run_killed_after_its_last_checkpoint_is_brought_up_to_date(train, tmp_path):
    train(*TINY, "hydra.run.dir=run", "trainer.precision=32-true")
    whole = summary(tmp_path / "run")
    behind = whole | {"status": "running", "epochs": 1, "steps": 3, "best_epoch": 1, "val_accuracy": 0.0}
    (tmp_path / "run" / "summary.json").write_text(json.dumps(behind))
    assert train("resume=run").code == 0
    same = ("status", "epochs", "steps", "best_epoch", "val_accuracy", "val_loss", "test_accuracy")
    assert [summary(tmp_path / "run")[key] for key in same] == [whole[key] for key in same]
