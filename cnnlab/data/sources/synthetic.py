"""Make noise in the form of CIFAR-10, to measure speed without a data set."""

from dataclasses import dataclass

import numpy as np

from cnnlab.data.sources.base import RawImages, RawSplit, Source

CLASSES = 10
TRAIN, TEST = 50_000, 10_000
SIZE = 32  # height and width in pixels


@dataclass(frozen=True)
class SyntheticSource(Source):
    """Make images of noise from a fixed seed, with the number and size of CIFAR-10's. There is nothing to learn."""

    @property
    def identity(self) -> str:
        return "synthetic"

    def count(self) -> int:
        return TRAIN + TEST

    def read(self, lean: bool = False) -> RawImages:
        random = np.random.default_rng(0)

        def split(images: int) -> RawSplit:
            pixels = random.integers(0, 256, (images, SIZE, SIZE, 3), dtype=np.uint8)
            return RawSplit(pixels, np.arange(images, dtype=np.int64) % CLASSES)

        return RawImages(tuple(str(number) for number in range(CLASSES)), split(TRAIN), split(TEST))
