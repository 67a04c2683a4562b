"""The corpus of the training doctor: its plan, one fault and one healthy run of the smallest size, and the score."""

import json
import sys
from collections import Counter
from dataclasses import replace

import corpus
import pytest
import score
from faults import FAULTS
from folders import Folders
from score import Scored, table

from cnnlab.data.sources import find_source
from cnnlab.doctor.findings import FAULTS as NAMED

TINY = ("trainer.max_epochs=1", "trainer.limit_train_batches=3", "model.width=0.3", "data.fraction=0.2")


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


def test_both_halves_have_every_fault_and_as_many_healthy_runs():
    assert set(FAULTS) == set(NAMED), "a fault of the doctor is missing in the corpus, or the other way round"
    first, second = corpus.plan(2)
    runs = [*first, *second]
    assert len({run.name for run in runs}) == len(runs)
    for half in ("building", "test"):
        mine = [run for run in runs if run.half == half]
        assert Counter(run.fault for run in mine if run.fault) == dict.fromkeys(FAULTS, 3)
        assert len([run for run in mine if not run.fault]) == pytest.approx(3 * len(FAULTS), rel=0.1)


def test_a_folder_is_written_once_and_holds_the_change(tmp_path):
    folders = Folders(tmp_path / "images", None)
    place = folders.path("digits", "leak_images", 0.1)
    raw = find_source(None, str(place)).read()
    assert raw.test is not None
    assert (len(raw.train.labels), len(raw.test.labels)) == (1498 + 30, 299)
    written = (place / "train.parquet").stat().st_mtime_ns
    assert folders.path("digits", "leak_images", 0.1) == place
    assert (place / "train.parquet").stat().st_mtime_ns == written


def test_a_fault_and_a_healthy_run_go_through_the_scripts(tmp_path, monkeypatch, capsys):
    runs = {run.name: run for run in next(corpus.plan(1)) if run.cell.network == "lenet5" and run.cell.data == "digits"}
    ill = next(run for run in runs.values() if run.fault == "images_not_shuffled")
    healthy = next(run for run in runs.values() if run.kind == "select-by-loss")
    folders = Folders(tmp_path / "images", None)
    for run in (ill, healthy):
        tiny = replace(run, half="test", settings=(*run.settings, *TINY))
        corpus.train_one(tiny, tmp_path, folders)
        corpus.train_one(tiny, tmp_path, folders)  # is there already
    tags = {name: json.loads((tmp_path / "runs" / name / corpus.TAGS).read_text()) for name in (ill.name, healthy.name)}
    assert (tags[ill.name]["fault"], tags[healthy.name]["fault"]) == ("images_not_shuffled", None)
    monkeypatch.setattr(sys, "argv", ["score.py", str(tmp_path), "--half", "test"])
    score.main()
    printed = capsys.readouterr().out
    assert "| `images_not_shuffled` | 1 | 1 (100%) | 1 (100%) |  |" in printed
    assert "of 1 healthy runs" in printed
    score.main()
    assert capsys.readouterr().out == printed, "what was found is kept"


def test_a_fault_of_degree_counts_only_where_it_costs_accuracy(tmp_path):
    def write(name: str, accuracy: float | None, **tag: object) -> None:
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        record = {"status": "completed" if accuracy else "diverged", "test_accuracy": accuracy}
        (folder / "summary.json").write_text(json.dumps({**record, "images": {"train": 9, "val": 9, "test": 300}}))
        about = {"name": name, "fault": "rate_too_low", "half": "test", "must_harm": True, "twin": "twin"}
        (folder / score.TAGS).write_text(json.dumps(about | tag))

    write("twin", 0.9, half="twin", must_harm=False, fault=None)
    for name, accuracy in {"as-good": 0.88, "worse": 0.8, "diverged": None}.items():
        write(name, accuracy)
    write("mistake", 0.9, must_harm=False)
    write("alone", 0.1, twin="missing")
    tags, left_out = score.runs_of(tmp_path, "test")
    assert {tag["name"] for tag in tags} == {"worse", "diverged", "mistake"}
    assert set(left_out) == {"as-good", "alone"}


def test_the_table_counts_what_was_found_first_among_three_and_wrongly():
    scored = [
        Scored("a", "overfitting", ["overfitting"], [], 1),
        Scored("b", "overfitting", ["x", "y", "overfitting"], [], 1),
        Scored("c", "underfitting", ["x", "y", "z", "underfitting"], [], 1),
        Scored("d", None, [], [], 1),
        Scored("e", None, ["dead_relus"], [], 1),
    ]
    text = table(scored)
    assert "| `overfitting` | 2 | 1 (50%) | 2 (100%) | `x` 1 |" in text
    assert "| `underfitting` | 1 | 0 (0%) | 0 (0%) | `x` 1 |" in text
    assert "| **all faults** | 3 | 1 (33%) | 2 (67%) |  |" in text
    assert "False alarms: 1 of 2 healthy runs (50.0%): `dead_relus` 1." in text
