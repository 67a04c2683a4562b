"""Read CIFAR-10 and CIFAR-100 as their authors publish them."""

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cnnlab.data.findings import Findings
from cnnlab.data.sources.base import FileSource, RawImages, RawSplit
from cnnlab.errors import RequestError
from cnnlab.instantiate import first_line


class Version(NamedTuple):
    """Name the files of a data set, and for each column of labels the entry of the class names in `meta`."""

    folder: str
    train: tuple[str, ...]
    test: str
    meta: str
    labels: dict[str, str]  # the first is the default


CIFAR10 = Version(
    folder="cifar-10-batches-py",
    train=tuple(f"data_batch_{number}" for number in range(1, 6)),
    test="test_batch",
    meta="batches.meta",
    labels={"labels": "label_names"},
)
CIFAR100 = Version(
    folder="cifar-100-python",
    train=("train",),
    test="test",
    meta="meta",
    labels={"fine_labels": "fine_label_names", "coarse_labels": "coarse_label_names"},
)


@dataclass(frozen=True)
class BatchesSource(FileSource):
    """Read the Python version of CIFAR-10 or CIFAR-100: pickled batches, which torchvision reads too."""

    folder: Path
    version: Version = CIFAR10
    column: str | None = None  # which labels are read; None reads the first of the version

    form = "batches"

    @property
    def identity(self) -> str:
        return f"{super().identity} {self.column or ''}".strip()

    def found(self) -> list[tuple[str, Path]]:
        names = (*self.version.train, self.version.test, self.version.meta)
        return [(name, self.folder / name) for name in names]

    def check_complete(self) -> None:
        """Raise RequestError if a file is missing, or there are no labels of that name."""
        if missing := [name for name, file in self.found() if not file.is_file()]:
            raise RequestError(f"data.path: {self.folder} is incomplete: {', '.join(missing)} is missing")
        if self._labels not in self.version.labels:
            known = ", ".join(self.version.labels)
            raise RequestError(f"data.label_column: {self.folder} has no {self.column}; known: {known}")

    @property
    def _labels(self) -> str:
        """Name of the entry of the labels; the name of one label stands for it too."""
        column = self.column or next(iter(self.version.labels))
        return column if column.endswith("s") else f"{column}s"

    def count(self) -> int:
        return sum(size for _, size in self.files()) // (3 * 32 * 32)

    def findings(self) -> Findings:
        first, *more = self.version.train
        places = f"{first} to {more[-1][-1]}" if more else first
        others = len(list(self.folder.iterdir())) - len(self.found())
        return Findings(f"{places} and {self.version.test}", {"files": others} if others else {})

    def read(self, lean: bool = False) -> RawImages:
        meta = self.folder / self.version.meta
        (names,) = _load(meta, self.version.labels[self._labels])
        return RawImages(
            classes=tuple(name.decode() if isinstance(name, bytes) else name for name in names),
            train=self._split(self.version.train),
            test=self._split([self.version.test]),
        )

    def _split(self, names: Sequence[str]) -> RawSplit:
        images, labels = [], []
        for file in (self.folder / name for name in names):
            data, numbers = _load(file, "data", self._labels)
            try:
                images.append(np.asarray(data, dtype=np.uint8).reshape(len(numbers), 3, 32, 32))
                labels.append(np.asarray(numbers, dtype=np.int64))
            except (ValueError, TypeError) as error:
                raise RequestError(f"data.path: {file} is not a readable CIFAR batch ({error})") from None
        return RawSplit(np.concatenate(images).transpose(0, 2, 3, 1), np.concatenate(labels))


def find_batches(folder: Path, column: str | None) -> list[BatchesSource]:
    """Return the batches in a folder, or in folders of their usual names inside it."""
    found = []
    for version in (CIFAR10, CIFAR100):
        for place in (folder, folder / version.folder):
            source = BatchesSource(place, version, column)
            there = [name for name, file in source.found() if file.is_file()]
            # The names of CIFAR-100's files are not its own alone.
            sure = version is CIFAR10 or place.name == version.folder or {version.meta, version.test} <= set(there)
            if there and sure:
                source.check_complete()
                found.append(source)
    return found


class _ArraysOnly(pickle.Unpickler):
    """Unpickle numpy arrays and plain values; refuse anything else, such as code to run."""

    _ALLOWED = ("numpy.ndarray", "numpy.dtype", "_codecs.encode")
    _ALLOWED += ("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct")

    def find_class(self, module_name: str, global_name: str) -> Any:
        if f"{module_name}.{global_name}" not in self._ALLOWED:
            raise pickle.UnpicklingError(f"it contains {module_name}.{global_name}, which is not allowed")
        return super().find_class(module_name, global_name)


def _load(file: Path, *keys: str) -> list[Any]:
    """Return these entries of a batch."""
    try:
        with file.open("rb") as stream:
            batch = _ArraysOnly(stream, encoding="bytes").load()
        found = [batch.get(key, batch.get(key.encode())) for key in keys]
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise RequestError(f"data.path: {file} is not a readable CIFAR batch ({first_line(error)})") from None
    if lacking := [key for key, value in zip(keys, found, strict=True) if value is None]:
        raise RequestError(f"data.path: {file} has no entry {lacking[0]}")
    return found
