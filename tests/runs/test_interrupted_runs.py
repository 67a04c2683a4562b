"""Stop runs by signals, kill them, and start two in one directory."""

import signal
import time
from pathlib import Path

import pytest

from tests.helpers import LONG, end, metrics, run, same_weights, start, summary, wait_until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run that was not stopped."""
    folder = tmp_path_factory.mktemp("whole")
    assert run(folder, *LONG, "hydra.run.dir=run")[0] == 0
    return folder / "run"


@pytest.mark.parametrize(
    ("number", "code"),
    [
        pytest.param(signal.SIGINT, 130, id="interrupted"),
        pytest.param(signal.SIGTERM, 130, id="terminated"),
        pytest.param(signal.SIGKILL, -9, id="killed"),
    ],
)
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
    assert same_weights(whole, tmp_path / "parts")
    assert metrics(whole, without="seconds") == metrics(tmp_path / "parts", without="seconds")
    assert len(metrics(whole)) == 2


def test_two_processes_do_not_write_to_one_directory(tmp_path):
    process = start(tmp_path, *LONG, "hydra.run.dir=run")
    wait_until((tmp_path / "run" / "summary.json").exists, process)
    code, _, err = run(tmp_path, *LONG, "hydra.run.dir=run", "resume=auto")
    assert (code, "another process is writing" in err) == (2, True)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
