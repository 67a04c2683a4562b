"""Run a leader and a follower in two threads; test_several_processes.py runs them in processes."""

import json
import os
import signal
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from cnnlab.errors import Interrupted, RequestError
from cnnlab.runs.processes import Processes, Rank, own_rank
from cnnlab.signals import handled, interrupt

LAUNCHERS = (
    "RANK",
    "WORLD_SIZE",
    "LOCAL_RANK",
    "MASTER_ADDR",
    "MASTER_PORT",
    "CNNLAB_RANK",
    "CNNLAB_SECRET",
    "SLURM_NTASKS",
)


@pytest.fixture(autouse=True)
def nothing_was_launched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in LAUNCHERS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.parametrize(
    ("environment", "rank"),
    [
        ({}, Rank(0)),
        ({"RANK": "3", "WORLD_SIZE": "4"}, Rank(3, 4)),
        ({"RANK": "0", "WORLD_SIZE": "1"}, Rank(0)),  # torchrun with one process
        ({"SLURM_NTASKS": "2", "SLURM_PROCID": "1", "SLURM_JOB_NAME": "train"}, Rank(1, 2)),
        ({"SLURM_NTASKS": "2", "SLURM_PROCID": "0", "SLURM_JOB_NAME": "interactive"}, Rank(0)),
        ({"SLURM_NTASKS": "1", "SLURM_PROCID": "0"}, Rank(0)),
        ({"CNNLAB_RANK": "2", "LOCAL_RANK": "2", "WORLD_SIZE": "4"}, Rank(2)),
        ({"RANK": "1", "WORLD_SIZE": "2", "SLURM_NTASKS": "8", "SLURM_PROCID": "7"}, Rank(1, 2)),  # torchrun in Slurm
    ],
)
def test_the_rank_is_read_from_the_environment(environment, rank, monkeypatch) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert own_rank() == rank


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> tuple[Processes, Processes]:
    """Return two processes as torchrun or Slurm start them."""
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        monkeypatch.setenv("MASTER_PORT", str(probe.getsockname()[1]))
    leader = Processes(Rank(0, 2))
    return leader, Processes(Rank(1, 2))


class Follower(threading.Thread):
    def __init__(self, process: Processes, work: Any):
        super().__init__(daemon=True)
        self.process, self.work = process, work
        self.start()

    def run(self) -> None:
        self.code = self.process.follow(self.work)


def join(leader: Processes, follower: Follower) -> int:
    leader.dismiss()
    follower.join(20)
    return follower.code


def fail(error: BaseException) -> None:
    raise error


def test_a_follower_receives_the_job(pair) -> None:
    leader, other = pair
    jobs = []

    def work(processes: Processes, **job: Any) -> None:
        with processes.running_job(2, 1, {}, fail):
            jobs.append(job)

    follower = Follower(other, work)
    with leader.running_job(2, 1, {"settings": {"lr": 0.1}, "checkpoint": None}, fail):
        pass
    assert join(leader, follower) == 0
    assert jobs == [{"settings": {"lr": 0.1}, "checkpoint": None}]


def test_a_follower_without_a_job_is_sent_away(pair) -> None:
    leader, other = pair
    follower = Follower(other, lambda **job: fail(AssertionError("there is no job")))
    assert join(leader, follower) == 0


@pytest.mark.parametrize("signature", ["", "0" * 64 + " ", "\N{SNOWMAN} "])
def test_a_job_that_the_leader_has_not_signed_is_refused(pair, signature) -> None:
    leader, other = pair
    leader._store.set("job", signature + json.dumps({"settings": {"_target_": "os.mkdir"}}))
    follower = Follower(other, lambda **job: fail(AssertionError("the job was done")))
    assert join(leader, follower) == 2
    report = json.loads(leader._store.get("exit_report"))
    assert report["text"].startswith("trainer=ddp: the processes have different secrets; set CNNLAB_SECRET")


def test_the_store_of_one_machine_listens_on_the_loopback_interface_only(pair) -> None:
    port = pair[0]._store.underlying_store.port
    with socket.create_connection(("127.0.0.1", port), timeout=5):
        pass
    with pytest.raises(OSError, match="refused"):  # another address of this machine
        socket.create_connection(("127.0.0.2", port), timeout=5)


@pytest.mark.parametrize(
    ("error", "code", "seen"),
    [
        (RuntimeError("broke"), 1, RuntimeError("process 1: RuntimeError: broke")),
        (RequestError("data: x is wrong"), 2, RequestError("data: x is wrong")),
        (Interrupted("Interrupted by SIGTERM."), 130, Interrupted("Interrupted by SIGTERM.")),
    ],
)
def test_the_leader_raises_the_error_of_a_follower(pair, error, code, seen) -> None:
    leader, other = pair

    def work(processes: Processes) -> None:
        with processes.running_job(2, 1, {}, fail):
            raise error

    follower = Follower(other, work)
    with pytest.raises(type(seen)) as caught, leader.running_job(2, 1, {}, fail):
        while not leader._store.check(["exit_report"]):
            pass
        raise ConnectionError("connection closed by peer")  # as a collective operation fails then
    assert str(caught.value) == str(seen)
    assert join(leader, follower) == code


def test_the_first_to_fail_is_the_cause(pair) -> None:
    leader, other = pair

    def work(processes: Processes) -> None:
        with processes.running_job(2, 1, {}, fail):
            pass

    follower = Follower(other, work)
    with pytest.raises(RuntimeError, match="^mine$"), leader.running_job(2, 1, {}, fail):
        raise RuntimeError("mine")
    join(leader, follower)
    assert other._report_exit(RuntimeError("yours")) == {"rank": 0, "code": 1, "text": "RuntimeError: mine"}


def test_ctrl_c_is_heard_while_the_other_processes_start(pair) -> None:
    threading.Timer(0.3, os.kill, [os.getpid(), signal.SIGINT]).start()
    with handled(interrupt), pytest.raises(Interrupted, match="SIGINT"), pair[0].running_job(2, 1, {}, fail):
        fail(AssertionError("the others are not there"))


def test_a_process_that_fails_before_the_others_are_there_is_the_cause(pair) -> None:
    leader, other = pair
    follower = Follower(other, lambda processes: fail(RequestError("data: x is wrong")))
    with pytest.raises(RequestError, match="^data: x is wrong$"), leader.running_job(2, 1, {}, fail):
        fail(AssertionError("the others are not there"))
    assert join(leader, follower) == 2


def test_a_wrong_number_of_processes_is_refused(pair) -> None:
    with pytest.raises(RequestError, match="trainer.devices: 3 on each of 2 machine.* need 6 processes, but 2 were"):
        pair[0].running_job(3, 2, {}, fail).__enter__()


def test_several_machines_need_a_launcher() -> None:
    with pytest.raises(RequestError, match="trainer.num_nodes"):
        Processes(Rank(0)).running_job(1, 2, {}, fail).__enter__()


def test_a_single_process_needs_no_store() -> None:
    alone = Processes(Rank(0))
    with alone.running_job(1, 1, {}, fail):
        assert alone._store is None
    alone.dismiss()
