"""Ties the data path together for Lightning: which images train, which select, which test."""

import logging
from collections.abc import Iterable, Iterator
from typing import Any

import lightning as L
import torch
from torch import Tensor

from cnnlab.cpu import available_cores
from cnnlab.data.augment import Augmentation
from cnnlab.data.images import (
    ImageData,
    Images,
    StoredImages,
    load_images,
    mapped_images,
    streamed_images,
)
from cnnlab.data.loader import Loader
from cnnlab.data.residence import Residence, choose_residence
from cnnlab.data.sources import find_source
from cnnlab.data.splits import Protocol, check_holdout, has_numbers_for_names, split_by_protocol
from cnnlab.data.stream import read_by_threads
from cnnlab.errors import RequestError

log = logging.getLogger(__name__)

STATISTICS = 5000  # training images that the normalization of streamed data is taken from


class ImageDataModule(L.LightningDataModule):
    """The images of a run: `train` (augmented), `val` (selects the best epoch) and `test`.

    Args:
        source: `digits`, `synthetic`, a data set of the Hugging Face Hub, or None with a path.
        path: a folder or file with images; wins over `source`.
        classes: names that the data must have, in order, or None for whatever they are.
        image_size: height and width in pixels.
        batch_size: images a training step, over all devices.
        eval_batch_size: images a step of validation and test.
        holdout: share of the training images held out under the protocol `holdout`, in (0, 1).
        mean: per channel, of pixels in [0, 1]; None takes the training images' own.
        std: per channel, of pixels in [0, 1]; None takes the training images' own.
        cache: folder for decoded images.
        residence: where the images are during training. `device`: decoded, on the training device. `host`: decoded, in
            the host's memory, mapped from the cache's files. `stream`: in their own files, decoded by worker processes
            each time; no cache is written. `auto`: the first of them for which there is room (see
            `cnnlab.data.residence.choose_residence`). The batches are the same; only where `std` or `mean` is None and
            there are more than 5,000 training images, `stream` normalizes by 5,000 of them, spread evenly.
        workers: processes that decode for `stream`; None takes all cores but one, at least 1 and at most 8.
        protocol: `holdout` selects on images held out from training by a fixed split, the same for every seed;
            `article` trains on all training images and selects on the test images.
        augmentation: of the training images, or None.
        seed: of the order of the images and of the augmentation.
        device: of the training; `auto` asks how much memory is free there.
        processes: how many train on this machine; they share its cores and its memory.

    Raises:
        ValueError: where a value is out of its range.
        RequestError: where the images cannot be found or read.
    """

    def __init__(
        self,
        source: str | None = None,
        path: str | None = None,
        classes: list[str] | None = None,
        image_size: int = 32,
        batch_size: int = 512,
        eval_batch_size: int = 1000,
        holdout: float = 0.1,
        mean: list[float] | None = None,
        std: list[float] | None = None,
        cache: str | None = None,
        residence: Residence = "auto",
        workers: int | None = None,
        protocol: Protocol = "holdout",
        augmentation: Augmentation | None = None,
        seed: int = 0,
        device: str = "cpu",
        processes: int = 1,
    ):
        super().__init__()
        for name, value in (
            ("image_size", image_size),
            ("batch_size", batch_size),
            ("eval_batch_size", eval_batch_size),
        ):
            if value < 1:
                raise ValueError(f"{name} must be 1 or more, got {value}")
        check_holdout(holdout)
        for name, constants in (("mean", mean), ("std", std)):
            if constants is not None and len(constants) != 3:
                raise ValueError(f"{name} must have one value for each of red, green and blue, got {constants}")
        if std is not None and min(std) <= 0:
            raise ValueError(f"std must be above 0, got {std}")
        if augmentation is not None and augmentation.pad >= image_size:
            raise RequestError(f"augmentation.pad must be less than image_size, {image_size}, got {augmentation.pad}")
        self.protocol = protocol
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.image_size = image_size
        self.augmentation = augmentation
        self.seed = seed
        if workers is not None and workers < 0:
            raise ValueError(f"workers must be 0 or more, got {workers}")
        found = find_source(source, path)
        if residence == "auto":
            pad = augmentation.pad if augmentation else 0
            residence = choose_residence(found, image_size, pad, cache, torch.device(device), processes)
        self.residence: Residence = residence
        self.workers = min(8, max(1, available_cores() // processes - 1)) if workers is None else workers
        if residence == "stream":
            self.data: ImageData = streamed_images(found, image_size)
        else:
            self.data = (load_images if residence == "device" else mapped_images)(found, image_size, cache)
        if classes is not None and tuple(classes) != self.data.classes:
            self.data = self._named(tuple(classes), path or source)
        self.train, self.val = split_by_protocol(self.data, protocol, holdout)
        self.test = self.data.test
        if mean is None or std is None:
            own_mean, own_std = channel_statistics(self._parts_for_statistics())
            mean, std = mean or own_mean.tolist(), std or own_std.tolist()
        self.normalize_by(mean, std)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names by class number."""
        return self.data.classes

    @property
    def fingerprint(self) -> str:
        """Of all pixels and labels of the data set; of streamed data, of the files' names and sizes (`files-...`)."""
        return self.data.fingerprint

    def normalize_by(self, mean: list[float], std: list[float]) -> None:
        """Takes these constants, per channel, of pixels in [0, 1]."""
        self.mean, self.std = torch.tensor(mean), torch.tensor(std)

    def decided(self, settings: dict[str, Any]) -> dict[str, Any]:
        """The settings, with what was found out about the data filled in, so that every process takes the same."""
        return settings | {"mean": self.mean.tolist(), "std": self.std.tolist(), "residence": self.residence}

    def sample(self, images: int = 5000) -> Tensor:
        """Training images spread evenly over all of them, normalized and not augmented: float32 (N, 3, H, W)."""
        few = self.train.take(self._spread(images))
        return next(iter(Loader(Images(few.pixels, few.labels), len(few), self.mean, self.std)))[0]

    def train_dataloader(self) -> Loader:
        """Shuffled, augmented batches of the training images."""
        return self._loader(self.train, self.batch_size, self.augmentation, shuffle=True)

    def val_dataloader(self) -> Loader:
        """Batches of the images that select the best epoch."""
        return self._loader(self.val, self.eval_batch_size)

    def test_dataloader(self) -> Loader:
        """Batches of the test images, in the data's own order."""
        return self._loader(self.test, self.eval_batch_size)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Nothing to do: the loader makes batches where they are used."""
        return batch

    def _spread(self, images: int) -> Tensor:
        """Positions of training images, at most so many, spread evenly over all of them."""
        return torch.linspace(0, len(self.train) - 1, min(images, len(self.train)), dtype=torch.float64).long()

    def _parts_for_statistics(self) -> Iterator[Tensor]:
        """Pixels of the training images, or of a fixed sample where reading means to decode."""
        if self.residence != "stream":
            yield from (self.train.read(positions) for positions in torch.arange(len(self.train)).split(100))
            return
        positions = self._spread(STATISTICS)
        if len(positions) < len(self.train):
            log.info("Mean and deviation of the channels are those of %s training images.", f"{len(positions):,}")
        yield from read_by_threads(self.train, positions.split(100), threads=available_cores())

    def _loader(
        self,
        images: Images | StoredImages,
        batch_size: int,
        augmentation: Augmentation | None = None,
        shuffle: bool = False,
    ) -> Loader:
        trainer = self.trainer
        return Loader(
            images,
            batch_size,
            self.mean,
            self.std,
            augmentation=augmentation,
            shuffle=shuffle,
            seed=self.seed,
            device=trainer.strategy.root_device if trainer else "cpu",
            rank=trainer.global_rank if trainer else 0,
            world_size=trainer.world_size if trainer else 1,
            classes=len(self.classes),
            workers=self.workers if self.residence == "stream" else None,
        )

    def _named(self, expected: tuple[str, ...], where: str | None) -> ImageData:
        """The data under the expected names where it has only numbers; otherwise it is not what was asked for."""
        data = self.data
        if has_numbers_for_names(data, len(expected)):
            return ImageData(data.train, data.test, expected, data.fingerprint)
        raise RequestError(
            f"data: {where} holds other classes ({', '.join(data.classes[:4])}, ...) than {', '.join(expected[:4])}, "
            "...; data=folder takes any"
        )


def channel_statistics(parts: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel of uint8 images, on the scale [0, 1].

    Exact: they come from the counts of the 256 values. A channel that never varies gets the deviation 1.

    Args:
        parts: the images, (N, H, W, 3) each; together at least one.
    """
    counts = torch.zeros(3, 256, dtype=torch.int64)
    for part in parts:
        for channel in range(3):
            counts[channel] += torch.bincount(part[..., channel].flatten(), minlength=256)
    values = torch.arange(256, dtype=torch.float64) / 255
    means, stds = [], []
    for share in counts.double():
        share /= share.sum()
        mean = (share * values).sum()
        std = (share * (values - mean) ** 2).sum().sqrt()
        means.append(mean)
        stds.append(std if std > 0 else torch.tensor(1.0, dtype=torch.float64))
    return torch.stack(means).float(), torch.stack(stds).float()
