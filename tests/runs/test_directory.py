import json
import shutil
from pathlib import Path

import pytest

from cnnlab.errors import Diverged, Interrupted, RequestError
from cnnlab.files import decide_once, write_atomically
from cnnlab.runs.directory import (
    SUMMARY_KEYS,
    RunDirectory,
    check_output,
    check_output_folder,
    default_directory,
)


def finished(path: Path, status: str = "completed", **config: object) -> RunDirectory:
    run = RunDirectory(path)
    with run.recording(config):
        pass
    run.update_summary(status=status)
    return run


def test_a_record_has_all_keys_from_the_start(tmp_path):
    run = RunDirectory(tmp_path / "run")
    with run.recording({"seed": 1}, name="lenet5", seed=1):
        record = json.loads(run.summary_file.read_text())
        assert tuple(record) == SUMMARY_KEYS
        assert (record["status"], record["name"], record["test_accuracy"]) == ("running", "lenet5", None)
    assert json.loads(run.summary_file.read_text())["status"] == "completed"
    assert run.read_config() == {"seed": 1}


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (RuntimeError("out of memory"), "failed", "RuntimeError: out of memory"),
        (Interrupted("Interrupted by SIGTERM."), "interrupted", "Interrupted by SIGTERM."),
        (KeyboardInterrupt(), "interrupted", "Interrupted."),
        (SystemExit(3), "failed", "SystemExit: 3"),
        (Diverged("the loss is not finite"), "diverged", "the loss is not finite"),
    ],
)
def test_the_record_holds_how_a_run_ended(tmp_path, error, status, message):
    run = RunDirectory(tmp_path)
    with pytest.raises(type(error)), run.recording({}):
        raise error
    record = json.loads(run.summary_file.read_text())
    assert (record["status"], record["error"]) == (status, message)
    assert record["total_seconds"] >= 0


def test_a_wrong_request_leaves_the_record_as_it_was(tmp_path):
    new, old = RunDirectory(tmp_path / "new"), finished(tmp_path / "old", seed=1)
    before = old.summary_file.read_text()
    for run in (new, RunDirectory(old.path)):
        with pytest.raises(RequestError), run.recording({"seed": 2}):
            raise RequestError("no such thing")
    assert not new.summary_file.exists()
    assert not new.config_file.exists()
    assert old.summary_file.read_text() == before
    assert old.read_config() == {"seed": 1}


@pytest.mark.parametrize(
    ("earlier", "later"), [("completed", "completed"), ("interrupted", "interrupted"), ("running", "failed")]
)
def test_a_run_with_a_checkpoint_keeps_its_record_until_it_continues(tmp_path, earlier, later):
    run = finished(tmp_path, earlier, seed=1)
    run.last_checkpoint.parent.mkdir()
    run.last_checkpoint.touch()
    again = RunDirectory(tmp_path)
    with pytest.raises(RuntimeError), again.recording({"seed": 2}):
        again.update_summary(parameters=5)
        assert (again.read_summary() or {})["status"] == earlier
        raise RuntimeError("out of memory")
    assert again.read_config() == {"seed": 1}
    record = again.read_summary() or {}
    assert (record["status"], record["parameters"]) == (later, None)
    with again.recording({"seed": 2}):
        again.begin()
        assert (again.read_summary() or {})["status"] == "running"
    assert again.read_config() == {"seed": 2}


def test_the_seconds_of_all_parts_of_a_run_are_added_up(tmp_path):
    run = finished(tmp_path)
    run.update_summary(total_seconds=100.0)
    again = RunDirectory(tmp_path)
    with again.recording({}):
        pass
    assert again.summary["total_seconds"] >= 100


def test_a_directory_is_locked_by_one_process(tmp_path):
    run = RunDirectory(tmp_path)
    with run.recording({}):
        assert not RunDirectory(tmp_path).is_free()
        with pytest.raises(RequestError, match="another process"), RunDirectory(tmp_path).recording({}):
            pass
    assert RunDirectory(tmp_path).is_free()


def test_an_unknown_key_of_the_record_is_an_error(tmp_path):
    with pytest.raises(AssertionError, match="accuracy"):
        RunDirectory(tmp_path).update_summary(accuracy=1)


def test_default_directories_differ(tmp_path):
    first = default_directory(tmp_path, None, dict)
    first.mkdir()
    assert default_directory(tmp_path, None, dict) != first


def test_auto_takes_the_last_unfinished_run_of_the_same_configuration(tmp_path):
    finished(tmp_path / "1", "running", seed=1)
    finished(tmp_path / "2", "interrupted", seed=1, name="changed")
    finished(tmp_path / "3", "completed", seed=1)
    finished(tmp_path / "4", "failed", seed=2)
    assert default_directory(tmp_path, "auto", lambda: {"seed": 1}) == tmp_path / "2"
    assert default_directory(tmp_path, "auto", lambda: {"seed": 2}) == tmp_path / "4"
    assert not default_directory(tmp_path, "auto", lambda: {"seed": 3}).exists()


def test_auto_takes_an_older_run_without_the_keys_that_are_new_and_have_their_default(tmp_path):
    finished(tmp_path / "1", "failed", data={"source": "digits"})
    data = {"source": "digits", "sampling": "shuffled"}
    assert default_directory(tmp_path, "auto", lambda: {"data": data, "select": "val/accuracy"}) == tmp_path / "1"
    other = {"data": data | {"sampling": "balanced"}}, {"data": data, "select": "val/loss"}
    assert not any(default_directory(tmp_path, "auto", lambda wanted=wanted: wanted).exists() for wanted in other)


def test_auto_does_not_take_a_run_in_progress(tmp_path):
    run = RunDirectory(tmp_path / "1")
    with run.recording({"seed": 1}):
        assert default_directory(tmp_path, "auto", lambda: {"seed": 1}) != run.path


def test_auto_ignores_a_damaged_record(tmp_path):
    finished(tmp_path / "1", "interrupted", seed=1).summary_file.write_text("{")
    assert not default_directory(tmp_path, "auto", lambda: {"seed": 1}).exists()


def test_a_checkpoint_stands_for_its_run_directory(tmp_path):
    run = finished(tmp_path / "1")
    run.last_checkpoint.parent.mkdir()
    run.last_checkpoint.touch()
    assert default_directory(tmp_path, str(run.path), dict) == run.path
    assert default_directory(tmp_path, str(run.last_checkpoint), dict) == run.path


@pytest.mark.parametrize("content", [b"[1, 2]", b"\xff\xfe", b"a text"])
def test_an_unreadable_record_counts_as_missing(tmp_path, content):
    run = finished(tmp_path / "1")
    run.summary_file.write_bytes(content)
    run.config_file.write_bytes(content)
    assert (run.read_summary(), run.read_config()) == (None, None)


def test_writing_atomically_leaves_one_file(tmp_path):
    write_atomically(tmp_path / "a.txt", "one")
    write_atomically(tmp_path / "a.txt", "two")
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "two"


def test_the_seconds_of_a_killed_process_are_not_lost(tmp_path):
    run = RunDirectory(tmp_path)
    with run.recording({}):
        run.update_summary(train_seconds=100.0)
        shutil.copy(run.summary_file, tmp_path / "as_it_was")
    (tmp_path / "as_it_was").replace(run.summary_file)  # its end was never recorded
    again = RunDirectory(tmp_path)
    with again.recording({}):
        pass
    assert again.summary["total_seconds"] >= 100


def test_the_first_decision_counts(tmp_path):
    file = tmp_path / "decision"

    def late() -> str:
        assert decide_once(file, lambda: "first") == "first"  # another process, while this one still measures
        return "late"

    assert decide_once(file, late) == "first"
    assert decide_once(file, lambda: "third") == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["decision"]


def test_a_record_holds_null_for_numbers_that_are_not_finite(tmp_path):
    run = RunDirectory(tmp_path)
    run.update_summary(val_loss=float("nan"), versions={"list": [float("inf"), 1.5, (2, float("-inf"))]})
    record = json.loads(run.summary_file.read_text(), parse_constant=lambda name: pytest.fail(name))
    assert (record["val_loss"], record["versions"]) == (None, {"list": [None, 1.5, [2, None]]})


@pytest.mark.parametrize("given", [True, ["a.json"], {"a": 1}, 1.5])
def test_an_output_is_a_path(given):
    with pytest.raises(RequestError, match="^gallery must be a path, got"):
        check_output(given, (".json",), "gallery")
    with pytest.raises(RequestError, match="^output must be a path, got"):
        check_output_folder(given)
