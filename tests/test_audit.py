"""Test the command on drawn images with planted faults, and training without what it marks."""

import csv
import json
import runpy
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]


@pytest.fixture
def shapes(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(sys, "argv", ["draw_shapes.py", str(tmp_path / "shapes")])
    runpy.run_path(str(ROOT / "docs" / "draw_shapes.py"), run_name="__main__")
    return tmp_path / "shapes"


def rows_of(table: Path) -> list[dict[str, str]]:
    with table.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_planted_faults_are_found_and_left_out(command, train, shapes, tmp_path):
    outcome = command("audit", "data=folder", f"data.path={shapes}")
    assert outcome.code == 0, outcome.err
    assert "shortcut: plain border" in outcome.out and "audit/audit.html" in outcome.err + outcome.out
    record = json.loads((tmp_path / "audit" / "audit.json").read_text())
    found = {kind: count["images"] for kind, count in record["findings"].items()}
    expected = {"unreadable": 2, "duplicate with another label": 2, "duplicate across splits": 2}
    expected |= {"near-duplicate across splits": 2, "duplicate": 2}
    assert found == expected | dict.fromkeys(("one colour", "small", "long", "grey"), 1)
    assert next(iter(found)) == "unreadable"  # the most serious first
    assert {one["property"] for one in record["shortcuts"] if one["found"]} >= {"plain border"}
    page = (tmp_path / "audit" / "audit.html").read_text()
    assert page.count("data:image/jpeg") == 12 and "<script" not in page and "http" not in page

    rows = rows_of(tmp_path / "audit" / "audit.csv")
    marked = [Path(row["image"]).relative_to("shapes") for row in rows if row["exclude"]]
    assert sorted(map(str, marked)) == ["train/circle/007.png", "train/circle/021.png", "train/square/060.png"]
    short = ("model=lenet5", "trainer.max_epochs=1", "trainer.limit_train_batches=1", "logger=none")
    run = tmp_path / "run"
    given = ("data=folder", f"data.path={shapes}", "data.on_error=skip", "data.exclude=audit/audit.csv")
    outcome = train(*given, *short, f"hydra.run.dir={run}")
    assert outcome.code == 0, outcome.err
    summary = json.loads((run / "summary.json").read_text())
    assert summary["images"]["ignored"] == {"damaged images": 2, "excluded images": 3}
    assert summary["images"]["train"] + summary["images"]["val"] == 358 - 3
    assert f"exclude: {tmp_path / 'audit' / 'audit.csv'}" in (run / "config.yaml").read_text()
    assert command("evaluate", f"checkpoint={run}").code == 0

    (shapes / "train" / "circle" / "000.png").unlink()
    outcome = train(*given, *short, f"hydra.run.dir={tmp_path / 'other'}")
    assert outcome.code == 2 and "data.exclude: " in outcome.err and not (tmp_path / "other").exists()


def test_runs_of_a_cross_validation_judge_the_labels(command, make_folds, shapes, tmp_path):
    make_folds(shapes)
    outcome = command("audit", "checkpoint=folds", "output=judged")
    assert outcome.code == 0, outcome.err
    record = json.loads((tmp_path / "judged" / "audit.json").read_text())
    assert record["labels_judged"] == {"train": 358, "test": 90}
    assert record["data"] == "shapes" and not record["remarks"]


@pytest.fixture
def make_folds(train, tmp_path):
    def make(shapes: Path) -> None:
        for fold in (1, 2):
            outcome = train(
                *("data=folder", f"data.path={shapes}", "data.on_error=skip", f"data.fold={fold}", "data.folds=2"),
                *("model=lenet5", "trainer.max_epochs=1", "trainer.limit_train_batches=1", "logger=none"),
                f"hydra.run.dir={tmp_path / 'folds' / str(fold)}",
            )
            assert outcome.code == 0, outcome.err

    return make


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data=folder"], "data.path: which images?"),
        (["checkpoint=none"], "checkpoint: there is no checkpoint none"),
        (["data=digits", "similarity=2"], "similarity must be above 0 and at most 1, got 2"),
        (["data=digits", "data.exclude=a.csv"], "data.exclude: an audit looks at all images"),
        (["data=digits", "output=there/audit"], "output: the folder of"),
    ],
)
def test_what_cannot_be_done_is_refused(command, tmp_path, arguments, message):
    outcome = command("audit", *arguments)
    assert (outcome.code, outcome.err.count("\n")) == (2, 1) and message in outcome.err
    assert not list(tmp_path.iterdir())


def test_names_from_outside_are_escaped(command, photo_folders, tmp_path):
    (photo_folders / "<i>owl").mkdir()
    for file in list((photo_folders / "owl").iterdir())[:3]:
        Image.open(file).save(photo_folders / "<i>owl" / f"{file.stem}<script>.png")
    assert command("audit", "data=folder", f"data.path={photo_folders}").code == 0
    page = (tmp_path / "audit" / "audit.html").read_text()
    assert "&lt;i&gt;owl" in page and "<script" not in page and "<i>owl" not in page
