"""Define what every source of images offers."""

import hashlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np

from cnnlab.data.findings import Findings

# Control characters, line separators, and bytes that are no UTF-8: tables, terminals and figures cannot hold them.
UNWRITABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def plain_names(names: Iterable[str]) -> tuple[str, ...]:
    r"""Return names of classes that any record can hold, with escapes such as `\x1b` for what it cannot."""
    return tuple(UNWRITABLE.sub(lambda found: ascii(found[0])[1:-1], name) for name in names)


class Items(Protocol):
    """Give access to encoded images: bytes of PNG or JPEG files, or paths of such files."""

    def __getitem__(self, index: int, /) -> bytes | Path: ...


@dataclass(frozen=True)
class RawSplit:
    """Hold the images of one split, not decoded."""

    images: Items | np.ndarray  # encoded images, or one uint8 array (N, H, W, C)
    labels: np.ndarray  # class numbers, int64 (N,)


@dataclass(frozen=True)
class RawImages:
    """Hold all images of a source."""

    classes: tuple[str, ...]  # names by class number
    train: RawSplit  # with the images for validation at its end
    test: RawSplit | None  # if None, a part of `train` becomes the test split later
    validation: int = 0  # number of images for it; if 0, the protocol holds some of the others out


@dataclass(frozen=True)
class Columns:
    """Name the columns of a table that are asked for; None finds a column by its type and name."""

    image: str | None = None
    label: str | None = None


class Source(Protocol):
    """Give access to a place that holds images."""

    @property
    def identity(self) -> str:
        """Return a text that names the content: it stays the same as long as the images do."""
        ...

    def check(self) -> None:
        """Raise RequestError if the images are not available. Takes a few seconds at most, over a network too."""

    def count(self) -> int:
        """Return roughly how many images there are, reading as little as possible."""
        ...

    def files(self) -> Iterable[tuple[str, int]]:
        """Yield name and size of every file, for a fingerprint that does not depend on the place of the files."""
        return [(self.identity, self.count())]

    def findings(self) -> Findings:
        """Return where the images are and what is left out, without reading any. A cache does not answer this."""
        return Findings()

    def read(self, lean: bool = False) -> RawImages:
        """Return all images, not decoded; if `lean`, they stay on disk until each is asked for.

        Raises:
            RequestError: if a file is damaged.
        """
        ...


class FileSource(Source, Protocol):
    """Give access to images in files, which are known by their paths, sizes and times: to read them takes too long."""

    form: ClassVar[str]

    def found(self) -> Iterable[tuple[str, Path]]:
        """Yield every file with a name that does not depend on its place."""
        ...

    @property
    def identity(self) -> str:
        """Return the form of the files and a digest of them."""
        digest = hashlib.sha256()
        for _, file in self.found():
            stat = file.stat()
            line = f"{os.fspath(file)}|{stat.st_size}|{stat.st_mtime_ns}\n"
            digest.update(line.encode("utf-8", "surrogateescape"))
        return f"{self.form} {digest.hexdigest()}"

    def files(self) -> Iterable[tuple[str, int]]:
        """Yield name and size of every file."""
        return ((name, file.stat().st_size) for name, file in self.found())
