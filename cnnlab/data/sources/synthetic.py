"""Noise in the form of CIFAR-10, to measure speed where no images are at hand."""

from dataclasses import dataclass

import numpy as np

from cnnlab.data.sources.base import RawImages, RawSplit

CLASSES = 10
TRAIN, TEST = 50_000, 10_000
SIZE = 32  # pixels a side


@dataclass(frozen=True)
class SyntheticSource:
    """As many images as CIFAR-10 has, of the same size: noise from a fixed seed. There is nothing to learn."""

    @property
    def identity(self) -> str:
        """See Source."""
        return "synthetic"

    def check(self) -> None:
        """See Source. Nothing can be missing: it is made."""

    def count(self) -> int:
        """See Source."""
        return TRAIN + TEST

    def files(self) -> list[tuple[str, int]]:
        """See Source."""
        return [("synthetic", self.count())]

    def read(self, lean: bool = False) -> RawImages:
        """See Source."""
        random = np.random.default_rng(0)

        def split(images: int) -> RawSplit:
            pixels = random.integers(0, 256, (images, SIZE, SIZE, 3), dtype=np.uint8)
            return RawSplit(pixels, np.arange(images, dtype=np.int64) % CLASSES)

        return RawImages(tuple(str(number) for number in range(CLASSES)), split(TRAIN), split(TEST))
