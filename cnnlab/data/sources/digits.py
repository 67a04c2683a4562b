"""Read the handwritten digits that scikit-learn ships."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from cnnlab.data.sources.base import RawImages, RawSplit, Source


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
        return RawImages(
            classes=tuple(str(name) for name in digits.target_names),
            train=RawSplit(images, digits.target.astype(np.int64)),
            test=None,
        )
