"""Train the jobs of a sweep in one process that stays warm."""

import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from cnnlab.build.warm_up import warm_up
from cnnlab.errors import Interrupted, RequestError
from cnnlab.runs.jobs import Job, run_jobs
from cnnlab.runs.warm import WarmProcess, as_before
from tests.helpers import TINY, assert_same_run, run, start, summary, wait_until

# Stands for `cnnlab train`: each job does what its first argument says, and writes a record into the second.
SERVER = """
import json, os, signal, sys
from pathlib import Path
from cnnlab.runs.warm import serve

def job():
    kind, folder = sys.argv[1:]
    print(kind, os.getpid(), os.environ.pop("LEFT", None))
    print("an error", file=sys.stderr)
    os.environ["LEFT"] = "behind"
    if kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "wait":
        before = signal.signal(signal.SIGINT, lambda *_: None)
        Path(folder, "up").touch()
        signal.pause()
        signal.signal(signal.SIGINT, before)
        return 130
    Path(folder, "summary.json").write_text(json.dumps({"status": "completed" if kind == "good" else "failed"}))
    return kind != "good"

sys.exit(serve(job))
"""


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Job]:
    """Return a job of a process that serves."""
    (tmp_path / "server.py").write_text(SERVER)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setattr("cnnlab.runs.jobs.POLL_EVERY", 0.01)

    def make(name: str, kind: str) -> Job:
        folder = tmp_path / name
        return Job(name, [], [sys.executable, "-m", "server", kind, str(folder)], folder, epochs=1)

    return make


def test_jobs_share_a_process_until_one_ends_it(job):
    jobs = [job("a", "good"), job("b", "bad"), job("c", "kill"), job("d", "good"), job("e", "good")]
    with WarmProcess() as process:
        list(run_jobs(jobs, process.start, [{}]))
    assert [(one.state, one.reason) for one in jobs] == [
        ("completed", None),
        ("failed", "exit code 1: an error"),
        ("failed", "killed by SIGKILL (by hand, or by the system when memory ran out): an error"),
        ("completed", None),
        ("completed", None),
    ]
    said = [(one.directory / "output.log").read_text().split() for one in jobs if one.name != "c"]
    assert [words[0] for words in said] == ["good", "bad", "good", "good"]
    a, b, d, e = (words[1] for words in said)
    assert (a == b, d == e, a == d) == (True, True, False)
    assert {words[2] for words in said} == {"None"}  # what a job leaves in the environment is gone
    with pytest.raises(ProcessLookupError):
        os.kill(int(d), 0)


def test_ctrl_c_reaches_the_job_and_ends_the_process(job):
    waiting, never = job("a", "wait"), job("b", "good")
    with WarmProcess() as process:
        events = run_jobs([waiting, never], process.start, [{}])
        while not (waiting.directory / "up").exists():
            next(events)
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(Interrupted):
            list(events)
    assert [one.state for one in (waiting, never)] == ["interrupted", "waiting"]


def test_a_signal_between_two_jobs_ends_the_process(job):
    first, second = job("a", "good"), job("b", "good")
    with WarmProcess() as process:
        list(run_jobs([first], process.start, [{}]))
        execution = process.start(second, {})
        execution.interrupt()
        while (code := execution.poll()) is None:
            time.sleep(0.01)
    assert code in (0, 130)  # it had begun, or will be started again by the same command


def test_what_a_run_changes_of_its_process_is_taken_back():
    def state() -> list[object]:
        torch_state = [torch.get_float32_matmul_precision(), torch.get_num_threads(), torch.get_default_dtype()]
        flags = [torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark]
        return [*torch_state, *flags, dict(os.environ), list(warnings.filters), threading.active_count()]

    before = state()
    with as_before():
        torch.set_float32_matmul_precision("medium")
        torch.set_num_threads(torch.get_num_threads() + 1)
        torch.set_default_dtype(torch.float64)
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = not torch.backends.cudnn.benchmark
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
        warnings.filterwarnings("ignore", message="a run")
    assert state() == before


SMALL = (*TINY, "model=article", "model.width=0.25", "trainer.precision=32-true", "averaging.every_n_steps=2")


def test_a_run_in_a_warm_process_equals_one_in_a_process_of_its_own(tmp_path):
    """Dropout draws from the generator of the process; the runs before have drawn from it, too."""
    code, out, err = run(tmp_path, *SMALL, "seeds=[3,4]", "name=warm", "hydra/launcher=in_process")
    assert (code, err) == (0, "")
    first, second = sorted(path.parent for path in tmp_path.glob("runs/warm/*/*/summary.json"))
    assert run(tmp_path, *SMALL, "seed=4", "hydra.run.dir=own")[0] == 0
    assert_same_run(second, tmp_path / "own")
    records = [summary(folder) for folder in (first, second, tmp_path / "own")]
    done = records[0]["warm_up"]
    assert (done["epochs"], done["steps"], done["runs_before"]) == (1, 3, 0)
    assert [record["warm_up"] for record in records[1:]] == [{**done, "runs_before": 1}, None]
    assert records[1]["total_seconds"] < records[2]["total_seconds"]  # libraries are there
    assert (first / "train.log").read_text().count("train loss") == 1  # nothing of the warm-up is logged
    assert len(list(tmp_path.glob("runs/warm/*/*"))) == 3  # and the sweep's own file


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_the_same_command_continues_a_sweep_that_was_stopped_or_killed(tmp_path, number):
    options = (*SMALL, "trainer.max_epochs=40", "trainer.limit_train_batches=10", "checkpoint_every=0")
    sweep = (*options, "seeds=[3,4]", "name=warm", "hydra/launcher=in_process")
    process = start(tmp_path, *sweep)
    wait_until(lambda: bool(list(tmp_path.glob("runs/warm/*/seed-3/checkpoints/last.ckpt"))), process)
    (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="utf-8").split()
    process.send_signal(number)
    if number == signal.SIGKILL:
        os.kill(int(child), number)
    process.communicate(timeout=120)
    assert process.returncode == (130 if number == signal.SIGINT else -number)
    stopped = next(tmp_path.glob("runs/warm/*/seed-3"))
    assert summary(stopped)["status"] == ("interrupted" if number == signal.SIGINT else "running")
    code, out, err = run(tmp_path, *sweep)
    assert (code, err, "resumed     seed-3" in out) == (0, "", True)
    for seed in (3, 4):
        assert run(tmp_path, *options, f"seed={seed}", f"hydra.run.dir=own-{seed}")[0] == 0
        assert_same_run(stopped.with_name(f"seed-{seed}"), tmp_path / f"own-{seed}")


def test_several_devices_are_refused():
    options = {"accelerator": "cpu", "devices": 2}
    with pytest.raises(RequestError, match="hydra/launcher=in_process trains on one device, got trainer.devices=2"):
        warm_up({"trainer": options}, {})
