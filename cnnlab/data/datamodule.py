"""Serve the images of a run to Lightning: for training, for selecting the best epoch, and for the test."""

import logging
from dataclasses import replace
from typing import Annotated, Any

import lightning as L
import torch
from torch import Tensor

from cnnlab.cpu import available_cores
from cnnlab.data.augment import Augmentation
from cnnlab.data.findings import Findings, listed
from cnnlab.data.images import ImageData, Images, OnError, Placement, UnreadableImage, read_for, refusal
from cnnlab.data.loader import Loader, Sampling, count_batches
from cnnlab.data.normalization import Normalization, channel_statistics
from cnnlab.data.placement import choose_placement
from cnnlab.data.sources import find_source
from cnnlab.data.splits import Protocol, name_classes, nested_subset, split_by_protocol
from cnnlab.data.stream import PIECE, read_by_threads
from cnnlab.errors import RequestError
from cnnlab.limits import AboveZero, Between, Count, Folds, Pixels, Whole

log = logging.getLogger(__name__)

STATISTICS = 5000  # number of training images from which the normalization of streamed data is computed


class ImageDataModule(L.LightningDataModule):
    """Serve the images of a run: `train` (augmented), `val` (selects the best epoch) and `test`.

    Args:
        source: what is read, as `path`, `config`, `image_column`, `label_column` and `splits` say; see
            `cnnlab.data.sources.find_source`.
        on_error: `stop` refuses images that cannot be read, `skip` leaves them out.
        exclude: table of images to leave out, see `cnnlab.data.exclusion.exclude_marked`.
        classes: names that the classes must have, in order, or None for any names.
        image_size: height and width in pixels.
        batch_size: images per training step, over all devices.
        eval_batch_size: images per step of validation and test.
        sampling: `shuffled` takes each training image once an epoch; `balanced` as many, but each class equally often.
        holdout: share of the training images held out under the protocol `holdout`, in (0, 1).
        fold, folds: which fold of a cross-validation is held out instead, see `split_by_protocol`.
        fraction: share of the training images that are used, see `cnnlab.data.splits.nested_subset`.
        mean: mean of each channel, of pixels in [0, 1]; None computes it from the training images.
        std: standard deviation of each channel, of pixels in [0, 1]; None computes it from the training images.
        cache: folder for decoded images.
        residence: where the images are during training, see `cnnlab.data.placement.Placement`. The batches are the
            same, but `stream` computes a `mean` or `std` of None from at most 5,000 training images, spread evenly.
        workers: number of threads that decode for `stream`; None takes all cores but one, at least 1 and at most 8.
        protocol: `holdout` selects on training images that a fixed split holds out, the same for every seed; `article`
            trains on all training images and selects on the test images.
        augmentation: augmentation of the training images, or None.
        seed: seed of the order of the images and of the augmentation.
        device: device of the training, whose free memory `auto` looks at.
        processes: number of training processes on this machine; they share its cores and its memory.

    Raises:
        ValueError: if a value is out of its range.
        RequestError: if the images cannot be found or read.
    """

    def __init__(
        self,
        source: str | None = None,
        path: str | None = None,
        config: str | None = None,
        image_column: str | None = None,
        label_column: str | None = None,
        splits: dict[str, Any] | None = None,
        on_error: OnError = "stop",
        exclude: str | None = None,
        classes: list[str] | None = None,
        image_size: Pixels = 32,
        batch_size: Count = 512,
        eval_batch_size: Count = 1000,
        sampling: Sampling = "shuffled",
        holdout: Between = 0.1,
        fold: Count | None = None,
        folds: Folds | None = None,
        fraction: AboveZero = 1,
        mean: Annotated[list[float], 3, "[0, 1]"] | None = None,
        std: Annotated[list[float], 3, "(0, inf)"] | None = None,
        cache: str | None = None,
        residence: Placement = "auto",
        workers: Whole | None = None,
        protocol: Protocol = "holdout",
        augmentation: Augmentation | None = None,
        seed: Annotated[int, "[0, 4294967295]"] = 0,
        device: str = "cpu",
        processes: int = 1,
    ):
        super().__init__()
        pad = augmentation.pad if augmentation else 0
        if pad >= image_size:
            raise RequestError(f"augmentation.pad must be less than image_size, {image_size}, got {pad}")
        if augmentation:
            augmentation.try_functions(image_size)
        self.protocol = protocol
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.image_size = image_size
        self.sampling: Sampling = sampling
        self.augmentation = augmentation
        self.seed = seed
        self.workers = min(8, max(1, available_cores() // processes - 1)) if workers is None else workers

        found = find_source(source, path, config, image_column, label_column, splits)
        if residence == "auto":
            residence = choose_placement(found, image_size, pad, cache, torch.device(device), processes)
        self.placement: Placement = residence
        data = read_for(residence, found, image_size, cache, on_error, exclude)
        self.data: ImageData = name_classes(data, classes or ())
        if classes is not None and tuple(classes) != self.data.classes:
            there = f"{path or source} has the classes {listed(self.data.classes, 4)}"
            raise RequestError(f"data: {there}, but {listed(classes, 4)} are expected; data=folder takes any classes")
        self.fold, self.folds = fold, folds
        train, self.val = split_by_protocol(self.data, protocol, holdout, fold, folds)
        self.train = train.take(nested_subset(train.labels, fraction, seed))
        self.test = self.data.test
        if mean is None or std is None:
            positions = self.spread(STATISTICS if residence == "stream" else len(self.train))
            if len(positions) < len(self.train):
                log.info("Mean and deviation of the channels come from %s training images.", f"{len(positions):,}")
            parts = read_by_threads(self.train, positions.split(PIECE), threads=available_cores())
            try:
                own_mean, own_std = channel_statistics(parts)
            except UnreadableImage:
                raise refusal(self.train) from None
            mean, std = mean or own_mean.tolist(), std or own_std.tolist()
        self.normalize_by(mean, std)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names by class number."""
        return self.data.classes

    @property
    def fingerprint(self) -> str:
        """Digest of the data set, see `cnnlab.data.images.ImageData`."""
        return self.data.fingerprint

    @property
    def counts(self) -> dict[str, int]:
        """Number of images of each split."""
        return {"train": len(self.train), "val": len(self.val), "test": len(self.test)}

    @property
    def class_counts(self) -> list[int]:
        """Number of training images of each class."""
        return self.train.labels.bincount(minlength=len(self.classes)).tolist()

    @property
    def findings(self) -> Findings:
        """Return where the images are, what was left out, and which classes a split lacks."""
        found, remarks = self.data.findings, []
        for split, images in (("train", self.train), ("val", self.val), ("test", self.test)):
            there = set(images.labels.unique().tolist())
            lacking = [name for number, name in enumerate(self.classes) if number not in there]
            if lacking and not (split == "val" and self.protocol == "article"):
                remarks.append(f"no {split} images of {listed(lacking, 3)}")
        unused = {"images for validation": self.data.validation} if self.protocol == "article" else {}
        return replace(found, ignored={**found.ignored, **unused}, remarks=(*found.remarks, *remarks))

    def batches(self) -> dict[str, int]:
        """Return the number of batches of `train`, `val` and `test`."""
        return {
            "train": count_batches(len(self.train), self.batch_size, shuffle=True),
            "val": count_batches(len(self.val), self.eval_batch_size, shuffle=False),
            "test": count_batches(len(self.test), self.eval_batch_size, shuffle=False),
        }

    def whole_batches(self, processes: int = 1) -> set[int]:
        """Return how many images a process has of a batch that is not the last: of training, validation and test."""
        train, size, *others = len(self.train), self.eval_batch_size, len(self.val), len(self.test)
        whole = [min(train, self.batch_size), *(min(images, size) for images in others)]
        return {share for batch in whole for share in (batch // processes, -(-batch // processes))}

    def normalize_by(self, mean: list[float], std: list[float]) -> None:
        """Normalize by these constants of each channel, of pixels in [0, 1]."""
        self.mean, self.std = torch.tensor(mean), torch.tensor(std)

    def decided(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Return the settings with what was found out about the data, so that every process uses the same."""
        return settings | {"mean": self.mean.tolist(), "std": self.std.tolist(), "residence": self.placement}

    def sample(self, images: int = 5000) -> Tensor:
        """Return training images, spread evenly, normalized and not augmented: float32 (N, 3, H, W)."""
        return Normalization(self.mean, self.std, self.image_size)(self.train.read(self.spread(images)))

    def train_dataloader(self) -> Loader:
        """Return shuffled, augmented batches of the training images."""
        balanced = self.sampling == "balanced"
        return self._loader(
            self.train, self.batch_size, augmentation=self.augmentation, shuffle=True, balanced=balanced
        )

    def val_dataloader(self) -> Loader:
        """Return batches of the images that select the best epoch."""
        return self._loader(self.val, self.eval_batch_size)

    def test_dataloader(self) -> Loader:
        """Return batches of the test images, in the data's own order."""
        return self._loader(self.test, self.eval_batch_size)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Return the batch unchanged: the loader makes it on the device."""
        return batch

    def _loader(self, images: Images, batch_size: int, **training: Any) -> Loader:
        trainer = self.trainer
        return Loader(
            images,
            batch_size,
            self.mean,
            self.std,
            **training,
            seed=self.seed,
            device=trainer.strategy.root_device if trainer else "cpu",
            rank=trainer.global_rank if trainer else 0,
            world_size=trainer.world_size if trainer else 1,
            classes=len(self.classes),
            placement=self.placement,
            workers=self.workers,
        )

    def spread(self, images: int) -> Tensor:
        """Return the positions of at most this many training images, spread evenly."""
        return torch.linspace(0, len(self.train) - 1, min(images, len(self.train)), dtype=torch.float64).long()
