"""Read a run, a checkpoint and a study that an earlier version has written (commit 8a68965)."""

import csv
import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

RECORDS = Path(__file__).parent / "records_of_before"
# The settings of the run, and with one epoch those of the trials.
OPTIONS = (
    *("data=digits", "model=lenet5", "model.width=0.125", "recipe=fast", "logger=none", "data.batch_size=64"),
    "data.mirror=true",  # digits were mirrored then, unless the recipe said otherwise
    *("trainer.max_epochs=2", "trainer.limit_train_batches=3", "trainer.precision=32-true", "trainer.accelerator=cpu"),
)


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open() as stream:
        return list(csv.DictReader(stream))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Copy the run directory. Its last checkpoint is the best one, and stored once."""
    shutil.copytree(RECORDS / "run", tmp_path / "run")
    shutil.copy(tmp_path / "run" / "checkpoints" / "best.ckpt", tmp_path / "run" / "checkpoints" / "last.ckpt")
    return tmp_path / "run"


@pytest.fixture
def record(run: Path) -> dict[str, Any]:
    return json.loads((run / "summary.json").read_text())


def test_its_checkpoint_is_evaluated_as_it_was(command, run, record, tmp_path):
    outcome = command("evaluate", "checkpoint=run", "device=cpu", "output=evaluation")
    assert outcome.code == 0, outcome.err
    evaluation = json.loads((tmp_path / "evaluation" / "evaluation.json").read_text())
    assert evaluation["accuracy"] == pytest.approx(record["test_accuracy"])
    assert evaluation["loss"] == pytest.approx(record["test_loss"])


def test_its_checkpoint_predicts(command, run, tmp_path):
    outcome = command("predict", "checkpoint=run", "images=test", "limit=3", "device=cpu", "output=predictions.csv")
    assert outcome.code == 0, outcome.err
    assert len((tmp_path / "predictions.csv").read_text().splitlines()) == 1 + 3


def test_it_is_compared(command, run, record, tmp_path):
    outcome = command("compare", "runs=run", "output=comparison")
    assert outcome.code == 0, outcome.err
    comparison = json.loads((tmp_path / "comparison" / "comparison.json").read_text())
    (section,) = comparison["sections"]
    (group,) = section["groups"]
    assert (group["model"], group["recipe"], group["data"]) == ("lenet5", "fast", "digits")
    assert group["mean"] == pytest.approx(record["test_accuracy"])
    assert comparison["problems"] == []


def test_it_is_continued(train, run, record):
    before = rows(run)
    outcome = train("resume=run", "trainer.max_epochs=3")
    assert outcome.code == 0, outcome.err
    assert [{key: row[key] for key in before[0]} for row in rows(run)[:2]] == before
    longer = json.loads((run / "summary.json").read_text())
    assert (longer["status"], longer["epochs"], longer["steps"]) == ("completed", 3, 9)
    assert longer["data_fingerprint"] == record["data_fingerprint"]


def test_the_same_command_finds_it_complete(train, run):
    outcome = train(*OPTIONS, "hydra.run.dir=run", "resume=auto")
    assert (outcome.code, "is complete" in outcome.out) == (0, True), outcome.err


def test_its_study_is_searched_further(command, tmp_path):
    """Both trials are there already, so that none is started."""
    folder = tmp_path / "runs" / "study"
    folder.mkdir(parents=True)
    with sqlite3.connect(folder / "study.db") as database:
        database.executescript((RECORDS / "study.sql").read_text())
    database.close()
    outcome = command("tune", *OPTIONS, "trainer.max_epochs=1", "search=optimizer", "name=study", "trials=2")
    assert outcome.code == 0, outcome.err
    trials = json.loads((folder / "tune.json").read_text())["trials"]
    assert [(trial["state"], trial["value"]) for trial in trials] == [("completed", pytest.approx(0.100671142))] * 2
    assert trials[1]["arguments"][:2] == ["optimizer.lr=0.884", "optimizer.momentum=0.8652"]
    assert not (folder / "trials" / "002").exists()
