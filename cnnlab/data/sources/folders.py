"""Images in folders, one folder per class."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np

from cnnlab.data.sources.base import RawImages, RawSplit, stat_digest
from cnnlab.errors import RequestError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")


class Files(Sequence[Path]):
    """Places of files, a million of which take little memory.

    Args:
        root: the folder that they are in.
        names: below the root, as an array of bytes.
    """

    def __init__(self, root: Path, names: np.ndarray):
        self.root, self.names = root, names

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> Path: ...
    @overload
    def __getitem__(self, index: slice) -> "Files": ...
    def __getitem__(self, index: int | slice) -> "Path | Files":
        if isinstance(index, slice):
            return Files(self.root, self.names[index])
        return self.root / os.fsdecode(self.names[index])


@dataclass(frozen=True)
class FolderSource:
    """One folder per class, directly or below `train` and `test`; classes are numbered in the order of their names."""

    folder: Path

    @property
    def identity(self) -> str:
        """See Source."""
        return "folders " + stat_digest((entry.path, entry.stat()) for _, entry in _walk(self.folder))

    def check(self) -> None:
        """See Source. Nothing can be missing: it was found."""

    def count(self) -> int:
        """See Source."""
        return sum(1 for _ in _walk(self.folder))

    def files(self) -> Iterator[tuple[str, int]]:
        """See Source."""
        return ((name, entry.stat().st_size) for name, entry in _walk(self.folder))

    def read(self, lean: bool = False) -> RawImages:
        """See Source."""
        train = self.folder / "train"
        root = train if class_folders(train) else self.folder
        classes = class_folders(root)
        test = None
        if root is train and (test_folders := class_folders(self.folder / "test")):
            if unknown := sorted(set(test_folders) - set(classes)):
                raise RequestError(f"data.path: {self.folder / 'test'} has a class that train/ has not: {unknown[0]}")
            test = self._split(self.folder / "test", classes)
        return RawImages(classes=tuple(classes), train=self._split(root, classes), test=test)

    @staticmethod
    def _split(root: Path, classes: list[str]) -> RawSplit:
        names = [np.array([os.fsencode(f"{c}/{name}") for name, _ in _walk(root / c)], dtype=bytes) for c in classes]
        labels = np.repeat(np.arange(len(classes), dtype=np.int64), [len(found) for found in names])
        return RawSplit(Files(root, np.concatenate(names)), labels)


def class_folders(root: Path) -> list[str]:
    """Names of the sub-folders that hold an image somewhere below, sorted; train and test are not classes."""
    if not root.is_dir():
        return []
    folders = (d for d in root.iterdir() if d.is_dir() and d.name not in ("train", "test"))
    return sorted(d.name for d in folders if next(_walk(d), None))


def _walk(folder: str | Path, below: str = "") -> Iterator[tuple[str, os.DirEntry[str]]]:
    """The images below a folder with their names from there, in the order of the names' parts."""
    try:
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except FileNotFoundError:
        return
    for entry in found:
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(entry.path, f"{below}{entry.name}/")
        elif entry.name.lower().endswith(IMAGE_SUFFIXES) and not entry.name.startswith("."):
            yield below + entry.name, entry
