"""Read images shortly before they are needed: from memory by a thread, or from files by processes that decode them."""

import contextlib
import functools
import multiprocessing
import pickle
import signal
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from io import BufferedRWPair
from multiprocessing.process import BaseProcess
from multiprocessing.util import Finalize
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from cnnlab.data.images import Images, UnreadableImage, refusal
from cnnlab.errors import Failed

AHEAD = 2  # batches that each worker, or a single thread, reads ahead
PIECE = 64  # images that each of several threads reads at a time: whole batches would take much memory

Item = TypeVar("Item")
Result = TypeVar("Result")
Worker = tuple[BaseProcess, BufferedRWPair]  # and the socket to it


def read_by_threads(
    images: Images, batches: Sequence[Tensor], pinned: bool = False, threads: int = 1
) -> Iterator[Tensor]:
    """Yield the pixels of one batch after the other, uint8 (B, size, size, 3), from positions, int64 (B,) each.

    A single thread may return pinned memory, from which a GPU copies asynchronously.
    """

    def read(positions: Tensor) -> Tensor:
        pixels = images.read(positions)
        return pixels.pin_memory() if pinned else pixels

    if threads == 1:
        yield from map_by_threads(read, batches, threads)
        return
    pieces = map_by_threads(images.read, (piece for batch in batches for piece in batch.split(PIECE)), threads)
    for batch in batches:
        yield torch.cat([next(pieces) for _ in batch.split(PIECE)])


def map_by_threads(function: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Iterator[Result]:
    """Yield the results of a function for all items, in their order, computed a little ahead by threads.

    Items are taken one by one; several threads call the function at the same time.
    """
    under_way: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(threads, "images")
    try:
        for item in items:
            under_way.append(pool.submit(function, item))
            if len(under_way) > AHEAD * threads:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # without waiting: a thread may hang in a file


class Workers:
    """Read batches in worker processes.

    Pixels come through sockets. torch's own workers put them into shared memory, of which a container has 64 MB; if it
    is full, they hang.

    Args:
        count: number of processes; 0 reads in this one.
        pinned: see `read_by_threads`.
        stay: whether the processes are kept from one epoch to the next.
    """

    def __init__(self, images: Images, count: int, pinned: bool, stay: bool):
        self._images, self._count, self._pinned, self._stay = images, count, pinned, stay
        self._started: set[Worker] = set()
        self._idle: list[Worker] = []  # between two epochs
        # Called when this object goes, or before multiprocessing waits for all processes when this one ends.
        Finalize(self, _end, [self._started], exitpriority=10)

    def read(self, batches: Sequence[Tensor]) -> Iterator[Tensor]:
        """Yield the pixels of one batch after the other, uint8 (B, size, size, 3).

        Raises:
            Failed: if images cannot be read, which are all named, or if a worker has ended.
        """
        read = functools.partial(_read, self._images)
        for pixels in self._receive(batches) if self._count else map(read, batches):
            if isinstance(pixels, str):
                raise Failed(str(refusal(self._images)))
            tensor = torch.from_numpy(pixels)
            yield tensor.pin_memory() if self._pinned else tensor

    def _receive(self, batches: Sequence[Tensor]) -> Iterator[np.ndarray | str]:
        workers = [self._idle.pop() if self._idle else self._start() for _ in range(self._count)]
        number = 0
        try:
            for first, (_, stream) in enumerate(workers):
                pickle.dump([positions.numpy() for positions in batches[first :: self._count]], stream)
                stream.flush()
            for number in range(len(batches)):
                yield _receive_batch(workers[number % self._count][1])
            if self._stay:
                self._idle += workers
        except (EOFError, ConnectionError, pickle.UnpicklingError):
            process = workers[number % self._count][0]
            process.join(1)
            raise Failed(
                f"data.workers: a process that reads images has ended (exit code {process.exitcode}), killed perhaps "
                "because memory ran out; fewer data.workers need less"
            ) from None
        finally:
            if workers[0] not in self._idle:  # also if the caller wants no more of these batches
                _end(workers)
                self._started.difference_update(workers)

    def _start(self) -> Worker:
        ours, theirs = socket.socketpair()
        process = multiprocessing.Process(target=_serve, args=(ours, theirs, self._images))
        process.start()
        theirs.close()
        worker = process, ours.makefile("rwb")
        ours.close()  # the file keeps it open
        self._started.add(worker)
        return worker


def _receive_batch(stream: BufferedRWPair) -> np.ndarray | str:
    """Return the pixels of a batch, or the message of an error. Raises EOFError if the worker has ended."""
    shape = pickle.load(stream)
    if isinstance(shape, str):
        return shape
    pixels = np.empty(shape, np.uint8)
    if stream.readinto(pixels.data.cast("B")) < pixels.nbytes:
        raise EOFError
    return pixels


def _serve(others: socket.socket, own: socket.socket, images: Images) -> None:
    """Read batches in a worker, a little ahead, until the main process ends."""
    others.close()  # the copy of the main process's end: with it, its end would go unnoticed
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # they may reach all processes of a terminal or job
        signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(1)
    stream = own.makefile("rwb")
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            for pixels in map_by_threads(functools.partial(_read, images), pickle.load(stream), threads=1):
                pickle.dump(pixels if isinstance(pixels, str) else pixels.shape, stream)
                if not isinstance(pixels, str):
                    stream.write(pixels.data.cast("B"))
                stream.flush()


def _read(images: Images, positions: Tensor | np.ndarray) -> np.ndarray | str:
    """Return the pixels of a batch, or the message of an error: an exception would bring its traceback along."""
    try:
        return images.read(torch.as_tensor(positions)).contiguous().numpy()
    except UnreadableImage as error:
        return str(error)


def _end(workers: Iterable[Worker]) -> None:
    """End workers at once, even if they hang. They only read."""
    for process, stream in workers:
        process.kill()
        with contextlib.suppress(ConnectionError):
            stream.close()
