"""Read images from folders, one folder per class."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cnnlab.data.sources.base import FileSource, RawImages, RawSplit
from cnnlab.errors import RequestError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
# Names of the folders of a split, in lower case; any case is read.
SPLITS = {
    "train": frozenset({"train", "training"}),
    "test": frozenset({"test", "testing"}),
    "validation": frozenset({"val", "valid", "validation"}),
}


@dataclass(frozen=True)
class Files:
    """List the paths of files below a folder; an array of bytes takes little memory even for a million."""

    root: Path
    names: np.ndarray

    def __getitem__(self, index: int) -> Path:
        return self.root / os.fsdecode(self.names[index])


@dataclass(frozen=True)
class FolderSource(FileSource):
    """Read one folder per class, directly or below `train` and `test`.

    Classes are numbered in the order of their names. Test images come from `test`, or from `val` if there is no `test`,
    as in ImageNet.
    """

    folder: Path

    form = "folders"

    def found(self) -> Iterator[tuple[str, os.DirEntry[str]]]:
        return _walk(self.folder)

    def count(self) -> int:
        return sum(1 for _ in self.found())

    def read(self, lean: bool = False) -> RawImages:
        train = split_folder(self.folder, "train")
        if train is None or not (classes := class_folders(train, of_split=True)):
            classes = class_folders(self.folder)
            return RawImages(tuple(classes), self._split(self.folder, classes), test=None)
        test = None
        for held_apart in (split_folder(self.folder, "test"), split_folder(self.folder, "validation")):
            if test is None and held_apart is not None and (found := class_folders(held_apart, of_split=True)):
                if unknown := sorted(set(found) - set(classes)):
                    raise RequestError(f"data.path: {held_apart} has a class that {train.name}/ lacks: {unknown[0]}")
                test = self._split(held_apart, classes)
        return RawImages(tuple(classes), self._split(train, classes), test)

    @staticmethod
    def _split(root: Path, classes: list[str]) -> RawSplit:
        names = [np.array([os.fsencode(f"{c}/{name}") for name, _ in _walk(root / c)], dtype=bytes) for c in classes]
        labels = np.repeat(np.arange(len(classes), dtype=np.int64), [len(found) for found in names])
        return RawSplit(Files(root, np.concatenate(names)), labels)


def class_folders(root: Path, of_split: bool = False) -> list[str]:
    """Return the sorted names of the sub-folders that hold an image at any depth.

    Names with a leading dot are left out, and so are folders of a split, such as `train`. Within the folder of a split
    (`of_split`), a class may have such a name: CIFAR-100 has a class `train`.
    """
    if not root.is_dir():
        return []
    splits = frozenset() if of_split else frozenset.union(*SPLITS.values())
    folders = (d for d in root.iterdir() if d.is_dir() and d.name.lower() not in splits and d.name[0] != ".")
    return sorted(d.name for d in folders if next(_walk(d), None))


def split_folder(root: Path, split: str) -> Path | None:
    """Return the folder of a split, such as `Train`, if there is one."""
    folders = sorted(root.iterdir()) if root.is_dir() else []
    return next((d for d in folders if d.name.lower() in SPLITS[split] and d.is_dir()), None)


def _walk(
    folder: Path | str, below: str = "", above: frozenset[tuple[int, int]] | None = None
) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield the images below a folder with their paths from there, in the order of the parts of the paths.

    Links are followed, unless they lead back to a folder that contains them.
    """
    if above is None:
        above = frozenset(_place(parent) for parent in Path(folder).absolute().parents)
    try:
        if (here := _place(folder)) in above:
            return
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except FileNotFoundError:
        return
    except PermissionError:
        raise RequestError(f"data.path: no permission to read {folder}") from None
    for entry in found:
        if entry.is_dir():
            yield from _walk(entry.path, f"{below}{entry.name}/", above | {here})
        elif entry.name.lower().endswith(IMAGE_SUFFIXES) and not entry.name.startswith("."):
            if entry.is_symlink() and not Path(entry.path).exists():
                raise RequestError(f"data.path: {entry.path} is a link to a missing file")
            yield below + entry.name, entry


def _place(folder: str | Path) -> tuple[int, int]:
    """Return what identifies a folder, whatever links lead to it."""
    status = os.stat(folder)  # noqa: PTH116, without a Path for each of very many folders
    return status.st_dev, status.st_ino
