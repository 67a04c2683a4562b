"""Ties the data path together for Lightning: which images train, which select, which test."""

from typing import Any, Literal

import lightning as L
import torch
from torch import Tensor

from cnnlab.data.augment import Augmentation
from cnnlab.data.images import ImageData, Images, load_images, stratified_split
from cnnlab.data.loader import Loader
from cnnlab.data.sources import find_source
from cnnlab.errors import RequestError

Protocol = Literal["holdout", "article"]


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
        protocol: `holdout` selects on images held out from training by a fixed split, the same for every seed;
            `article` trains on all training images and selects on the test images.
        augmentation: of the training images, or None.
        seed: of the order of the images and of the augmentation.

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
        protocol: Protocol = "holdout",
        augmentation: Augmentation | None = None,
        seed: int = 0,
    ):
        super().__init__()
        for name, value in (
            ("image_size", image_size),
            ("batch_size", batch_size),
            ("eval_batch_size", eval_batch_size),
        ):
            if value < 1:
                raise ValueError(f"{name} must be 1 or more, got {value}")
        if not 0 < holdout < 1:
            raise ValueError(f"holdout must be between 0 and 1, got {holdout}")
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
        self.data: ImageData = load_images(find_source(source, path), image_size, cache)
        if classes is not None and tuple(classes) != self.data.classes:
            self.data = self._named(tuple(classes), path or source)
        self.train, self.val = self._split(holdout)
        self.test = self.data.test
        if mean is None or std is None:
            own_mean, own_std = channel_statistics(self.train.pixels)
            mean, std = mean or own_mean.tolist(), std or own_std.tolist()
        self.mean, self.std = torch.tensor(mean), torch.tensor(std)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names by class number."""
        return self.data.classes

    @property
    def fingerprint(self) -> str:
        """Of all pixels and labels of the data set."""
        return self.data.fingerprint

    def sample(self, images: int = 5000) -> Tensor:
        """Training images spread evenly over all of them, normalized and not augmented: float32 (N, 3, H, W)."""
        spread = torch.linspace(0, len(self.train) - 1, min(images, len(self.train))).long()
        loader = Loader(self.train.take(spread), len(spread), self.mean, self.std)
        return next(iter(loader))[0]

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

    def _loader(
        self, images: Images, batch_size: int, augmentation: Augmentation | None = None, shuffle: bool = False
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
        )

    def _split(self, holdout: float) -> tuple[Images, Images]:
        if self.protocol == "article":
            return self.data.train, self.data.test
        train, val = stratified_split(self.data.train.labels, holdout)
        if not len(val) or not len(train):
            raise RequestError(
                f"data.holdout: {holdout} of {len(self.data.train)} training images leaves no image on one side"
            )
        return self.data.train.take(train), self.data.train.take(val)

    def _named(self, expected: tuple[str, ...], where: str | None) -> ImageData:
        """The data under the expected names where it has only numbers; otherwise it is not what was asked for."""
        data = self.data
        if data.classes == tuple(str(number) for number in range(len(expected))):
            return ImageData(data.train, data.test, expected, data.fingerprint)
        raise RequestError(
            f"data: {where} holds other classes ({', '.join(data.classes[:4])}, ...) than {', '.join(expected[:4])}, "
            "...; data=folder takes any"
        )


def channel_statistics(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel of uint8 images (N, H, W, 3), on the scale [0, 1].

    Exact: they come from the counts of the 256 values. A channel that never varies gets the deviation 1.
    """
    values = torch.arange(256, dtype=torch.float64) / 255
    means, stds = [], []
    for channel in range(pixels.shape[-1]):
        share = torch.bincount(pixels[..., channel].flatten(), minlength=256).double()
        share /= share.sum()
        mean = (share * values).sum()
        std = (share * (values - mean) ** 2).sum().sqrt()
        means.append(mean)
        stds.append(std if std > 0 else torch.tensor(1.0, dtype=torch.float64))
    return torch.stack(means).float(), torch.stack(stds).float()
