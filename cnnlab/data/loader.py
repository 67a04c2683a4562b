"""Batches, made on the training device. Where the images live there, a batch is an index into them; where they do not,
their pixels are brought there as bytes. The batches are the same."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from cnnlab.data.augment import (
    Augmentation,
    Draws,
    blank_,
    crop,
    cutout_,
    flip,
    mix,
    mix_labels,
    resize,
    seeded_generator,
)
from cnnlab.data.images import Images, StoredImages
from cnnlab.data.normalization import Normalization
from cnnlab.data.stream import Workers, read_by_threads


class EpochOrder:
    """The order of the images in an epoch: a permutation drawn from (seed, epoch), or the data's own order.

    Lightning calls `set_epoch` on a loader's `sampler` before every epoch.
    """

    def __init__(self, images: int, shuffle: bool, seed: int):
        self.images = images
        self.shuffle = shuffle
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch, from 0."""
        self.epoch = epoch

    def positions(self) -> Tensor:
        """Positions of all images in the epoch's order, int64 (N,)."""
        if not self.shuffle:
            return torch.arange(self.images)
        return torch.randperm(self.images, generator=seeded_generator(self.seed, self.epoch, stream=0))


class Resident:
    """Images that live on the device.

    Args:
        images: all of them.
        augmentation: whose padding they are given.
        device: where they are kept.
    """

    def __init__(self, images: Images, augmentation: Augmentation, device: torch.device):
        self.size = images.pixels.shape[1]
        self.pixels = augmentation.padded(images.pixels.to(device))

    def batches(
        self, positions: Sequence[Tensor], indices: Sequence[Tensor], corners: Tensor | None
    ) -> Iterator[Tensor]:
        """Crops of one batch after the other, uint8 (B, size, size, 3).

        Args:
            positions: which images, int64 (B,) for each batch, on the CPU.
            indices: the same on the device.
            corners: of the crops in the padded images, int64 (N, 2), on the device, or None.
        """
        for chosen in indices:
            yield self.pixels[chosen] if corners is None else crop(self.pixels, chosen, corners[chosen], self.size)


class Fetched:
    """Images that are brought to the device batch by batch: from memory by a thread, from files by worker processes.

    Args:
        images: all of them.
        augmentation: whose padding they are given.
        device: where they are brought.
        workers: how many processes, or None for a thread.
        stay: whether the processes are kept from one epoch to the next.
    """

    def __init__(
        self, images: StoredImages, augmentation: Augmentation, device: torch.device, workers: int | None, stay: bool
    ):
        self.images, self.augmentation, self.device = images, augmentation, device
        self.size = images.size
        self.pinned = device.type == "cuda"
        self.workers = None if workers is None else Workers(images, workers, self.pinned, stay)

    def batches(
        self, positions: Sequence[Tensor], indices: Sequence[Tensor], corners: Tensor | None
    ) -> Iterator[Tensor]:
        """See Resident."""
        if self.workers is not None:
            read = self.workers.read(positions)
        else:
            read = read_by_threads(self.images, positions, self.pinned)
        for chosen, pixels in zip(indices, read, strict=True):
            batch = pixels.to(self.device, non_blocking=True)
            if corners is not None:
                every = torch.arange(len(batch), device=self.device)
                batch = crop(self.augmentation.padded(batch), every, corners[chosen], self.size)
            yield batch


class Loader:
    """Yields normalized batches (images float32 (B, 3, H, W), labels int64 (B,)) that are already on the device.

    Where the augmentation mixes images, labels are probabilities of the classes, float32 (B, classes).

    Any iterable with a length serves Lightning as a loader; it saves and restores `state_dict`, so that a run that was
    stopped within an epoch goes on with the batch that comes next.

    Args:
        images: all of them; `Images` are moved to the device, `StoredImages` are brought there batch by batch.
        batch_size: images a batch over all processes; the last batch of an epoch holds what is left. One image, or
            less than an eighth of a batch, joins the batch before when images are shuffled: batch norm over maps of one
            pixel takes two at least, which every device then has if its share of a whole batch is 16 or more.
        mean: per channel, of pixels in [0, 1].
        std: per channel, of pixels in [0, 1].
        augmentation: what is done to the images, or None.
        shuffle: whether every epoch has another order.
        seed: of the order and of the augmentation.
        device: where the batches are made.
        rank: number of this process; each takes its share of every batch.
        world_size: number of processes.
        classes: number of them, where the augmentation mixes images.
        workers: processes that read `StoredImages`, or None for a thread, which is enough for decoded ones.
    """

    batch_sampler = None  # Lightning looks for it where there is a sampler

    def __init__(
        self,
        images: Images | StoredImages,
        batch_size: int,
        mean: Tensor,
        std: Tensor,
        augmentation: Augmentation | None = None,
        shuffle: bool = False,
        seed: int = 0,
        device: torch.device | str = "cpu",
        rank: int = 0,
        world_size: int = 1,
        classes: int = 0,
        workers: int | None = None,
    ):
        if batch_size < world_size:
            raise ValueError(f"batch_size must be at least the number of devices, {world_size}, got {batch_size}")
        self.batch_size = batch_size
        self.augmentation = augmentation or Augmentation()
        self.seed = seed
        self.device = torch.device(device)
        self.rank, self.world_size = rank, world_size
        self.classes = classes
        self.sampler = EpochOrder(len(images), shuffle, seed)
        left = len(images) % batch_size
        # By the batch and not by the number of processes, for these do not change what is trained.
        self.joins_last = shuffle and len(images) > batch_size and 0 < left < max(2, batch_size / 8)
        if isinstance(images, Images):
            self.pixels = Resident(images, self.augmentation, self.device)
        else:
            self.pixels = Fetched(images, self.augmentation, self.device, workers, stay=shuffle)
        self.size = self.pixels.size
        self.labels = images.labels.to(self.device)
        self.normalized = Normalization(mean, std, self.size, self.device)
        self.batches_done = 0
        self._resume_from: dict[str, int] | None = None

    def __len__(self) -> int:
        return -(-self.sampler.images // self.batch_size) - self.joins_last

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of the sampler's epoch. The epoch is looked up when the first batch is asked for."""
        epoch = self.sampler.epoch
        self.batches_done = 0
        if self._resume_from is not None and self._resume_from["epoch"] == epoch:
            self.batches_done = self._resume_from["batches_done"]
        self._resume_from = None
        augmentation = self.augmentation
        side = augmentation.size_at(epoch, self.size)
        draws = augmentation.draw(self.sampler.images, self.size, self.seed, epoch)
        positions = self.sampler.positions()
        wanted_on_cpu = self._wanted(positions, draws)
        draws = draws.to(self.device)
        wanted = self._wanted(positions.to(self.device), draws)
        for indices, pixels in zip(wanted, self.pixels.batches(wanted_on_cpu, wanted, draws.crop), strict=True):
            self.batches_done += 1
            if draws.flip is not None:
                pixels = flip(pixels, draws.flip[indices])
            batch = self.normalized(pixels)
            if draws.mixing is not None:
                indices, partners = indices.tensor_split(2)
                mixing = draws.mixing[indices]
                batch = mix(*batch.tensor_split(2), mixing)
                labels = mix_labels(self.labels[indices], self.labels[partners], mixing, self.size, self.classes)
            else:
                labels = self.labels[indices]
            if draws.cutout is not None:
                batch = cutout_(batch, draws.cutout[indices], augmentation.cutout)
            if draws.erased is not None:
                batch = blank_(batch, draws.erased[indices])
            if side != self.size:
                batch = resize(batch, side)
            yield batch, labels

    def state_dict(self) -> dict[str, Any]:
        """The place in the epoch."""
        return {"epoch": self.sampler.epoch, "batches_done": self.batches_done}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Makes the next pass over that epoch start after the batches that were done."""
        self._resume_from = {"epoch": state["epoch"], "batches_done": state["batches_done"]}

    @property
    def batch_images(self) -> int:
        """Images of the batch that was last given out, over all processes."""
        before = (self.batches_done - 1) * self.batch_size
        return self.sampler.images - before if self.batches_done == len(self) else self.batch_size

    def shares(self, positions: Tensor | None = None) -> Sequence[Tensor]:
        """What of each batch of an epoch is this process's: positions of the images, int64 (B,) for each batch.

        Args:
            positions: of all images in the epoch's order; None for the data's own.
        """
        if positions is None:
            positions = torch.arange(self.sampler.images)
        batches: Sequence[Tensor] = positions.split(self.batch_size)
        if self.joins_last:
            batches = [*batches[:-2], torch.cat(batches[-2:])]
        if self.world_size > 1:
            batches = [batch.tensor_split(self.world_size)[self.rank] for batch in batches]
        return batches

    def _wanted(self, positions: Tensor, draws: Draws) -> Sequence[Tensor]:
        """What this process needs of every batch that is still to come: its share, and what that is mixed with.

        Args:
            positions: of the epoch's images in their order.
            draws: of the epoch, on the same device.
        """
        shares = self.shares(positions)[self.batches_done :]
        if draws.mixing is not None:
            shares = [torch.cat([share, draws.mixing.partner[share]]) for share in shares]
        return shares
