import time
from pathlib import Path

import pytest

from cnnlab.reports.terminal import format_duration
from cnnlab.runs.jobs import Job
from hydra_plugins.cnnlab_sweep._progress import SweepProgress, describe_failures, print_outcome, time_left


def job(name: str, state: str = "waiting", **values) -> Job:
    job = Job(name, [], [], Path("runs") / name, epochs=4, state=state)
    for key, value in values.items():
        setattr(job, key, value)
    return job


DONE = {"test_accuracy": 0.711, "val_accuracy": 0.72}


def test_waiting_jobs_are_assumed_to_take_the_mean_time():
    jobs = [job("a", "completed", seconds=100), job("b"), job("c")]
    assert time_left(jobs, 1) == 200
    assert time_left(jobs, 2) == 100
    assert time_left([job("a"), job("b")], 1) is None


def test_the_time_left_is_known_from_the_first_epoch_on():
    running = job("a", "running", started=time.monotonic() - 10, record={"epochs": 1})
    assert time_left([running, job("b")], 1) == pytest.approx(70, abs=0.1)
    resumed = job("a", "running", started=time.monotonic() - 10, record={"epochs": 3}, epochs_before=2)
    assert time_left([resumed], 1) == pytest.approx(10, abs=0.1)


def test_jobs_completed_before_do_not_count_for_the_time_left():
    assert time_left([job("a", "completed", earlier=True), job("b")], 1) is None


def test_without_a_terminal_there_is_a_line_for_each_change(capsys):
    done, failing = job("lenet5", "completed", earlier=True, record=DONE), job("vgg11")
    with SweepProgress([done, failing], 1) as progress:
        failing.state = "running"
        progress.show(failing)
        progress.show(None)
        failing.state, failing.reason = "failed", "killed by SIGKILL"
        progress.show(failing)
    assert capsys.readouterr().out.splitlines() == [
        "[1/2] completed before lenet5  test 71.10%, val 72.00%  runs/lenet5",
        "[1/2] started     vgg11   runs/vgg11",
        "[2/2] failed      vgg11   killed by SIGKILL",
    ]


def test_the_outcome_lists_all_jobs(capsys, tmp_path):
    print_outcome([job("lenet5", "completed", record=DONE), job("vgg11", "failed", record=DONE)], tmp_path)
    out = capsys.readouterr().out
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines() if "│" in line]
    assert rows == [["lenet5", "completed", "71.10%", "72.00%"], ["vgg11", "failed", "-", "-"]]


def test_failures_are_listed_with_their_reasons(tmp_path):
    bad = job("b", "failed", reason="exit code 1: no", directory=tmp_path)
    assert describe_failures([job("a", "completed"), bad, job("c", "interrupted")]) == (
        f"2 of 3 jobs were not completed:\n  b: exit code 1: no ({tmp_path})\n  c: interrupted"
    )


def test_a_reason_that_jobs_share_is_said_once():
    jobs = [job(name, "failed", reason="exit code 2: no data") for name in "abc"]
    assert describe_failures(jobs) == "3 of 3 jobs were not completed:\n  a and 2 more: exit code 2: no data"


def test_a_duration_shows_hours_if_there_are_any():
    assert (format_duration(5), format_duration(65), format_duration(3661)) == ("0:05", "1:05", "1:01:01")
