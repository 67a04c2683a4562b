"""`make results` runs an experiment to its end and writes its result."""

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import threading
from pathlib import Path
from types import ModuleType

import pytest

from cnnlab.runs.reading import read_run

SMALL = """\
# Question: which of the two?
# Command:  make results EXPERIMENT=small
defaults:
  - override /data: digits
  - override /model: lenet5
trainer: {max_epochs: 1, limit_train_batches: 2, limit_val_batches: 1}
data: {batch_size: 8}
logger: null
"""
SWEEP = """\
sweep: {model.activation: [relu, tanh]}
comparison:
  labels: {ReLU: {model.activation: relu}}
  figure: [accuracy]
  maps: true
  shift: 1
"""


@pytest.fixture
def publish(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """Load the script, in an empty folder with its own experiments."""
    file = Path(__file__).parents[1] / "experiments" / "publish.py"
    spec = importlib.util.spec_from_file_location("publish", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "README.md").write_text(
        "# Mine\n<!-- index: make results writes this -->\n<!-- end of the index -->\n"
    )
    return module


def test_a_single_run_is_trained_once(publish, train, tmp_path, monkeypatch, capsys):
    (tmp_path / "experiments" / "small.yaml").write_text(SMALL)
    started: list[list[str]] = []

    def here(arguments):
        started.append(arguments)
        return train(*arguments).code

    monkeypatch.setattr(publish, "train", here)
    for _ in range(2):
        assert publish.main(["small", "seed=3"]) == 0
    assert started == [["experiment=small", "seed=3", "resume=auto"]]
    page = (tmp_path / "experiments" / "results" / "small.md").read_text()
    assert "# small: which of the two?" in page
    assert '`make results EXPERIMENT=small ARGS="seed=3"`' in page
    assert str(tmp_path) not in page
    assert (tmp_path / "experiments" / "results" / "small.png").is_file()
    index = (tmp_path / "experiments" / "README.md").read_text()
    assert "| which of the two? | not written down yet: `make results EXPERIMENT=small` |" in index
    assert "[table](results/small.md), [figure](results/small.png)" in index


def test_a_part_of_a_sweep_is_published_as_such(publish, train, tmp_path, monkeypatch):
    (tmp_path / "experiments" / "small.yaml").write_text(SMALL + SWEEP)
    shown: list[Path] = []
    monkeypatch.setattr(publish, "evaluate_moved", lambda runs, pixels: shown.extend(runs))
    assert publish.main(["small", "--as-is"]) == 2  # nothing there yet
    run = "runs/small/2026-01-01_00-00-00/relu"
    assert train("experiment=small", "model.activation=relu", "hydra.mode=RUN", f"hydra.run.dir={run}").code == 0
    assert publish.main(["small", "--as-is"]) == 0
    page = (tmp_path / "experiments" / "results" / "small.md").read_text()
    assert "**This is a part of the experiment**: 1 of the 2 planned runs are complete" in page
    assert "`tanh`" in page or "activation-tanh`: not started" in page
    assert "| lenet5 |" not in page
    assert "| ReLU | 28 → 14 → 10 → 5 |" in page
    assert shown == [Path(run)]
    numbers = json.loads((tmp_path / "experiments" / "results" / "small.json").read_text())
    assert [group["label"] for group in numbers["sections"][0]["groups"]] == ["ReLU"]


def test_kept_records_are_runs_of_another_machine(publish, train, tmp_path, monkeypatch):
    """Records hold no path of the machine, predict the same classes, and are not trained again."""
    (tmp_path / "experiments" / "small.yaml").write_text(SMALL + "sweep: {seed: [0, 1]}\n")
    run = Path("runs/small/2026-01-01_00-00-00/0")
    assert train("experiment=small", "seed=0", "hydra.mode=RUN", f"hydra.run.dir={run}").code == 0
    assert publish.main(["small", "--as-is"]) == 0
    kept = Path("experiments/records/small/2026-01-01_00-00-00_0")
    names = {"summary.json", "config.yaml", "metrics.csv", "predictions.npz"}
    assert {file.name for file in kept.iterdir()} == names
    assert not any(str(tmp_path).encode() in file.read_bytes() for file in kept.iterdir())
    before, after = read_run(run), read_run(kept)
    assert (after.predicted == before.predicted).all()
    assert not after.problems

    shutil.rmtree("runs")  # another machine
    started: list[str] = []
    monkeypatch.setattr(publish, "train", lambda arguments: started.extend(arguments) or 0)
    assert publish.main(["small", "--continue"]) == 0
    assert started == ["experiment=small"]
    page = (tmp_path / "experiments" / "results" / "small.md").read_text()
    assert "1 of the 2 planned runs are complete" in page
    assert [folder.name for folder in Path("experiments/records/small").iterdir()] == [kept.name]

    (tmp_path / "experiments" / "other.yaml").write_text(SMALL.replace("small", "other") + "sweep: {seed: [2, 0]}\n")
    started.clear()
    assert publish.main(["other", "--continue"]) == 0
    assert started == ["experiment=other"]
    assert [folder.name for folder in Path("runs/other/kept").iterdir()] == [f"small_{kept.name}"]
    assert "1 of the 2 planned runs are complete" in (tmp_path / "experiments" / "results" / "other.md").read_text()
    assert not Path("experiments/records/other").exists()  # it is kept once

    (tmp_path / "experiments" / "third.yaml").write_text(SMALL.replace("small", "third") + "sweep: {seed: [2, 3]}\n")
    assert publish.main(["third", "--continue"]) == 2  # no record has these settings
    assert not Path("runs/third/kept").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["smal"], "EXPERIMENT=smal is not known; known: "),
        ([], "EXPERIMENT= is not known"),
        (["small", "hydra.run.dir=x"], "hydra.run.dir=x: leave it out; the runs of an experiment are in runs/small"),
        (["small", "fast"], "fast is not of the form key=value"),
        (["small", "--as-is"], "EXPERIMENT=small: none of its 1 runs is complete"),
    ],
)
def test_a_wrong_request_is_explained(publish, tmp_path, capsys, arguments, message):
    (tmp_path / "experiments" / "small.yaml").write_text(SMALL)
    assert publish.main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1


def test_missing_runs_are_listed_without_local_paths(publish, make_run, monkeypatch):
    from planned_runs import Plan, PlannedRun

    from cnnlab.runs.directory import RunDirectory

    def planned(name, status, error):
        path = make_run(Path("runs") / name, "lenet5", 0, 0.5, 10, status=status, error=error)
        return PlannedRun(name, {}, {}, RunDirectory(path), status)

    runs = [
        planned("a", "interrupted", "Interrupted and saved. To go on: resume=/home/me/runs/a"),
        planned("b", "failed", "FileNotFoundError: [Errno 2] No such file: '/home/me/b.png'"),
        PlannedRun("c", {}, {}, None, "not started"),
    ]
    plan = Plan(runs, sweeps=True)
    assert publish.execution_of("small", [], plan, plan).missing == [
        "`a`: interrupted",
        "`b`: failed: FileNotFoundError: [Errno 2] No such file: PATH",
        "`c`: not started",
    ]


def test_training_that_was_interrupted_leaves_no_result(publish, tmp_path, monkeypatch):
    (tmp_path / "experiments" / "small.yaml").write_text(SMALL)
    monkeypatch.setattr(publish, "train", lambda arguments: 130)
    assert publish.main(["small"]) == 130
    assert not (tmp_path / "experiments" / "results").exists()


def test_a_termination_reaches_the_training(publish, monkeypatch):
    start, before = subprocess.Popen, signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(subprocess, "Popen", lambda command, env: start(["sleep", "60"]))
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM))
    timer.start()
    assert publish.train([]) == -signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before
