"""Test the page and the figure of an experiment's result."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from experiment_files import Header
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from result_figure import draw_result, mark_places
from result_page import Execution, message, read_result, render_result, result_data

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
    draw_result(record, record.sections[0], panels, tmp_path / "figure.png", "Does depth help?", "Yes.")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_a_figure_has_question_and_answer_and_names_that_lie_on_no_error_bar(record, tmp_path, monkeypatch):
    drawn: list[Figure] = []
    monkeypatch.setattr("result_figure.save_figure", lambda figure, file: drawn.append(figure))
    draw_result(record, record.sections[0], ["parameters", "axis"], tmp_path / "x.png", "Does depth help? " * 9, "Yes.")
    (figure,) = drawn
    texts = [text.get_text() for text in figure.texts]
    assert texts[0].startswith("Does depth help?") and texts[1] == "Yes."
    assert texts[2] == "cifar10, 100 test images; n = 2; bars are 95 % intervals"
    assert all(text.get_window_extent().x1 <= figure.bbox.x1 for text in figure.texts)
    for axes in figure.axes:
        ends = [axes.transData.transform(bar.get_segments()[0]) for bar in axes.collections]  # pyright: ignore
        bars = [Bbox([low - 1, high + 1]) for low, high in ends]
        names = [text for text in axes.texts if text.get_text().startswith("net")]
        assert names and not any(text.get_window_extent().count_overlaps(bars) for text in names)


def test_the_message_is_the_first_sentence_of_an_answer_to_these_runs(record):
    answer = "No: 1.5 times (He et al. 2015). It hurts."
    header = replace(HEADER, command="make results EXPERIMENT=depth", answer=answer)
    (section,) = record.sections
    assert message(header, "make results EXPERIMENT=depth", section) == "No: 1.5 times (He et al. 2015)."
    for command, its in (("make results EXPERIMENT=depth ARGS='seeds=1'", header), ("x", HEADER)):
        assert message(its, command, section).startswith("net56 is first with a test accuracy of ")


def test_a_published_result_is_drawn_from_its_numbers(record, tmp_path):
    (tmp_path / "depth.json").write_text(json.dumps(result_data(Execution("make it", 4, [], []), record)))
    command, read = read_result(tmp_path / "depth.json")
    assert command == "make it"
    assert [(group.label, group.mean, group.n) for group in read.groups] == [
        (group.label, group.mean, group.n) for group in record.groups
    ]
    draw_result(read, read.sections[0], ["accuracy", "val/loss"], tmp_path / "depth.png", "Does it?", "Yes.")
    assert (tmp_path / "depth.png").is_file()


@pytest.mark.parametrize(
    ("values", "own"), [([20, 56, 44, 32, 20], True), ([1998, 2012, 2014, 2015], False), ([20, 20], False)]
)
def test_an_axis_has_ticks_at_the_values_if_there_is_room(values, own):
    axes = Figure().subplots()
    axes.plot(values, values, "o")
    mark_places(axes, values)
    assert (list(axes.get_xticks()) == sorted(set(values))) == own
    assert all(float(tick).is_integer() for tick in axes.get_xticks())
