"""Find and read run directories, sound and damaged."""

import json
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from cnnlab.errors import RequestError
from cnnlab.runs.directory import RunDirectory
from cnnlab.runs.reading import find_runs, read_run


@pytest.fixture
def runs(make_run, tmp_path, monkeypatch) -> Path:
    """Make runs at several depths below the working directory."""
    monkeypatch.chdir(tmp_path)
    for path in ("runs/a/1", "runs/sweep/day/2", "runs/sweep/day/10", "runs/b"):
        make_run(Path(path), images=20)
    (tmp_path / "runs" / "sweep" / "notes").mkdir()
    return tmp_path / "runs"


def names(found: list[Path]) -> list[str]:
    return [str(path) for path in found]


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["runs/b"], ["runs/b"]),
        (["runs/sweep"], ["runs/sweep/day/2", "runs/sweep/day/10"]),  # by number
        (["runs"], ["runs/a/1", "runs/b", "runs/sweep/day/2", "runs/sweep/day/10"]),
        (["runs/*"], ["runs/a/1", "runs/b", "runs/sweep/day/2", "runs/sweep/day/10"]),
        (["runs/*/day/1*"], ["runs/sweep/day/10"]),
        (["runs/b", "runs/a", "runs/*"], ["runs/a/1", "runs/b", "runs/sweep/day/2", "runs/sweep/day/10"]),  # once each
    ],
)
def test_runs_are_found(runs, paths, expected):
    assert names(find_runs(paths)) == expected


@pytest.mark.parametrize("path", ["nowhere", "runs/x*", "runs/sweep/notes", "runs/b/summary.json"])
def test_a_path_without_runs_is_refused(runs, path):
    with pytest.raises(RequestError, match=r"^runs: "):
        find_runs(["runs/b", path])


def test_a_run_that_has_lost_its_record_is_found(runs):
    (runs / "b" / "summary.json").unlink()
    assert find_runs(["runs/b"]) == [Path("runs/b")]
    run = read_run(runs / "b")
    assert run.summary["status"] is None
    assert run.problems == ("summary.json is missing",)


def test_a_sound_run_is_read_completely(make_run, tmp_path):
    run = read_run(make_run(tmp_path / "run", seed=3, accuracy=0.8, images=500, epochs=4))
    assert run.problems == ()
    assert (run.summary["seed"], run.config and run.config["seed"]) == (3, 3)
    assert run.curve["epoch"] == [1, 2, 3, 4]
    assert run.curve["val/accuracy"][-1] == pytest.approx(0.8)
    assert run.predicted is not None
    assert (run.predicted == run.labels).mean() == pytest.approx(run.summary["test_accuracy"])
    assert run.classes == 10
    assert not run.going_on


def cut(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def save_predictions(run: Path, **arrays: np.ndarray) -> None:
    np.savez(run / "predictions.npz", **arrays)  # pyright: ignore[reportArgumentType]


DAMAGE = {
    "half a record": (lambda run: cut(run / "summary.json"), "summary.json cannot be read"),
    "a record of another kind": (
        lambda run: (run / "summary.json").write_text("[]"),
        "it does not hold keys and values",
    ),
    "no configuration": (lambda run: (run / "config.yaml").unlink(), "config.yaml is missing"),
    "a configuration of another kind": (
        lambda run: (run / "config.yaml").write_text("7"),
        "it does not hold keys and values",
    ),
    "half a configuration": (
        lambda run: (run / "config.yaml").write_text("data: 3"),
        "does not name data and model",
    ),
    "not YAML": (lambda run: (run / "config.yaml").write_text("a: [1"), "config.yaml cannot be read"),
    "no curve": (lambda run: (run / "metrics.csv").unlink(), "metrics.csv is missing"),
    "a torn curve": (lambda run: cut(run / "metrics.csv"), "metrics.csv is damaged in line"),
    "bytes": (lambda run: (run / "metrics.csv").write_bytes(b"\xff\xfe\x00"), "metrics.csv cannot be read"),
    "no predictions": (lambda run: (run / "predictions.npz").unlink(), "predictions.npz is missing"),
    "half the predictions": (lambda run: cut(run / "predictions.npz"), "predictions.npz cannot be read"),
    "no labels": (lambda run: save_predictions(run, logits=np.ones((3, 2))), "predictions.npz cannot be read"),
    "other labels": (
        lambda run: save_predictions(run, logits=np.ones((3, 2)), labels=np.zeros(4, int)),
        "do not fit each other",
    ),
    "labels of no class": (
        lambda run: save_predictions(run, logits=np.eye(2), labels=np.array([0, 2])),
        "labels from 0 to 2 for 2 classes",
    ),
    "no numbers": (
        lambda run: save_predictions(run, logits=np.full((3, 2), np.nan), labels=np.zeros(3, int)),
        "logits that are not finite",
    ),
    "another accuracy": (
        lambda run: save_predictions(run, logits=np.eye(2), labels=np.array([1, 0])),
        "predictions.npz has an accuracy of 0.0000",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_reported(make_run, tmp_path, damage):
    run = make_run(tmp_path / "run", images=50)
    harm, message = DAMAGE[damage]
    harm(run)
    (problem,) = read_run(run).problems
    assert message in problem


def test_compressed_predictions_are_read_unless_they_would_fill_the_memory(make_run, tmp_path, monkeypatch):
    file = RunDirectory(make_run(tmp_path / "a", "lenet5", 0, 0.5, 1000)).predictions_file
    with np.load(file) as arrays:
        np.savez_compressed(file, **arrays)
    assert read_run(tmp_path / "a").predicted is not None
    monkeypatch.setattr("cnnlab.runs.reading.UNPACKED_BYTES", 1000)
    run = read_run(tmp_path / "a")
    assert run.predicted is None
    assert "larger when unpacked" in run.problems[0]


def test_values_that_are_not_numbers_are_reported_and_not_used(make_run, tmp_path):
    path = make_run(tmp_path / "run", images=50, test_accuracy=float("nan"), macs="many")
    text = (path / "metrics.csv").read_text().splitlines()
    values = text[3].split(",")
    values[text[0].split(",").index("val/accuracy")] = "nan"
    text[3] = ",".join(values)
    (path / "metrics.csv").write_text("\n".join(text))
    run = read_run(path)
    assert run.summary["test_accuracy"] is None
    assert run.summary["macs"] is None
    assert run.curve["val/accuracy"][1:4] == [pytest.approx(0.36), None, pytest.approx(0.72)]
    assert "summary.json: test_accuracy is nan, not from 0 to 1" in run.problems
    assert "metrics.csv: val/accuracy is not finite from row 3 on (1 row)" in run.problems


def test_a_running_run_is_distinguished_from_a_killed_one(make_run, tmp_path):
    path = make_run(tmp_path / "run", images=50, status="running")
    (path / "predictions.npz").unlink()
    assert not read_run(path).going_on
    assert read_run(path).problems == ()
    with FileLock(path / ".lock"):
        assert read_run(path).going_on


def test_an_older_record_without_some_keys_is_read(make_run, tmp_path):
    path = make_run(tmp_path / "run", images=50)
    record = json.loads((path / "summary.json").read_text())
    del record["test_accuracy_tta"], record["lr"]
    (path / "summary.json").write_text(json.dumps(record))
    assert read_run(path).problems == ()


@pytest.mark.parametrize(
    ("recorded", "read"),
    [("cpu: AMD, 1 threads", "cpu: AMD, 1 thread"), ("2 x cpu: AMD, 1 threads", "2 x cpu: AMD, 1 thread")]
    + [(device, device) for device in ("cpu: AMD, 11 threads", "cpu: AMD, 1 thread", "NVIDIA H200")],
)
def test_one_thread_is_the_same_device_in_records_of_before(tmp_path, recorded, read):
    RunDirectory(tmp_path).update_summary(status="interrupted", device=recorded)
    assert read_run(tmp_path).summary["device"] == read
