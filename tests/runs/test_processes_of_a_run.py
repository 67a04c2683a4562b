"""Run in several processes: how they listen, stop together, resume, fail, and refuse a request."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.helpers import (
    LONG,
    TORCHRUN,
    TRAIN,
    TWO,
    end,
    figures,
    run,
    same_weights,
    start,
    summary,
    wait_until,
)

pytestmark = pytest.mark.slow

SMALL = ("data=digits", "logger=none", "data.batch_size=150", "trainer.max_epochs=2")


def followers(process: subprocess.Popen[str]) -> list[int]:
    """Return the training processes that a process has started."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(child) for child in children if b"cnnlab" in Path(f"/proc/{child}/cmdline").read_bytes()]


def listening_addresses(process: int) -> list[str]:
    """Return the addresses on which a process listens, as /proc/net/tcp writes them."""
    sockets = [str(file.readlink()) for file in Path(f"/proc/{process}/fd").iterdir() if file.is_symlink()]
    lines = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()]
    listening = [fields for fields in lines if fields[3] == "0A"]
    return [fields[1].partition(":")[0] for fields in listening if f"socket:[{fields[9]}]" in sockets]


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="Linux lists sockets there")
def test_the_processes_of_one_machine_listen_on_the_loopback_interface_only(tmp_path):
    process = start(tmp_path, *LONG, *TWO, "trainer.max_epochs=1000", "hydra.run.dir=run")
    wait_until((tmp_path / "run" / "checkpoints" / "last.ckpt").exists, process)
    addresses = [listening_addresses(number) for number in (process.pid, *followers(process))]
    process.terminate()
    assert end(process, 60)[0] == 130
    assert len(addresses) == 2
    assert addresses[0]  # the store
    assert {address for one in addresses for address in one} == {"0100007F"}  # 127.0.0.1


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted")
    assert run(folder, *LONG, *TWO, "hydra.run.dir=run")[0] == 0
    return folder / "run"


@pytest.mark.parametrize(
    ("program", "to"),
    [
        pytest.param(TRAIN, 0, id="leader"),
        pytest.param(TRAIN, 1, id="other"),
        pytest.param(TORCHRUN, 1, id="torchrun"),
    ],
)
def test_a_signal_to_any_process_stops_all_and_the_run_resumes_exactly(tmp_path, program, to, uninterrupted):
    process = start(tmp_path, *LONG, *TWO, "hydra.run.dir=run", program=program)
    directory = tmp_path / "run"
    wait_until((directory / "checkpoints" / "last.ckpt").exists, process)
    time.sleep(0.1)
    trainers = followers(process) if program is TORCHRUN else [process.pid, *followers(process)]
    os.kill(trainers[to], signal.SIGTERM)
    code, _, err = end(process, 60)
    assert code == (130 if program is TRAIN else 1), err  # torchrun has a code of its own
    assert "Interrupted and saved" in err
    assert (summary(directory)["status"], 40 <= summary(directory)["steps"] < 400) == ("interrupted", True)
    code, _, err = run(tmp_path, *LONG, *TWO, "hydra.run.dir=run", "resume=auto", program=program)
    assert code == 0, err
    assert same_weights(directory, uninterrupted)
    assert figures(directory) == figures(uninterrupted)


BROKEN = """
import os, signal
from torch import nn

class Broken(nn.Module):
    def __init__(self, num_classes, how="raise"):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, num_classes))
        self.how, self.passes = how, 0

    def forward(self, x):
        self.passes += self.training
        if self.passes > 5 and os.environ["LOCAL_RANK"] == "1":
            if self.how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise RuntimeError("the network broke")
        return self.body(x)
"""


@pytest.mark.parametrize(
    ("program", "how"),
    [
        pytest.param(TRAIN, "raise", id="raise"),
        pytest.param(TRAIN, "kill", id="kill"),
        pytest.param(TORCHRUN, "raise", id="torchrun"),
    ],
)
def test_a_process_that_fails_ends_all(tmp_path, program, how):
    (tmp_path / "broken.py").write_text(BROKEN)
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "broken.yaml").write_text("_target_: broken.Broken\nhow: raise\n")
    code, _, err = run(tmp_path, *SMALL, *TWO, "model=broken", f"model.how={how}", "hydra.run.dir=run", program=program)
    assert code == 1
    record = summary(tmp_path / "run")
    assert record["status"] == "failed"
    if how == "raise":
        assert record["error"] == "process 1: RuntimeError: the network broke"
        assert "the network broke" in err


def test_the_followers_end_when_the_leader_is_killed(tmp_path):
    process = start(tmp_path, *LONG, *TWO, "hydra.run.dir=run")
    wait_until((tmp_path / "run" / "checkpoints" / "last.ckpt").exists, process)
    (follower,) = (Path(f"/proc/{number}") for number in followers(process))
    assert follower.exists()
    process.kill()
    process.communicate(timeout=60)
    deadline = time.monotonic() + 15
    while follower.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not follower.exists()


@pytest.mark.parametrize(
    ("wrong", "explanation"),
    [
        ("trainer.devices=3", "trainer.devices: 3 on each of 1 machine (trainer.num_nodes) need 3 processes"),
        ("modle=lenet5", "modle is not a key; did you mean model?"),
    ],
)
def test_a_wrong_request_under_torchrun_is_explained_once(tmp_path, wrong, explanation):
    code, _, err = run(tmp_path, *SMALL, *TWO, wrong, program=TORCHRUN)
    assert code == 1  # torchrun's own
    assert err.count(explanation) == 1
    assert not list(tmp_path.glob("runs/*/*"))


def test_a_rate_is_not_searched_on_several_devices(tmp_path):
    code, _, err = run(tmp_path, *SMALL, *TWO, "callbacks=lr_finder")
    assert (code, err.count("callbacks.lr_finder works on one device only")) == (2, 1), err


def test_a_sweep_under_torchrun_is_refused(tmp_path):
    _, _, err = run(tmp_path, "-m", *SMALL, *TWO, "seed=0,1", program=TORCHRUN)
    assert "-m: a sweep starts the processes of its runs itself" in err
