"""Images that are read shortly before they are needed: from memory by a thread, or from their files by processes that
decode them."""

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

AHEAD = 2  # batches that are read ahead, by each worker, and by a single thread
PIECE = 64  # images that each of several threads reads at a time: whole batches for many cores take much memory

Item = TypeVar("Item")
Result = TypeVar("Result")


def read_by_threads(
    images: Images | StoredImages, batches: Sequence[Tensor], pinned: bool = False, threads: int = 1
) -> Iterator[Tensor]:
    """Pixels of one batch after the other, uint8 (B, size, size, 3).

    Args:
        images: where they are.
        batches: positions of the images of each batch, int64 (B,).
        pinned: whether they come in memory from which a GPU copies while the program goes on.
        threads: how many read at the same time.
    """

    def read(positions: Tensor) -> Tensor:
        pixels = images.read(positions)
        return pixels.pin_memory() if pinned else pixels

    if threads == 1:
        yield from map_by_threads(read, batches, threads)
        return
    pieces = map_by_threads(images.read, (piece for batch in batches for piece in batch.split(PIECE)), threads)
    for batch in batches:
        pixels = torch.cat([next(pieces) for _ in batch.split(PIECE)])
        yield pixels.pin_memory() if pinned else pixels


def map_by_threads(function: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Iterator[Result]:
    """What a function gives for one item after the other, in their order, computed a little ahead by threads.

    Args:
        function: is called by several threads at the same time.
        items: are taken when there is room; there may be any number of them.
        threads: how many.
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
    """Reads batches in worker processes, which stay for the next epoch.

    Args:
        images: where they are.
        count: of the processes; 0 reads in this one.
        pinned: see `read_by_threads`.
        stay: whether the processes are kept from one epoch to the next.
    """

    def __init__(self, images: StoredImages, count: int, pinned: bool, stay: bool):
        self._batches = _Batches()
        self._loader = DataLoader(
            _Reader(images),
            batch_size=None,  # a batch is read as a whole
            sampler=self._batches,
            num_workers=count,
            prefetch_factor=AHEAD if count else None,
            persistent_workers=stay and count > 0,
            pin_memory=pinned,
            worker_init_fn=_leave_signals_to_the_main_process,
            generator=torch.Generator(),  # or every epoch would draw from the global one
        )
        # Collected together with this object, as parts of a cycle, the queues to the processes would end first, and the
        # loader could not tell them to: it waits 5 s and kills them. Held until then, it ends before its queues.
        weakref.finalize(self, _let_go, self._loader).atexit = False

    def read(self, batches: Sequence[Tensor]) -> Iterator[Tensor]:
        """Pixels of one batch after the other, uint8 (B, size, size, 3).

        Raises:
            RuntimeError: when an image cannot be decoded; names it.
        """
        self._batches.positions = batches
        for pixels in self._loader:
            if isinstance(pixels, str):
                raise RuntimeError(pixels)
            yield pixels


class _Batches:
    """What the DataLoader asks for the batches of an epoch."""

    positions: Sequence[Tensor] = ()

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.positions)

    def __len__(self) -> int:
        return len(self.positions)


class _Reader(Dataset[Tensor | str]):
    def __init__(self, images: StoredImages):
        self.images = images

    def __getitem__(self, positions: Tensor) -> Tensor | str:
        """Pixels of a batch, or what is wrong with it: an exception would arrive with a traceback of the worker's."""
        try:
            return self.images.read(positions)
        except RequestError as error:
            return str(error)


def _let_go(loader: DataLoader[Tensor | str]) -> None:
    """The last to hold the loader."""


def _leave_signals_to_the_main_process(worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal
