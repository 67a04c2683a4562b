"""What every source is: something with an identity that can be read."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class RawSplit:
    """The images of one split as they were found.

    Attributes:
        images: encoded images (bytes of PNG or JPEG files, or paths to such files), or one uint8 array (N, H, W, C).
        labels: class numbers, int64 (N,).
    """

    images: Sequence[bytes | Path] | np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class RawImages:
    """All that a source holds. Without `test`, whoever reads this cuts one out of `train`."""

    classes: tuple[str, ...]
    train: RawSplit
    test: RawSplit | None


class Source(Protocol):
    """A place that holds images."""

    @property
    def identity(self) -> str:
        """Names the content: the same text for the same images, another when they changed."""
        ...

    def check(self) -> None:
        """Raises RequestError when the images cannot be had. Quick: a few seconds where a network has to be asked."""
        ...

    def count(self) -> int:
        """About how many images there are; looks at as little as possible."""
        ...

    def files(self) -> Iterable[tuple[str, int]]:
        """Name and size in bytes of every file, wherever the whole lies."""
        ...

    def read(self, lean: bool = False) -> RawImages:
        """All images, not yet decoded. Raises RequestError where a file is damaged.

        Args:
            lean: whether the images must be left on disk until each is asked for; otherwise they may be in memory.
        """
        ...


def stat_digest(files: Iterable[tuple[str | Path, os.stat_result]]) -> str:
    """A digest of the files' places, sizes and times: reading them all would take longer than decoding a cache."""
    digest = hashlib.sha256()
    for file, stat in files:
        digest.update(f"{file}|{stat.st_size}|{stat.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
