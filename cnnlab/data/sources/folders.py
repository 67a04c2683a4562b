"""Images in folders, one folder per class."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cnnlab.data.sources.base import RawImages, RawSplit, stat_digest
from cnnlab.errors import RequestError

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg"}


@dataclass(frozen=True)
class FolderSource:
    """One folder per class, directly or below `train` and `test`; classes are numbered in the order of their names."""

    folder: Path

    @property
    def identity(self) -> str:
        """See Source."""
        return "folders " + stat_digest(sorted(file for file in self.folder.rglob("*") if _is_image(file)))

    def check(self) -> None:
        """See Source. Nothing can be missing: it was found."""

    def read(self) -> RawImages:
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
        files, labels = [], []
        for number, name in enumerate(classes):
            found = sorted(file for file in (root / name).rglob("*") if _is_image(file))
            files += found
            labels += [number] * len(found)
        return RawSplit(files, np.asarray(labels, dtype=np.int64))


def class_folders(root: Path) -> list[str]:
    """Names of the sub-folders that hold an image somewhere below, sorted; train and test are not classes."""
    if not root.is_dir():
        return []
    folders = (d for d in root.iterdir() if d.is_dir() and d.name not in ("train", "test"))
    return sorted(d.name for d in folders if any(_is_image(file) for file in d.rglob("*")))


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".")
