"""Run jobs that are short shell scripts."""

import os
import shutil
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from cnnlab.errors import Interrupted
from cnnlab.runs.directory import RunDirectory
from cnnlab.runs.jobs import Execution, Job, LocalProcess, explain_code, run_jobs, slots

WRITE = 'echo \'{"status": "%s", "error": %s, "epochs": 1}\' > summary.json; '
COMPLETE = WRITE % ("completed", "null")


@pytest.fixture(autouse=True)
def poll_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cnnlab.runs.jobs.POLL_EVERY", 0.01)


def job(directory: Path, script: str) -> Job:
    """Return a job that is a shell script, run in its run directory."""
    directory.mkdir(parents=True, exist_ok=True)
    return Job(directory.name, [], ["sh", "-c", f"cd {directory}; {script}"], directory, epochs=2)


def start(job: Job, environment: dict[str, str]) -> Execution:
    return LocalProcess(job.command, job.directory, environment)


def run(*jobs: Job | None, environments: Sequence[dict[str, str]] = ({},)) -> list[tuple[str, str]]:
    """Return the events in order: (job, state)."""
    return [(job.name, job.state) for job in run_jobs(jobs, start, environments) if job is not None]


def test_jobs_run_one_after_the_other(tmp_path):
    assert run(job(tmp_path / "a", COMPLETE), job(tmp_path / "b", COMPLETE)) == [
        ("a", "running"),
        ("a", "completed"),
        ("b", "running"),
        ("b", "completed"),
    ]


def test_as_many_jobs_run_at_once_as_there_are_environments(tmp_path):
    meet = "echo $SLOT > ../{}.slot; while [ ! -f ../{}.slot ]; do sleep 0.01; done; "
    a, b = (job(tmp_path / own, meet.format(own, other) + COMPLETE) for own, other in ("ab", "ba"))
    run(a, b, environments=[{"SLOT": "0"}, {"SLOT": "1"}])
    assert (a.state, b.state) == ("completed", "completed")
    assert ((tmp_path / "a.slot").read_text(), (tmp_path / "b.slot").read_text()) == ("0\n", "1\n")


def test_a_job_starts_when_there_is_room_and_one_is_waiting(tmp_path):
    def jobs():
        yield None
        yield job(tmp_path / "a", COMPLETE)
        yield None
        yield job(tmp_path / "b", f"test -f ../a/summary.json && {COMPLETE}")

    assert [done for done in run(*jobs()) if done[1] != "running"] == [("a", "completed"), ("b", "completed")]


def test_an_unwanted_job_saves_and_ends(tmp_path):
    unwanted = job(tmp_path / "a", "trap 'touch saved; exit 130' INT; while true; do sleep 0.01; done")
    for _ in run_jobs([unwanted, job(tmp_path / "b", COMPLETE)], start, [{}]):
        unwanted.unwanted = unwanted.state == "running" and time.monotonic() > (unwanted.started or 0) + 0.1
    assert (unwanted.state, (tmp_path / "a" / "saved").exists()) == ("interrupted", True)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo first >&2; echo last >&2; exit 3", "exit code 3: last"),
        ("exit 3", "exit code 3"),
        ("echo 'data: no' >&2; echo 'data=digits' >&2; exit 2", "exit code 2: data: no data=digits"),
        ("exit 0", "it ended before the run was complete"),
        (WRITE % ("failed", '"MemoryError: 1 GiB"') + "echo noise >&2; exit 1", "exit code 1: MemoryError: 1 GiB"),
        ("kill -SEGV $$", "killed by SIGSEGV"),
        ("kill -KILL $$", "killed by SIGKILL (by hand, or by the system when memory ran out)"),
        ("echo 'bad_alloc' >&2; kill -ABRT $$", "killed by SIGABRT: bad_alloc"),
    ],
)
def test_a_job_that_fails_does_not_affect_the_others_and_has_a_reason(tmp_path, script, reason):
    bad, good = job(tmp_path / "bad", script), job(tmp_path / "good", COMPLETE)
    run(bad, good)
    assert (bad.state, bad.reason, good.state) == ("failed", reason, "completed")


def test_the_record_of_a_killed_job_is_corrected(tmp_path):
    killed = job(tmp_path / "a", WRITE % ("running", "null") + "kill -KILL $$")
    run(killed)
    record = RunDirectory(killed.directory).read_summary()
    assert record is not None
    assert (record["status"], record["epochs"]) == ("failed", 1)
    assert "killed by SIGKILL" in record["error"]


def test_the_record_of_an_earlier_attempt_is_not_the_reason(tmp_path):
    again = job(tmp_path / "a", "echo 'no module' >&2; exit 1")
    RunDirectory(again.directory).update_summary(status="failed", error="an old story")
    run(again)
    assert again.reason == "exit code 1: no module"


def test_a_job_that_was_interrupted_alone_does_not_end_the_others(tmp_path):
    stopped = job(tmp_path / "a", WRITE % ("interrupted", '"Interrupted by SIGTERM."') + "exit 130")
    assert run(stopped, job(tmp_path / "b", COMPLETE))[-1] == ("b", "completed")
    assert stopped.state == "interrupted"


def test_a_job_that_diverges_is_listed_with_the_epoch(tmp_path):
    diverged = job(tmp_path / "a", WRITE % ("diverged", '"the loss is not finite in epoch 2"') + "exit 1")
    assert run(diverged)[-1] == ("a", "diverged")
    assert diverged.reason == "the loss is not finite in epoch 2"


def test_ctrl_c_is_passed_on_and_nothing_more_is_started(tmp_path, capsys):
    jobs = [job(tmp_path / name, "trap 'exit 130' INT; touch up; while :; do sleep 0.02; done") for name in "ab"]
    events = run_jobs(jobs, start, [{}])
    assert next(events) is jobs[0]
    while not (tmp_path / "a" / "up").exists():
        next(events)
    os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(Interrupted, match="the same command continues it"):
        list(events)
    assert [job.state for job in jobs] == ["interrupted", "waiting"]
    assert "Press Ctrl-C again to stop at once" in capsys.readouterr().err


def test_a_job_that_ignores_ctrl_c_is_killed_the_third_time(tmp_path):
    deaf = job(tmp_path / "a", "trap '' INT; " + WRITE % ("running", "null") + "touch up; while :; do sleep 0.02; done")
    events = run_jobs([deaf], start, [{}])
    while not (tmp_path / "a" / "up").exists():
        next(events)
    for _ in range(3):
        os.kill(os.getpid(), signal.SIGINT)
    began = time.monotonic()
    with pytest.raises(Interrupted):
        list(events)
    assert time.monotonic() - began < 5
    assert (deaf.state, deaf.record["status"]) == ("interrupted", "interrupted")  # the same command continues it


def test_signal_handlers_are_restored(tmp_path):
    before = signal.getsignal(signal.SIGINT)
    run(job(tmp_path / "a", COMPLETE))
    assert signal.getsignal(signal.SIGINT) is before


def test_no_process_is_left_when_the_sweep_itself_fails(tmp_path):
    events = run_jobs([job(tmp_path / "a", "echo $$ > pid; while :; do sleep 0.02; done")], start, [{}])
    while not (tmp_path / "a" / "pid").exists() or not (tmp_path / "a" / "pid").read_text():
        next(events)
    events.close()
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "a" / "pid").read_text()), 0)


def test_the_output_of_a_job_is_kept_without_empty_files(tmp_path):
    run(job(tmp_path / "a", "echo hello; " + COMPLETE))
    assert (tmp_path / "a" / "output.log").read_text() == "hello\n"
    assert not (tmp_path / "a" / "errors.log").exists()


def test_a_refused_job_leaves_nothing_but_the_users_own_files(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "errors.log").write_text("my own\n")
    jobs = [job(tmp_path / "runs" / "a", "echo no such thing >&2; exit 2"), job(tmp_path / "b", "echo >&2 no; exit 2")]
    shutil.rmtree(tmp_path / "runs")
    jobs[0].command[-1] = "echo no such thing >&2; exit 2"
    run(*jobs)
    assert [job.reason for job in jobs] == ["exit code 2: no such thing", "exit code 2: no"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b"]
    assert (tmp_path / "b" / "errors.log").read_text().startswith("my own\n")


@pytest.mark.parametrize(
    ("at_once", "devices", "expected"),
    [
        (1, ["0", "1"], [{}]),
        (2, [], [{"OMP_NUM_THREADS": "4"}] * 2),
        (3, ["0"], [{"OMP_NUM_THREADS": "2"}] * 3),
        (16, [], [{"OMP_NUM_THREADS": "1"}] * 16),
        (3, ["2", "5"], [{"OMP_NUM_THREADS": "2", "CUDA_VISIBLE_DEVICES": device} for device in ("2", "5", "2")]),
    ],
)
def test_jobs_that_run_at_once_share_cores_and_gpus(monkeypatch, at_once, devices, expected):
    monkeypatch.setattr("cnnlab.runs.jobs.available_cores", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert slots(at_once, devices) == expected


def test_a_number_of_threads_set_by_the_user_stays(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert slots(2, []) == [{"OMP_NUM_THREADS": "7"}] * 2


def test_a_signal_without_a_name_is_explained_by_its_number():
    assert explain_code(-63) == "killed by signal 63"
