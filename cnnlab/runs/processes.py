"""The processes of a run on several devices: one leads, the others follow, and all end together.

Process 0 leads. It alone composes the configuration, decides on the run directory, writes the record and prints. What
the others do is told to them through a store (a small server of torch's that the leader, or torchrun, keeps), so that
they cannot disagree. The followers of one machine are started by the leader, unless torchrun or Slurm have started all.

The first process that fails or is interrupted leaves word in the store. The others hear of it, even those that wait
for it in vain inside of an operation that nothing in Python can interrupt.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from cnnlab.errors import Interrupted, RequestError

if TYPE_CHECKING:
    from torch.distributed import PrefixStore  # pyright: ignore[reportPrivateImportUsage]

Job = dict[str, Any]

WATCH_EVERY = 0.5  # seconds
# Seconds that a process has to end by itself after another one failed or was interrupted. Who was interrupted may be
# saving.
GRACE = {1: 5.0, 2: 5.0, 130: 60.0}
FAREWELL = 20.0  # seconds that processes wait for each other at the end
UNLIMITED = timedelta(days=365)  # decoding a large data set takes hours
OUR_RANK = "CNNLAB_RANK"  # of a process that a leader has started


@dataclass(frozen=True)
class Place:
    """Which process this is.

    Attributes:
        rank: its number among all; 0 leads.
        world_size: how many there are, or None when the leader itself starts them.
    """

    rank: int
    world_size: int | None = None


def own_place() -> Place:
    """Where this process stands, as torchrun, Slurm or the leader say in the environment; alone it is a leader."""
    known = os.environ
    if OUR_RANK in known:
        return Place(int(known[OUR_RANK]))
    if int(known.get("WORLD_SIZE", 1)) > 1 and "RANK" in known:
        return Place(int(known["RANK"]), int(known["WORLD_SIZE"]))
    if int(known.get("SLURM_NTASKS", 1)) > 1 and known.get("SLURM_JOB_NAME") not in ("bash", "interactive"):
        return Place(int(known.get("SLURM_PROCID", 0)), int(known["SLURM_NTASKS"]))
    return Place(0)


class Processes:
    """The processes of one run, as one of them sees them.

    Args:
        place: of this process.
    """

    def __init__(self, place: Place):
        self.place = place
        self.leads = place.rank == 0
        self._store: PrefixStore | None = None
        self._children: list[subprocess.Popen[bytes]] = []
        if place.world_size is not None or not self.leads:
            self._store = _connect(place)

    # --- what the leader does ----------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def together(
        self, devices: int, machines: int, job: Job, on_loss: Callable[[BaseException], None]
    ) -> Iterator[None]:
        """Inside, all processes of the run work on the same job.

        Args:
            devices: of each machine; each has a process.
            machines: how many there are.
            job: what the followers are told; plain values.
            on_loss: called with what another process has ended with, when this one hangs waiting for it; this process
                is ended afterwards.

        Raises:
            RequestError: when another number of processes was started. Also what another process has raised: a
                RequestError, Interrupted, or a RuntimeError that names it.
        """
        self._check(devices, machines)
        if devices * machines == 1:
            yield
            return
        with contextlib.ExitStack() as stack:
            if self.place.world_size is None and self.leads:
                stack.enter_context(self._children_of_ours(devices))
            assert self._store is not None
            if self.leads:
                self._store.set("job", json.dumps(job))
            stack.enter_context(self._watching(on_loss))
            try:
                yield
            except BaseException as error:
                first = self._leave_word(error)
                if first["rank"] == self.place.rank:
                    raise
                raise _as_error(first) from error

    def _check(self, devices: int, machines: int) -> None:
        """Whether as many processes were started as are asked for."""
        started = self.place.world_size
        if not self.leads:
            return
        if started is None and machines > 1:
            raise RequestError("trainer.num_nodes: torchrun or srun must start a run on several machines")
        if started is not None and started != devices * machines:
            raise RequestError(
                f"trainer.devices: {devices} on each of {machines} machine(s) (trainer.num_nodes) are "
                f"{devices * machines} processes, but {started} were started"
            )

    @contextlib.contextmanager
    def _children_of_ours(self, world_size: int) -> Iterator[None]:
        """Starts the followers on this machine, and sees them end."""
        import torch

        port = _free_port()
        ours = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(world_size), "NODE_RANK": "0"}
        before, threads = dict(os.environ), torch.get_num_threads()
        os.environ |= ours | {"LOCAL_RANK": "0"}
        try:
            self._store = _store("127.0.0.1", port, serve=True)
            for rank in range(1, world_size):
                environment = os.environ | {"LOCAL_RANK": str(rank), OUR_RANK: str(rank)}
                # A session of their own: Ctrl-C is for the leader, which passes it on.
                command = [sys.executable, "-m", "cnnlab.train"]
                self._children.append(subprocess.Popen(command, env=environment, start_new_session=True))
            yield
        except BaseException:
            _leave_nccl(together=False)
            self._end_children(FAREWELL if self._store and self._store.check(["word"]) else 0)
            raise
        else:
            _leave_nccl(together=True)
            self._end_children(FAREWELL)
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
        """The leader's last act: sends away who still waits for a job, and lets those that torchrun or Slurm started
        leave before it takes the store with it."""
        if self._store is None or self.place.world_size is None or not self.leads:
            return
        with contextlib.suppress(RuntimeError):
            if not self._store.check(["job"]):
                self._store.set("job", "null")
            self._store.set("over", "")
            deadline = time.monotonic() + FAREWELL
            while self._store.add("left", 0) < self.place.world_size - 1 and time.monotonic() < deadline:
                if self._store.check(["word"]) and time.monotonic() > deadline - FAREWELL + GRACE[1]:
                    return  # who failed may be unable to say so
                time.sleep(0.05)

    # --- what a follower does ----------------------------------------------------------------------------------------

    def follow(self, work: Callable[..., None]) -> int:
        """Does with the leader's job as the leader does; returns the exit code.

        Args:
            work: gets the entries of the job, and these processes as `processes`.
        """
        assert self._store is not None
        code = 0
        try:
            self._store.set_timeout(UNLIMITED)
            if (job := json.loads(self._store.get("job"))) is not None:
                work(processes=self, **job)
        except BaseException as error:
            first = self._leave_word(error)
            if first["rank"] == self.place.rank and first["code"] == 1:
                traceback.print_exception(error)
            code = first["code"]
        self._farewell()
        return code

    def _farewell(self) -> None:
        """Torchrun and Slurm end all processes when one ends in error: the leader is to write the record before."""
        assert self._store is not None
        if self.place.world_size is not None:
            with contextlib.suppress(RuntimeError):
                self._store.set_timeout(timedelta(seconds=FAREWELL))
                self._store.get("over")
                self._store.add("left", 1)

    # --- failure and interruption ------------------------------------------------------------------------------------

    def _leave_word(self, error: BaseException) -> dict[str, Any]:
        """Says in the store how this process has ended; returns what was said first, by whomever."""
        if isinstance(error, RequestError):
            code, text = 2, str(error)
        elif isinstance(error, Interrupted | KeyboardInterrupt):
            code, text = 130, str(error) or "Interrupted."
        else:
            code, text = 1, f"{type(error).__name__}: {error}"
        word = {"rank": self.place.rank, "code": code, "text": text}
        assert self._store is not None
        try:
            return json.loads(self._store.compare_set("word", "", json.dumps(word)))
        except RuntimeError:  # the store has ended with its process
            return word if self.leads else {"rank": 0, "code": 1, "text": "it has ended"}

    @contextlib.contextmanager
    def _watching(self, on_loss: Callable[[BaseException], None]) -> Iterator[None]:
        ended = threading.Event()
        thread = threading.Thread(target=self._watch, args=(ended, on_loss), daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _watch(self, ended: threading.Event, on_loss: Callable[[BaseException], None]) -> None:
        """Ends this process when another has ended before its time and the main thread does not notice."""
        assert self._store is not None
        store = self._store.clone()  # a connection of its own: the other may be in use
        while not ended.wait(WATCH_EVERY):
            try:
                for rank, child in enumerate(self._children, start=1):
                    if child.poll():  # without a word: it was killed
                        word = {"rank": rank, "code": 1, "text": f"it ended with exit code {child.returncode}"}
                        store.compare_set("word", "", json.dumps(word))
                if not store.check(["word"]):
                    continue
                word = json.loads(store.get("word"))
            except RuntimeError:
                word = {"rank": 0, "code": 1, "text": "it has ended"}
            if not ended.wait(GRACE[word["code"]]):
                on_loss(_as_error(word))
                for child in self._children:
                    child.kill()
                os._exit(word["code"])


def _as_error(word: dict[str, Any]) -> BaseException:
    if word["code"] == 2:
        return RequestError(word["text"])
    if word["code"] == 130:
        return Interrupted(word["text"])
    return RuntimeError(f"process {word['rank']}: {word['text']}")


def _connect(place: Place) -> "PrefixStore":
    """The store of processes that were started from outside, or by the leader."""
    known = os.environ
    if "MASTER_ADDR" not in known or "MASTER_PORT" not in known:  # Slurm names neither
        from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

        slurm = SLURMEnvironment()
        known["MASTER_ADDR"], known["MASTER_PORT"] = slurm.main_address, str(slurm.main_port)
    agent_serves = known.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    return _store(known["MASTER_ADDR"], int(known["MASTER_PORT"]), serve=place.rank == 0 and not agent_serves)


def _store(host: str, port: int, serve: bool) -> "PrefixStore":
    from torch.distributed import PrefixStore, TCPStore  # pyright: ignore[reportPrivateImportUsage]

    # Several tenants: the process group, which is made later, shares the server.
    options = {"timeout": timedelta(minutes=5), "wait_for_workers": False, "multi_tenant": True}
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")  # torchrun keeps the store from one to the next
    return PrefixStore(f"cnnlab/{attempt}", TCPStore(host, port, is_master=serve, **options))


def _leave_nccl(together: bool) -> None:
    """Leaves a group of GPUs. Its processes do so together: who is the last waits for the others, which have ended."""
    import torch

    if torch.distributed.is_initialized() and torch.distributed.get_backend() == "nccl":
        if together:
            torch.distributed.destroy_process_group()
        else:
            torch.distributed.distributed_c10d._abort_process_group()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
