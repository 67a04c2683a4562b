"""Batches: the images live on the training device, and a batch is an index into them."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from cnnlab.data.augment import Augmentation, Draws, blank_, crop, cutout_, flip, mix, mix_labels, seeded_generator
from cnnlab.data.images import Images


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


class Loader:
    """Yields normalized batches (images float32 (B, 3, H, W), labels int64 (B,)) that are already on the device.

    Where the augmentation mixes images, labels are probabilities of the classes, float32 (B, classes).

    Any iterable with a length serves Lightning as a loader; it saves and restores `state_dict`, so that a run that was
    stopped within an epoch goes on with the batch that comes next.

    Args:
        images: all of them; they are moved to the device.
        batch_size: images a batch over all processes; the last batch of an epoch holds what is left.
        mean: per channel, of pixels in [0, 1].
        std: per channel, of pixels in [0, 1].
        augmentation: what is done to the images, or None.
        shuffle: whether every epoch has another order.
        seed: of the order and of the augmentation.
        device: where the images are kept and the batches are made.
        rank: number of this process; each takes its share of every batch.
        world_size: number of processes.
        classes: number of them, where the augmentation mixes images.
    """

    batch_sampler = None  # Lightning looks for it where there is a sampler

    def __init__(
        self,
        images: Images,
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
        self.size = images.pixels.shape[1]
        self.pixels = self.augmentation.padded(images.pixels).to(self.device)
        self.labels = images.labels.to(self.device)
        # One factor and one offset for each value of a row of pixels: a row is contiguous, so this is one fast pass.
        scale = 1 / (255 * std)
        self.scale = scale.repeat(self.size).to(self.device, torch.float32)
        self.offset = (-mean / std).repeat(self.size).to(self.device, torch.float32)
        self.batches_done = 0
        self._resume_from: dict[str, int] | None = None

    def __len__(self) -> int:
        return -(-self.sampler.images // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of the sampler's epoch. The epoch is looked up when the first batch is asked for."""
        epoch = self.sampler.epoch
        self.batches_done = 0
        if self._resume_from is not None and self._resume_from["epoch"] == epoch:
            self.batches_done = self._resume_from["batches_done"]
        self._resume_from = None
        positions = self.sampler.positions().to(self.device)
        draws = self.augmentation.draw(self.sampler.images, self.size, self.seed, epoch).to(self.device)
        while self.batches_done < len(self):
            start = self.batches_done * self.batch_size
            indices = self._share(positions[start : start + self.batch_size])
            self.batches_done += 1
            batch, labels = self._views(indices, draws), self.labels[indices]
            if draws.mixing is not None:
                mixing = draws.mixing[indices]
                batch = mix(batch, self._views(mixing.partner, draws), mixing)
                labels = mix_labels(labels, self.labels[mixing.partner], mixing, self.size, self.classes)
            if draws.cutout is not None:
                batch = cutout_(batch, draws.cutout[indices], self.augmentation.cutout)
            if draws.erased is not None:
                batch = blank_(batch, draws.erased[indices])
            yield batch, labels

    def state_dict(self) -> dict[str, Any]:
        """The place in the epoch."""
        return {"epoch": self.sampler.epoch, "batches_done": self.batches_done}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Makes the next pass over that epoch start after the batches that were done."""
        self._resume_from = {"epoch": state["epoch"], "batches_done": state["batches_done"]}

    def _share(self, batch: Tensor) -> Tensor:
        if self.world_size == 1:
            return batch
        return batch.tensor_split(self.world_size)[self.rank]

    def _views(self, indices: Tensor, draws: Draws) -> Tensor:
        """Images as the epoch's crops and flips have them, normalized: float32 (B, 3, H, W)."""
        if draws.crop is None:
            batch = self.pixels[indices]
        else:
            batch = crop(self.pixels, indices, draws.crop[indices], self.size)
        if draws.flip is not None:
            batch = flip(batch, draws.flip[indices])
        return self._normalized(batch)

    def _normalized(self, batch: Tensor) -> Tensor:
        """uint8 (B, H, W, 3) to float32 (B, 3, H, W), in channels_last layout."""
        b, h, w, c = batch.shape
        rows = batch.reshape(b, h, w * c).float().mul_(self.scale).add_(self.offset)
        return rows.view(b, h, w, c).permute(0, 3, 1, 2)
