"""Test the page and the figure of an experiment's result."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from experiment_files import Header
from matplotlib.figure import Figure
from result_figure import draw_result, mark_places
from result_page import Execution, render_result, result_data

from cnnlab.comparison.compare import compare_runs
from cnnlab.comparison.spec import read_spec
from cnnlab.runs.reading import find_runs, read_run

HEADER = Header("depth", "does depth help?", None, None, None, None)


@pytest.fixture(scope="module")
def runs(make_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "2026-01-02_03-04-05"
    data = {"path": "/home/me/photos", "source": None, "image_size": 32}
    for depth, accuracy in ((20, 0.8), (56, 0.9)):
        for seed in range(2):
            config = {"model": {"depth": depth}, "data": data}
            versions = {"python": "3.11.7", "torch": "2.15.0"}
            place = folder / f"{depth}_{seed}"
            make_run(
                place, f"net{depth}", seed, accuracy, 100, config=config, versions=versions, test_accuracy_tta=0.95
            )
    return [read_run(path) for path in find_runs([str(folder)])]


@pytest.fixture(scope="module")
def record(runs):
    spec = {
        "targets": [0.5, 0.99],
        "axis": {"name": "layers", "values": "model.depth", "lines": {"all": {}}},
        "reach": {"metric": "train/accuracy", "value": 0.5},
        "reference": {"name": "the guide", "points": {1: 0.2, 5: 0.7}, "source": "a page"},
        "shift": 2,
    }
    return compare_runs(runs, read_spec(spec))


def test_a_page_has_question_runs_and_results(runs, record):
    page = render_result(HEADER, Execution("make results EXPERIMENT=depth", 4, [], []), runs, record, ["depth.png"])
    for text in (
        *("# depth: does depth help?", "not written down yet", "(depth.png)", "`make results EXPERIMENT=depth`"),
        *("| date | 2026-01-02 |", "python 3.11.7, torch 2.15.0", "from a folder photos", "| runs | 4; seeds 0, 1 |"),
        *("| net56 | 2 | 56 |", "95.00", "epochs to 50 % training accuracy", "net56 minus net20: +"),
        *("Validation accuracy beside the guide (a page)", "50 % reached after", "p (seeds)", "checkpoint=RUN shift=2"),
    ):
        assert text in page
    assert "99 % reached" not in page
    assert "part of the experiment" not in page
    assert "/home/me" not in page


def test_an_answer_from_other_runs_is_marked(runs, record):
    header = replace(HEADER, command='make results EXPERIMENT=depth ARGS="data.path=FOLDER"', answer="yes")
    pages = [
        render_result(
            header, Execution(f"make results EXPERIMENT=depth ARGS='{given}'", 4, [], []), runs, record, ["a"]
        )
        for given in ("data.path=FOLDER hydra.launcher.n_jobs=2", "data.path=FOLDER seeds=1")
    ]
    assert ["**Answer**: yes" in page for page in pages] == [True, True]
    assert ["from other runs" in page for page in pages] == [False, True]


def test_a_part_says_what_is_missing(runs, record):
    missing = [f"`net20_seed-{seed}`: interrupted" for seed in range(2, 20)]
    execution = Execution("make results EXPERIMENT=depth", 22, missing, ["trainer.max_epochs=1"])
    page = render_result(HEADER, execution, runs, record, ["depth.png"])
    assert "**This is a part of the experiment**: 4 of the 22 planned runs are complete" in page
    assert "changed by `trainer.max_epochs=1`" in page
    assert "- `net20_seed-2`: interrupted" in page
    assert "- and 6 more" in page


def test_one_run_alone_has_a_page_too(runs):
    record = compare_runs(runs[:1])
    page = render_result(HEADER, Execution("x", 1, [], []), runs[:1], record, ["depth.png"])
    assert "Differences" not in page
    assert "p (seeds)" not in page


def test_the_json_is_small_and_has_no_local_paths(record):
    text = json.dumps(result_data(Execution("x", 4, [], []), record))
    assert len(text) < 30_000
    assert "/home" not in text
    assert "2026-01-02_03-04-05" not in text
    assert json.loads(text)["sections"][0]["groups"][0]["curve"]["epoch"] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "panels",
    [
        ["accuracy"],
        ["axis", "parameters", "macs", "train_seconds"],
        ["train/error", "val/accuracy", "val/loss"],
    ],
)
def test_every_panel_is_drawn(record, tmp_path: Path, panels):
    draw_result(record, record.sections[0], panels, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("values", "own"), [([20, 56, 44, 32, 20], True), ([1998, 2012, 2014, 2015], False), ([20, 20], False)]
)
def test_an_axis_has_ticks_at_the_values_if_there_is_room(values, own):
    axes = Figure().subplots()
    axes.plot(values, values, "o")
    mark_places(axes, values)
    assert (list(axes.get_xticks()) == sorted(set(values))) == own
    assert all(float(tick).is_integer() for tick in axes.get_xticks())
