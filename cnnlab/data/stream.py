"""Read images shortly before they are needed, by threads: files are read and decoded without Python's lock."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

from cnnlab.data.images import Images

AHEAD = 2  # batches or pieces that each thread reads ahead
PIECE = 64  # images that each of several threads reads at a time: whole batches would take much memory

Item = TypeVar("Item")
Result = TypeVar("Result")


def read_by_threads(
    images: Images, batches: Sequence[Tensor], pinned: bool = False, threads: int = 1
) -> Iterator[Tensor]:
    """Yield the pixels of one batch after the other, uint8 (B, size, size, 3), from positions, int64 (B,) each.

    If they are `pinned`, a GPU copies them asynchronously.
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
