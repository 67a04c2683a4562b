"""Read images from folders, one folder per class."""

import functools
import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cnnlab.data.findings import PART_FOR_TEST, Findings
from cnnlab.data.sources.base import Columns, RawImages, RawSplit, Source
from cnnlab.data.sources.layout import SPLITS, Layout, chosen_layout, find_layout, quoted
from cnnlab.data.sources.tree import Folder, scan
from cnnlab.errors import RequestError


@dataclass(frozen=True)
class Files:
    """List the paths of files below a folder; an array of bytes takes little memory even for a million."""

    root: Path
    names: np.ndarray

    def __getitem__(self, index: int) -> Path:
        return self.root / os.fsdecode(self.names[index])


@dataclass(frozen=True)
class FolderSource(Source):
    """Read one folder per class, directly or below folders of splits. The folders are looked through once.

    Classes are numbered in the order of their names. Test images come from `test`, or from `val` if there is no `test`,
    as in ImageNet; `val` beside `test` holds the validation images.
    """

    folder: Path
    splits: Mapping[str, Any] | None = None  # folders of `train`, `val` and `test`, relative to it; None finds them

    @functools.cached_property
    def tree(self) -> Folder:
        """Everything below the folder."""
        return scan(self.folder)

    @functools.cached_property
    def has_classes(self) -> bool:
        """Return whether the folder may be read as class folders."""
        try:
            return bool(self.layout.classes)
        except RequestError:
            return len(self.tree.kids) > 1

    @property
    def chosen(self) -> str:
        """Content of `data.splits` that reads the class folders, whatever else is beside them."""
        try:
            folders = {split: self._name(folder) for split, folder in self.layout.folders.items()}
        except RequestError:
            folders = {"train": "."}
        return ", ".join(f"{split}: {quoted(name)}" for split, name in folders.items())

    @functools.cached_property
    def layout(self) -> Layout:
        """Folders of the classes of each split.

        Raises:
            RequestError: if there are none, or if they can be understood in several ways.
        """
        return chosen_layout(self.folder, self.splits) if self.splits else find_layout(self.tree)

    def checked(self, columns: Columns) -> "FolderSource":
        """Return the source; raise RequestError if the layout or a choice of columns is wrong."""
        for key, name in (("image_column", columns.image), ("label_column", columns.label)):
            if name:
                raise RequestError(f"data.{key}: the class folders in {self.folder} have no columns")
        assert self.layout
        return self

    @functools.cached_property
    def identity(self) -> str:  # pyright: ignore[reportIncompatibleMethodOverride]
        digest = hashlib.sha256()
        for name, size, time in self._images():
            place = os.path.join(self.folder, name)  # noqa: PTH118, a Path for each file would take much time
            digest.update(f"{place}|{size}|{time}\n".encode("utf-8", "surrogateescape"))
        return f"folders {self._unusual()}{digest.hexdigest()}"

    def count(self) -> int:
        return sum(folder.images for folders in self.layout.splits.values() for folder in folders if folder)

    def files(self) -> Iterator[tuple[str, int]]:
        """Yield name and size of every file."""
        yield from ((name, size) for name, size, _ in self._images())
        yield from ((name, 0) for name in [self._unusual()] if name)

    def findings(self) -> Findings:
        kept, remarks = "" if "test" in self.layout.splits else PART_FOR_TEST, self.layout.remarks
        if self.folder.name.lower() in SPLITS["train"] and not self.splits:
            beside = [folder.name for folder in self.folder.parent.iterdir() if folder.name.lower() in SPLITS["test"]]
            remarks = [*remarks, *(f"data.path={self.folder.parent} would read {name}/ too" for name in beside)]
        return Findings(self.layout.places + kept, +self.layout.ignored, tuple(remarks))

    def read(self, lean: bool = False) -> RawImages:
        splits = self.layout.splits
        validation = sum(folder.images for folder in splits.get("val", ()) if folder)
        test = self._split("test") if "test" in splits else None
        return RawImages(self.layout.classes, self._split("train", "val"), test, validation)

    def _split(self, *splits: str) -> RawSplit:
        """Return the images of a split, or of several."""
        names, labels = [np.empty(0, "S1")], [np.empty(0, np.int64)]
        for split in splits:
            for number, folder in enumerate(self.layout.splits.get(split, ())):
                if folder is not None:
                    below = self._name(folder) + "/"
                    names.append(np.array([os.fsencode(name) for name, _, _ in folder.walk(below)], dtype=bytes))
                    labels.append(np.full(len(names[-1]), number, np.int64))
        return RawSplit(Files(self.folder, np.concatenate(names)), np.concatenate(labels))

    def _images(self) -> Iterator[tuple[str, int, int]]:
        """Yield name, size and time of every file that is read, in the order of the parts of their paths."""
        folders = [folder for folders in self.layout.splits.values() for folder in folders if folder]
        named = sorted(((self._name(folder), folder) for folder in folders), key=lambda entry: entry[0].split("/"))
        return (image for name, folder in named for image in folder.walk(f"{name}/"))

    def _name(self, folder: Folder) -> str:
        """Return the path of a folder from the place of the images."""
        return os.path.relpath(folder.path, self.folder)

    def _unusual(self) -> str:
        """Return which folders are which split, if their names do not tell."""
        folders = {split: self._name(folder) for split, folder in self.layout.folders.items()}
        usual = {"train": SPLITS["train"] | {"."}, "test": SPLITS["test"] | SPLITS["validation"], "val": ()}
        if all(name.rpartition("/")[2].lower() in usual[split] for split, name in folders.items()):
            return ""
        return "".join(f"{split}={name} " for split, name in folders.items())
