"""Coordinate the processes of a run on several devices.

Process 0 leads. Only the leader composes the configuration, chooses the run directory, writes the record and prints. It
tells the others (the followers) their job through a store: a small server of torch's, kept by the leader or torchrun.
The leader starts the followers of its machine, unless torchrun or Slurm have started all processes. On one machine the
store listens on the loopback interface only.

A job names functions that the followers call, and others may be able to write to the store. So the leader signs the
job with a secret of its user, and the followers refuse a job without this signature.

The first process that fails or is interrupted posts an exit report in the store. The others read it even if they hang
in an operation that waits for the lost process.
"""

import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from cnnlab.errors import Diverged, Failed, Interrupted, RequestError
from cnnlab.runs.signatures import SECRET, signed, verified

if TYPE_CHECKING:
    from torch.distributed import PrefixStore  # pyright: ignore[reportPrivateImportUsage]

Job = dict[str, Any]

WATCH_EVERY = 0.5  # seconds
# Seconds that a process has to end by itself after another one has ended with this exit code. An interrupted run saves.
SECONDS_TO_END = {1: 5.0, 2: 5.0, 130: 60.0}
SECONDS_TO_PART = 20.0  # for which processes wait for each other at the end
UNLIMITED = timedelta(days=365)  # decoding a large data set takes hours
FOLLOWER_RANK = "CNNLAB_RANK"  # environment variable of a follower that the leader has started
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Rank:
    """Number of a process among those of its run."""

    number: int  # from 0, which leads
    world_size: int | None = None  # number of processes, or None if the leader starts them itself


def own_rank() -> Rank:
    """Read the rank of this process, set by torchrun, Slurm or the leader; without any of them it leads."""
    known = os.environ
    if FOLLOWER_RANK in known:
        return Rank(int(known[FOLLOWER_RANK]))
    if int(known.get("WORLD_SIZE", 1)) > 1 and "RANK" in known:
        return Rank(int(known["RANK"]), int(known["WORLD_SIZE"]))
    if int(known.get("SLURM_NTASKS", 1)) > 1 and known.get("SLURM_JOB_NAME") not in ("bash", "interactive"):
        return Rank(int(known.get("SLURM_PROCID", 0)), int(known["SLURM_NTASKS"]))
    return Rank(0)


class Processes:
    """The processes of one run, as seen by the one with this rank."""

    def __init__(self, rank: Rank):
        self.rank = rank
        self.leads = rank.number == 0
        self._store: PrefixStore | None = None
        self._children: list[subprocess.Popen[bytes]] = []
        if rank.world_size is not None or not self.leads:
            self._store = _connect(rank)

    # --- the leader --------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def running_job(
        self, devices: int, machines: int, job: Job, on_hang: Callable[[BaseException], None]
    ) -> Iterator[None]:
        """Have all processes of the run, one for each device of each machine, work on the same job inside the block.

        The job holds plain values for the followers. If this process hangs waiting for another one that has failed,
        `on_hang` is called with the error of that one, and this process ends.

        Raises:
            RequestError: if another number of processes was started.
            RequestError, Interrupted, RuntimeError: if another process has failed or was interrupted.
        """
        self._check_number(devices, machines)
        if devices * machines == 1:
            yield
            return
        with contextlib.ExitStack() as stack:
            if self.rank.world_size is None and self.leads:
                stack.enter_context(self._started_followers(devices))
            assert self._store is not None
            if self.leads:
                self._store.set("job", signed(json.dumps(job)))
            stack.enter_context(self._watching(on_hang))
            try:
                self._meet(devices * machines)
                yield
            except BaseException as error:
                first = self._report_exit(error)
                if first["rank"] == self.rank.number:
                    raise
                raise _as_error(first) from error

    def _meet(self, number: int) -> None:
        """Wait until all processes are here. Torch would wait too, but without hearing Ctrl-C."""
        assert self._store is not None
        self._store.add("here", 1)
        while self._store.add("here", 0) < number:
            if self._store.check(["exit_report"]):
                raise _as_error(json.loads(self._store.get("exit_report")))
            time.sleep(0.05)

    def _check_number(self, devices: int, machines: int) -> None:
        started = self.rank.world_size
        if self.leads and started is None and machines > 1:
            raise RequestError("trainer.num_nodes: torchrun or srun must start a run on several machines")
        if self.leads and started not in (None, devices * machines):
            on_each = f"{devices} on each of {machines} machine{'s' if machines > 1 else ''} (trainer.num_nodes)"
            raise RequestError(
                f"trainer.devices: {on_each} need {devices * machines} processes, but {started} were started"
            )

    @contextlib.contextmanager
    def _started_followers(self, world_size: int) -> Iterator[None]:
        """Start the followers on this machine, and wait for their end."""
        import torch

        with socket.create_server((LOOPBACK, 0)) as probe:
            port = probe.getsockname()[1]  # a free one
        own = {"MASTER_ADDR": LOOPBACK, "MASTER_PORT": str(port), "WORLD_SIZE": str(world_size), "NODE_RANK": "0"}
        own |= {SECRET: secrets.token_hex(), **_loopback_only()}
        before, threads = dict(os.environ), torch.get_num_threads()
        os.environ |= own | {"LOCAL_RANK": "0"}
        try:
            self._store = _store(LOOPBACK, port, serve=True)
            for rank in range(1, world_size):
                environment = os.environ | {"LOCAL_RANK": str(rank), FOLLOWER_RANK: str(rank)}
                # In a session of its own: Ctrl-C goes to the leader, which passes it on.
                command = [sys.executable, "-m", "cnnlab.train"]
                self._children.append(subprocess.Popen(command, env=environment, start_new_session=True))
            yield
        except BaseException as error:
            _leave_nccl(together=False)
            store, interrupted = self._store, isinstance(error, Interrupted)
            # Processes that are still starting when a run is interrupted have nothing to save.
            saves = store and store.check(["exit_report"]) and not (interrupted and store.add("here", 0) < world_size)
            self._end_children(SECONDS_TO_PART if saves else 0)
            raise
        else:
            _leave_nccl(together=True)
            self._end_children(SECONDS_TO_PART)
        finally:
            if torch.distributed.is_initialized():
                torch.distributed.destroy_process_group()  # the next job of a sweep starts anew
            os.environ.clear()
            os.environ |= before
            torch.set_num_threads(threads)
            self._store, self._children = None, []

    def _end_children(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        for child in self._children:
            try:
                child.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()

    def dismiss(self) -> None:
        """Send away followers that still wait for a job, and let those of torchrun or Slurm end before the leader.

        The store ends with the leader, so this is the last thing that the leader does.
        """
        if self._store is None or self.rank.world_size is None or not self.leads:
            return
        with contextlib.suppress(RuntimeError, RequestError):  # the store has ended, or there is no secret
            if not self._store.check(["job"]):
                self._store.set("job", signed("null"))
            self._store.set("over", "")
            started = time.monotonic()
            while self._store.add("left", 0) < self.rank.world_size - 1:
                failed = self._store.check(["exit_report"])  # a process that has failed may be unable to leave
                if time.monotonic() > started + (SECONDS_TO_END[1] if failed else SECONDS_TO_PART):
                    return
                time.sleep(0.05)

    # --- a follower --------------------------------------------------------------------------------------------------

    def follow(self, work: Callable[..., None]) -> int:
        """Call `work` with the entries of the leader's job and these `processes`, and return the exit code."""
        assert self._store is not None
        code = 0
        try:
            self._store.set_timeout(UNLIMITED)
            if (job := json.loads(verified(self._store.get("job").decode()))) is not None:
                work(processes=self, **job)
        except BaseException as error:
            first = self._report_exit(error)
            if first["rank"] == self.rank.number and first["code"] == 1 and not isinstance(error, Diverged):
                traceback.print_exception(error)
            code = first["code"]
        self._wait_for_leader()
        return code

    def _wait_for_leader(self) -> None:
        """Let the leader write the record: torchrun and Slurm end all processes when one ends with an error."""
        assert self._store is not None
        if self.rank.world_size is not None:
            with contextlib.suppress(RuntimeError):
                self._store.set_timeout(timedelta(seconds=SECONDS_TO_PART))
                self._store.get("over")
                self._store.add("left", 1)

    # --- failure and interruption ------------------------------------------------------------------------------------

    def _report_exit(self, error: BaseException) -> dict[str, Any]:
        """Post how this process has ended, and return the first report of any process."""
        if isinstance(error, RequestError):
            code, text = 2, str(error)
        elif isinstance(error, Interrupted | KeyboardInterrupt):
            code, text = 130, str(error) or "Interrupted."
        else:
            code, text = 1, f"{type(error).__name__}: {error}"
        report = {"rank": self.rank.number, "code": code, "text": text}
        if isinstance(error, Diverged):
            report |= {"text": str(error), "diverged": True}
        assert self._store is not None
        try:
            return json.loads(self._store.compare_set("exit_report", "", json.dumps(report)))
        except RuntimeError:  # the store has ended with its process
            return report if self.leads else {"rank": 0, "code": 1, "text": "it has ended"}

    @contextlib.contextmanager
    def _watching(self, on_hang: Callable[[BaseException], None]) -> Iterator[None]:
        ended = threading.Event()
        thread = threading.Thread(target=self._watch, args=(ended, on_hang), daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _watch(self, ended: threading.Event, on_hang: Callable[[BaseException], None]) -> None:
        """End this process if another one has ended too early and the main thread hangs."""
        assert self._store is not None
        store = self._store.clone()  # a connection of its own: the other may be in use
        while not ended.wait(WATCH_EVERY):
            try:
                for rank, child in enumerate(self._children, start=1):
                    if child.poll():  # it was killed, and has posted nothing
                        report = {"rank": rank, "code": 1, "text": f"it ended with exit code {child.returncode}"}
                        store.compare_set("exit_report", "", json.dumps(report))
                if not store.check(["exit_report"]):
                    continue
                report = json.loads(store.get("exit_report"))
            except RuntimeError:
                report = {"rank": 0, "code": 1, "text": "it has ended"}
            if not ended.wait(SECONDS_TO_END[report["code"]]):
                self.end_at_once(_as_error(report), report["code"], on_hang)

    def end_at_once(self, error: BaseException, code: int, on_hang: Callable[[BaseException], None]) -> NoReturn:
        """End this process, which hangs, and the followers that it has started; `on_hang` records the error."""
        on_hang(error)
        for child in self._children:
            child.kill()
        os._exit(code)


def _as_error(report: dict[str, Any]) -> BaseException:
    if report["code"] == 2:
        return RequestError(report["text"])
    if report["code"] == 130:
        return Interrupted(report["text"])
    if report.get("diverged"):
        return Diverged(report["text"])
    return Failed(f"process {report['rank']}: {report['text']}")


def _connect(rank: Rank) -> "PrefixStore":
    """Connect to the store of processes that were started from outside, or by the leader."""
    known = os.environ
    one_machine = known.get("SLURM_NNODES") == "1" or known.get("LOCAL_WORLD_SIZE") == known.get("WORLD_SIZE", "")
    if one_machine:
        known |= _loopback_only()
    if "MASTER_ADDR" not in known or "MASTER_PORT" not in known:  # Slurm sets neither
        from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

        slurm = SLURMEnvironment()
        known["MASTER_ADDR"] = LOOPBACK if one_machine else slurm.main_address
        known["MASTER_PORT"] = str(slurm.main_port)
    torchrun_serves = known.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    serve = rank.number == 0 and not torchrun_serves
    return _store(known["MASTER_ADDR"], int(known["MASTER_PORT"]), serve)


def _store(host: str, port: int, serve: bool) -> "PrefixStore":
    from torch.distributed import PrefixStore, TCPStore  # pyright: ignore[reportPrivateImportUsage]

    # The process group, which is made later, shares the server.
    options: dict[str, Any] = {"timeout": timedelta(minutes=5), "wait_for_workers": False, "multi_tenant": True}
    if serve and host == LOOPBACK:  # torch itself would listen on all interfaces
        options["master_listen_fd"] = socket.create_server((host, port), backlog=128).detach()
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")  # torchrun keeps the store when it restarts processes
    return PrefixStore(f"cnnlab/{attempt}", TCPStore(host, port, is_master=serve, **options))


def _leave_nccl(together: bool) -> None:
    """Leave a group of GPUs. After a failure the group is aborted: waiting for dead processes would hang."""
    import torch

    if torch.distributed.is_initialized() and torch.distributed.get_backend() == "nccl":
        if together:
            torch.distributed.destroy_process_group()
        else:
            torch.distributed.distributed_c10d._abort_process_group()


def _loopback_only() -> dict[str, str]:
    """Return environment variables with which the process group of one machine stays on the loopback interface."""
    names = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")
    loopback = next((name for _, name in socket.if_nameindex() if name in ("lo", "lo0")), None)
    return {name: loopback for name in names if loopback and name not in os.environ}
