"""Stop runs by signals, kill them, and start two in one directory."""

import signal
import time
from pathlib import Path

import pytest

from tests.helpers import LONG, assert_same_run, checkpoint, end, metrics, run, start, summary, wait_until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run that was not stopped."""
    folder = tmp_path_factory.mktemp("whole")
    assert run(folder, *LONG, "hydra.run.dir=run")[0] == 0
    return folder / "run"


STOPPED = [
    pytest.param(signal.SIGINT, 130, id="interrupted"),
    pytest.param(signal.SIGTERM, 130, id="terminated"),
    pytest.param(signal.SIGKILL, -9, id="killed"),
]


@pytest.mark.parametrize(("number", "code"), STOPPED)
def test_a_run_that_was_stopped_within_an_epoch_resumes_exactly(whole, tmp_path, number, code):
    process = start(tmp_path, *LONG, "hydra.run.dir=parts")
    wait_until((tmp_path / "parts" / "checkpoints" / "last.ckpt").exists, process)
    time.sleep(0.1)
    process.send_signal(number)
    ended, _, err = end(process, 60)
    assert ended == code, err
    assert summary(tmp_path / "parts")["status"] == ("running" if code == -9 else "interrupted")
    assert "Traceback" not in err
    ended, _, err = run(tmp_path, *LONG, "hydra.run.dir=parts", "resume=auto")
    assert ended == 0, err
    assert_same_run(whole, tmp_path / "parts")
    assert len(metrics(whole)) == 10


@pytest.mark.parametrize(("number", "code"), STOPPED)
@pytest.mark.parametrize("every", [0.5, 3600])
def test_a_run_that_was_stopped_between_two_savings_resumes_exactly(whole, tmp_path, number, code, every):
    """With epochs since the last checkpoint, or without any checkpoint yet."""
    options = (*LONG, f"checkpoint_every={every}", "hydra.run.dir=parts")
    parts = tmp_path / "parts"

    def is_ahead() -> bool:
        saved = (summary(parts)["epochs"] or 0) if (parts / "summary.json").exists() else 0
        done = len(metrics(parts)) if (parts / "metrics.csv").exists() else 0
        return done >= saved + (2 if every == 3600 else 1) and (every == 3600) == (saved == 0)

    process = start(tmp_path, *options)
    wait_until(is_ahead, process)
    process.send_signal(number)
    ended, _, err = end(process, 60)
    assert ended == code, err
    seen, record = len(metrics(parts)), summary(parts)
    last = parts / "checkpoints" / "last.ckpt"
    assert (record["steps"] or 0) == (checkpoint(parts)["global_step"] if last.exists() else 0)
    if code == 130:
        assert record["epochs"] == seen
    elif every == 3600:
        assert (record["epochs"], last.exists()) == (None, False)
    how = ("resume=parts",) if code == -9 else (*options, "resume=auto")
    ended, _, err = run(tmp_path, *how)
    assert ended == 0, err
    assert_same_run(whole, parts)


def test_two_processes_do_not_write_to_one_directory(tmp_path):
    process = start(tmp_path, *LONG, "hydra.run.dir=run")
    wait_until((tmp_path / "run" / "summary.json").exists, process)
    code, _, err = run(tmp_path, *LONG, "hydra.run.dir=run", "resume=auto")
    assert (code, "another process is writing" in err) == (2, True)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
