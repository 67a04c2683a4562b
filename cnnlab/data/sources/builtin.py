"""Make images that need no files: the handwritten digits of scikit-learn, and noise in the form of CIFAR-10."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from cnnlab.data.sources.base import RawImages, RawSplit, Source

CLASSES = 10
TRAIN, TEST = 50_000, 10_000
SIZE = 32  # height and width in pixels


@dataclass(frozen=True)
class DigitsSource(Source):
    """Read the 1,797 handwritten digits of scikit-learn: grey, 8x8, values 0 to 16."""

    @property
    def identity(self) -> str:
        return "digits"

    def count(self) -> int:
        return 1797

    def read(self, lean: bool = False) -> RawImages:
        from sklearn.datasets import load_digits

        digits: Any = load_digits()
        images = np.round(digits.images * (255 / 16)).astype(np.uint8)[..., None]
        classes = tuple(str(name) for name in digits.target_names)
        return RawImages(classes, RawSplit(images, digits.target.astype(np.int64)), test=None)


@dataclass(frozen=True)
class SyntheticSource(Source):
    """Make images of noise from a fixed seed, with the number and size of CIFAR-10's, to measure speed."""

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
