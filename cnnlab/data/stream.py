"""Read images shortly before they are needed: from memory by a thread, or from files by processes that decode them."""

import signal
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from cnnlab.data.images import Images, StoredImages
from cnnlab.errors import RequestError

AHEAD = 2  # batches that each worker, or a single thread, reads ahead
PIECE = 64  # images that each of several threads reads at a time: whole batches would take much memory

Item = TypeVar("Item")
Result = TypeVar("Result")


def read_by_threads(
    images: Images | StoredImages, batches: Sequence[Tensor], pinned: bool = False, threads: int = 1
) -> Iterator[Tensor]:
    """Yield the pixels of one batch after the other, uint8 (B, size, size, 3).

    Args:
        batches: positions of the images of each batch, int64 (B,).
        pinned: whether a single thread returns pinned memory, from which a GPU copies asynchronously.
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
    with ThreadPoolExecutor(threads, "images") as pool:
        try:
            for item in items:
                under_way.append(pool.submit(function, item))
                if len(under_way) > AHEAD * threads:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


class Workers:
    """Read batches in worker processes.

    Args:
        count: number of processes; 0 reads in this one.
        pinned: see `read_by_threads`.
        stay: whether the processes are kept from one epoch to the next.
    """

    def __init__(self, images: StoredImages, count: int, pinned: bool, stay: bool):
        self._batches: list[Tensor] = []
        self._loader = DataLoader(
            _Reader(images),
            batch_size=None,  # a batch is read as a whole
            sampler=self._batches,
            num_workers=count,
            prefetch_factor=AHEAD if count else None,
            persistent_workers=stay and count > 0,
            pin_memory=pinned,
            worker_init_fn=_leave_signals_to_the_main_process,
            generator=torch.Generator(),  # otherwise every epoch would draw from the global one
        )
        # If garbage collection takes the loader and its queues in one cycle, the queues may go first. Then the loader
        # cannot tell its workers to end: it waits for 5 s and kills them. So this object holds the loader until its own
        # end, and the loader ends before its queues.
        weakref.finalize(self, _let_go, self._loader).atexit = False

    def read(self, batches: Sequence[Tensor]) -> Iterator[Tensor]:
        """Yield the pixels of one batch after the other, uint8 (B, size, size, 3).

        Raises:
            RuntimeError: if an image cannot be decoded; names the image.
        """
        self._batches[:] = batches
        for pixels in self._loader:
            if isinstance(pixels, str):
                raise RuntimeError(pixels)
            yield pixels


class _Reader(Dataset[Tensor | str]):
    def __init__(self, images: StoredImages):
        self.images = images

    def __getitem__(self, positions: Tensor) -> Tensor | str:
        """Return the pixels of a batch, or an error message: an exception would bring the worker's traceback along."""
        try:
            return self.images.read(positions)
        except RequestError as error:
            return str(error)


def _let_go(loader: DataLoader[Tensor | str]) -> None:
    """Hold the loader until this is called."""


def _leave_signals_to_the_main_process(worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal
