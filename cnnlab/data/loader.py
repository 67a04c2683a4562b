"""Make batches on the training device.

Images stay in device memory, and whole batches are augmented there, so loading is never the bottleneck. Images that do
not fit there are brought batch by batch, as bytes. The batches are the same.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from cnnlab.data.augment import Augmentation, move, move_draws
from cnnlab.data.epoch import Epoch, seeded_generator
from cnnlab.data.images import Images, Placement, UnreadableImage, refusal
from cnnlab.data.normalization import Normalization
from cnnlab.data.stream import read_by_threads
from cnnlab.errors import Failed

Sampling = Literal["shuffled", "balanced"]


@dataclass(eq=False)
class EpochOrder:
    """Order the images of an epoch: by a permutation drawn from (seed, epoch), or as they are in the data.

    An epoch has a place for each image of the data. With `labels`, int64 (N,), each class gets as many places as any
    other. Lightning calls `set_epoch` on a loader's `sampler` before every epoch.
    """

    images: int
    shuffle: bool
    seed: int
    labels: Tensor | None = None
    epoch: int = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, from 0."""
        self.epoch = epoch

    def positions(self) -> Tensor:
        """Return all places in the epoch's order, int64 (N,): positions of the images, unless classes are balanced."""
        if not self.shuffle:
            return torch.arange(self.images)
        return torch.randperm(self.images, generator=seeded_generator(self.seed, self.epoch, stream=0))

    def taken(self) -> Tensor | None:
        """Return the position of the image at each place, int64 (N,), or None if each image is at its own.

        A class that has fewer images than places repeats all of them in turn; of a larger one, some are drawn.
        """
        if self.labels is None:
            return None
        generator = seeded_generator(self.seed, self.epoch, stream=5)
        shuffled = torch.randperm(self.images, generator=generator)
        by_class = shuffled[self.labels[shuffled].argsort(stable=True)]
        sizes = self.labels.bincount()
        classes = by_class.split(sizes[sizes > 0].tolist())
        places = (self.images + torch.randperm(len(classes), generator=generator)) // len(classes)
        pairs = zip(classes, places.tolist(), strict=True)
        return torch.cat([images.repeat(-(-count // len(images)))[:count] for images, count in pairs])


def joins_last(images: int, batch_size: int, shuffle: bool) -> bool:
    """Return whether the last batch of an epoch is so small that it joins the one before.

    The rule uses the whole batch and not a process's share: the number of processes must not change the batches.
    """
    return shuffle and images > batch_size and 0 < images % batch_size < max(2, batch_size / 8)


def count_batches(images: int, batch_size: int, shuffle: bool) -> int:
    """Return the number of batches in an epoch."""
    return -(-images // batch_size) - joins_last(images, batch_size, shuffle)


class Loader:
    """Yield normalized batches on the device: images float32 (B, 3, H, W) and labels int64 (B,).

    If the augmentation mixes images, labels are probabilities of the classes, float32 (B, classes).

    Lightning takes any iterable with a length as a loader. It saves and restores `state_dict`, so a run that stopped
    within an epoch resumes with the next batch.

    Args:
        images: all images.
        batch_size: images a batch over all processes. The last batch of an epoch is smaller if images are left over.
            If it would have a single image, or less than an eighth of a batch, and images are shuffled, it joins the
            batch before: batch norm over maps of one pixel needs at least two images on every device, which a joined
            batch has if each device's share of a whole batch is 16 or more.
        mean: mean of each channel, of pixels in [0, 1].
        std: standard deviation of each channel, of pixels in [0, 1].
        augmentation: augmentation of the images, or None.
        shuffle: whether every epoch has another order.
        balanced: whether each class comes equally often in an epoch. Images that come several times are augmented
            differently each time.
        seed: seed of the order and of the augmentation.
        device: device on which batches are made.
        rank: number of this process; each process takes its share of every batch.
        world_size: number of processes.
        classes: number of classes; needed only if the augmentation mixes images.
        placement: `device` moves all images there at once, `host` and `stream` bring them batch by batch, read by one
            thread or by `workers` threads.
        workers: number of these threads; 0 counts as 1.

    Raises:
        Failed: while batches are made, if an image cannot be read; names all such images.
    """

    batch_sampler = None  # Lightning looks for it if there is a sampler

    def __init__(
        self,
        images: Images,
        batch_size: int,
        mean: Tensor,
        std: Tensor,
        augmentation: Augmentation | None = None,
        shuffle: bool = False,
        balanced: bool = False,
        seed: int = 0,
        device: torch.device | str = "cpu",
        rank: int = 0,
        world_size: int = 1,
        classes: int = 0,
        placement: Placement = "device",
        workers: int = 0,
    ):
        if batch_size < world_size:
            raise ValueError(f"batch_size must be at least the number of devices, {world_size}, got {batch_size}")
        self.batch_size = batch_size
        self.augmentation = augmentation or Augmentation()
        self.seed = seed
        self.device = torch.device(device)
        self.rank, self.world_size = rank, world_size
        self.classes = classes
        self.sampler = EpochOrder(len(images), shuffle, seed, images.labels if balanced else None)
        self.labels = images.labels.to(self.device)
        self.pinned = self.device.type == "cuda"
        self.size = images.size
        self.images: Tensor | Images = images
        self.threads = max(1, workers) if placement == "stream" else 1
        if placement == "device":
            self.images = self.augmentation.prepare(images.pixels.to(self.device))
        self.normalize = Normalization(mean, std, self.size, self.device)
        self.batches_done = 0
        # How much of the training is done after so many batches of an epoch; whoever knows its length says so.
        self.share_done: Callable[[int, int], float] = lambda epoch, batches: 0.0
        self._resume_from: dict[str, int] | None = None

    def __len__(self) -> int:
        return count_batches(self.sampler.images, self.batch_size, self.sampler.shuffle)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of the sampler's epoch, which is looked up when the first batch is asked for."""
        epoch = Epoch(self.sampler.images, self.size, self.seed, self.sampler.epoch)
        self.batches_done = 0
        if self._resume_from is not None and self._resume_from["epoch"] == epoch.number:
            self.batches_done = self._resume_from["batches_done"]
        self._resume_from = None
        draws = self.augmentation.draw(epoch)
        shares = self.shares(self.sampler.positions())[self.batches_done :]
        needed = [self.augmentation.needed(share, draws) for share in shares]
        draws = move_draws(draws, self.device)
        places, taken = self._on_device(needed), self.sampler.taken()
        images = needed if taken is None else [taken[share] for share in needed]
        positions = places if taken is None else self._on_device(images)
        for place, image, (prepared, rows) in zip(places, positions, self._prepared(images, positions), strict=True):
            number = self.batches_done * self.world_size + self.rank
            share = self.share_done(epoch.number, self.batches_done)
            self.batches_done += 1
            yield self.augmentation.apply(
                prepared, rows, self.labels[image], place, draws, self.normalize, self.classes, number, share
            )

    def state_dict(self) -> dict[str, Any]:
        """Return the place in the epoch."""
        return {"epoch": self.sampler.epoch, "batches_done": self.batches_done}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Make the next pass over that epoch start after the batches that were done."""
        self._resume_from = {"epoch": state["epoch"], "batches_done": state["batches_done"]}

    @property
    def batch_images(self) -> int:
        """Number of images in the last batch, over all processes."""
        before = (self.batches_done - 1) * self.batch_size
        return self.sampler.images - before if self.batches_done == len(self) else self.batch_size

    def shares(self, positions: Tensor | None = None) -> Sequence[Tensor]:
        """Return this process's share of each batch: positions of the images, int64 (B,) for each batch.

        `positions` are those of all images in the epoch's order; None stands for their order in the data.
        """
        if positions is None:
            positions = torch.arange(self.sampler.images)
        batches: Sequence[Tensor] = positions.split(self.batch_size)
        if joins_last(len(positions), self.batch_size, self.sampler.shuffle):
            batches = [*batches[:-2], torch.cat(batches[-2:])]
        if self.world_size > 1:
            batches = [batch.tensor_split(self.world_size)[self.rank] for batch in batches]
        return batches

    def _on_device(self, batches: list[Tensor]) -> Sequence[Tensor]:
        """Return the positions of all batches on the device, by one transfer."""
        return move(torch.cat(batches), self.device).split([len(batch) for batch in batches]) if batches else []

    def _prepared(
        self, needed: Sequence[Tensor], on_device: Sequence[Tensor]
    ) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Yield prepared pixels for each batch, and which rows of them it needs, or None for all rows."""
        if isinstance(self.images, Tensor):
            yield from ((self.images, positions) for positions in on_device)
            return
        try:
            for pixels in read_by_threads(self.images, needed, self.pinned, self.threads):
                yield self.augmentation.prepare(pixels.to(self.device, non_blocking=True)), None
        except UnreadableImage:
            raise Failed(str(refusal(self.images))) from None
