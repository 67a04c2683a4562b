"""`cnnlab compare` as users type it."""

import json
import shlex
from pathlib import Path

import pytest
from planned_runs import comparison_settings

from cnnlab.__main__ import COMMANDS
from cnnlab.compare import default_output
from cnnlab.comparison.spec import read_spec
from cnnlab.config import ROOT
from cnnlab.runs.reading import find_runs

TRAIN = ("data=digits", "data.batch_size=32", "augmentation.flip=none", "logger=none", "trainer.max_epochs=1")


@pytest.fixture
def compare(command):
    return lambda *arguments: command("compare", *arguments)


@pytest.fixture
def runs(make_run, tmp_path):
    """Write two networks with two seeds each, a run with another protocol, and one that failed."""
    folder = tmp_path / "runs"
    for model, accuracy in (("lenet5", 0.8), ("vgg11", 0.9)):
        for seed in range(2):
            make_run(folder / "zoo" / f"{model}{seed}", model, seed, accuracy)
    make_run(folder / "article", "vgg11", protocol="article")
    make_run(folder / "failed", "vgg11", 7, status="failed", error="RuntimeError: out of memory")
    return folder


def test_runs_that_were_trained_are_compared_with_their_images(compare, train, tmp_path):
    short = (*TRAIN, "trainer.limit_train_batches=8", "trainer.limit_val_batches=1")
    for model in ("lenet5", "lenet5_1998"):
        assert train(f"model={model}", *short, f"hydra.run.dir=runs/digits/{model}").code == 0
    outcome = compare("experiment=digits", "targets=[0.05]")
    assert (outcome.code, outcome.err) == (0, "")
    assert "digits, 299 test images" in outcome.out
    folder = tmp_path / "runs" / "digits" / "comparison"
    record = json.loads((folder / "comparison.json").read_text())
    (section,) = record["sections"]
    assert {group["label"] for group in section["groups"]} == {"lenet5", "lenet5_1998"}
    assert all(group["targets"][0]["reached"] == 1 for group in section["groups"])
    assert section["pairs"][0]["images"]["p"] <= 1
    assert (record["notices"], record["problems"], record["set_aside"]) == ([], [], [])
    written = {file.name for file in folder.iterdir()}
    assert written == {f"comparison.{ending}" for ending in ("md", "csv", "html", "json")}
    assert "data:image/jpeg;base64," in (folder / "comparison.html").read_text()


def test_the_next_command_works_as_it_stands(compare, command, train, monkeypatch):
    """It scores the best run in detail; a run without a checkpoint has none."""
    said: list[str] = []
    monkeypatch.setattr("cnnlab.compare.suggest_next", said.append)
    short = (*TRAIN, "trainer.limit_train_batches=2", "trainer.limit_val_batches=1")
    assert train("model=lenet5", *short, "hydra.run.dir=runs/my digits/a").code == 0
    said.clear()
    assert compare("runs=runs").code == 0
    assert said == ["cnnlab evaluate 'checkpoint=runs/my digits/a'"]
    assert command(*shlex.split(said[0])[1:]).code == 0
    Path("runs/my digits/a/checkpoints/best.ckpt").unlink()
    said.clear()
    assert compare("runs=runs").code == 0
    assert said == []


def test_a_report_has_a_section_for_each_protocol_and_replaces_the_last_one(compare, runs):
    outcome = compare("runs=runs")
    assert outcome.code == 0
    assert outcome.out.rstrip().endswith("runs/comparison/comparison.html")
    assert "failed: RuntimeError: out of memory" in outcome.out
    record = json.loads((runs / "comparison" / "comparison.json").read_text())
    assert [(section["protocol"], len(section["groups"])) for section in record["sections"]] == [
        ("holdout", 2),
        ("article", 1),
    ]
    assert [entry["reason"] for entry in record["set_aside"]] == ["failed: RuntimeError: out of memory"]
    assert any("by number instead of showing them" in notice for notice in record["notices"])
    (runs / "comparison" / "comparison_2_cost.png").touch()  # as earlier versions drew them
    (runs / "comparison" / "notes.md").write_text("mine")
    assert compare("runs=runs/zoo", "output=runs/comparison").code == 0
    written = {file.name for file in (runs / "comparison").iterdir()}
    assert not {name for name in written if name.startswith(("comparison_1", "comparison_2"))}
    assert "notes.md" in written
    assert len(find_runs([str(runs)])) == 6  # a report is no run


def test_a_table_is_printed_instead_of_a_report(compare, runs):
    for form, begins in (
        ("latex", "% needs \\usepackage{booktabs}"),
        ("markdown", "# Comparison"),
        ("csv", "protocol,"),
    ):
        outcome = compare("runs=runs", f"format={form}")
        assert (outcome.code, outcome.err, outcome.out.startswith(begins)) == (0, "", True)
    assert not (runs / "comparison").exists()


def write_experiment(tmp_path, comparison):
    (tmp_path / "experiments").mkdir()
    text = f"name: zoo\nsweep: {{model: [lenet5, vgg11]}}\n{comparison}"
    (tmp_path / "experiments" / "question.yaml").write_text(text)


def test_an_experiment_gives_the_keys_and_the_command_line_wins(compare, train, runs, tmp_path):
    asked = "comparison: {targets: [0.5], labels: {LeNet: {model: lenet5}}, reach: {metric: val/loss, value: 1.6}}\n"
    write_experiment(tmp_path, asked)
    assert compare("experiment=question", "targets=[0.7]", "reach.value=1.5").code == 0
    record = json.loads((runs / "zoo" / "comparison" / "comparison.json").read_text())
    assert (record["targets"], record["reach"]) == ([0.7], {"metric": "val/loss", "value": 1.5})
    assert {group["label"] for group in record["sections"][0]["groups"]} == {"LeNet", "vgg11"}
    assert compare("experiment=question", "runs=runs/article", "output=other").code == 0  # its question, other runs
    outcome = train("experiment=question", "--cfg", "job")
    assert outcome.code == 0
    assert "comparison" not in outcome.out


@pytest.mark.parametrize(
    ("comparison", "message"),
    [
        ("comparison: {tragets: [0.5]}", "tragets is not a key; did you mean targets?"),
        ("comparison: 3", "question.yaml: comparison must hold keys and values"),
        ("comparison: {shift: 1.5}", "shift must be a whole number, got 1.5"),
        ("comparison: {figure: [bars]}", "figure: bars is not a panel"),
    ],
)
def test_a_wrong_comparison_of_an_experiment_is_explained(compare, runs, tmp_path, comparison, message):
    write_experiment(tmp_path, comparison)
    outcome = compare("experiment=question")
    assert outcome.code == 2
    assert message in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1


@pytest.mark.parametrize("file", sorted((ROOT / "experiments").glob("*.yaml")), ids=lambda file: file.stem)
def test_the_comparison_of_every_shipped_experiment_is_valid(file):
    asked = comparison_settings(file.stem)
    spec = read_spec(asked)
    assert spec.targets
    assert spec.figure
    assert asked["runs"] == f"runs/{file.stem}"


@pytest.mark.parametrize(
    ("paths", "folder"),
    [
        (["runs"], "runs/comparison"),
        (["runs/zoo"], "runs/zoo/comparison"),
        (["runs/article"], "comparison"),  # a run itself
        (["runs/zoo/*0"], "comparison"),
        (["runs/zoo", "runs/article"], "comparison"),
    ],
)
def test_where_the_report_goes(runs, tmp_path, monkeypatch, paths, folder):
    monkeypatch.chdir(tmp_path)
    assert default_output(paths) == Path(folder)


WRONG = {
    "": "runs: which runs? Give a folder",
    "runs=3": "runs: which runs? Give a folder",
    "runs=nowhere": "runs: nowhere does not exist",
    "experiment=nowhere": "runs: runs/nowhere does not exist",
    "runs=empty": "runs: there is no run in empty",
    "runs=runs/failed": "runs: none of 1 has a test accuracy to compare; the first, runs/failed: failed: RuntimeError",
    "runs=runs experiment=zoo": "give either runs= or experiment=, once",
    "runs=runs output=nowhere/report": "output: the folder of nowhere/report does not exist",
    "runs=runs output=a_file": "output: a_file is not a folder",
    "runs=runs format=latx": "format: latx is not one of csv, latex, markdown",
    "runs=runs format=csv output=x": "output: format= prints a table and writes no report",
    "runs=runs targets=0.9": "targets must be",
    "runs=runs targets=[90]": "targets must be fractions above 0 and up to 1, got 90",
    "rnus=runs": "rnus is not a key; did you mean runs?",
    "model=lenet5 runs=runs": "model",
    "-m runs=runs": "cnnlab compare does not sweep",
}


@pytest.mark.parametrize("arguments", WRONG)
def test_a_wrong_request_is_explained_and_leaves_nothing(compare, runs, tmp_path, arguments):
    (tmp_path / "empty").mkdir()
    (tmp_path / "a_file").touch()
    before = sorted(tmp_path.rglob("*"))
    outcome = compare(*arguments.split())
    assert (outcome.code, outcome.out) == (2, "")
    assert WRONG[arguments] in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_help_explains_the_keys(compare):
    outcome = compare("--help")
    assert outcome.code == 0
    for text in ("runs=PATH", "experiment=NAME", "output=null", "targets=", "comparison.html"):
        assert text in outcome.out
    assert "compare" in COMMANDS
