"""Look through the folders below a place once: which images they hold, and what else."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import merge
from pathlib import Path

import numpy as np

from cnnlab.data.formats import picture_suffixes
from cnnlab.data.listing import is_hidden
from cnnlab.errors import RequestError

IMAGE_SUFFIXES = frozenset(picture_suffixes())


@dataclass
class Folder:
    """Hold what is directly in a folder; names and numbers in arrays, which take little memory even for a million."""

    path: str
    names: np.ndarray = field(default_factory=lambda: np.empty(0, "S1"))  # of images, as bytes, sorted
    sizes: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))  # in bytes; -1 of a link to nowhere
    times: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))  # of the last change, in nanoseconds
    folders: list["Folder"] = field(default_factory=list)  # that are not hidden, sorted by name
    tables: list[str] = field(default_factory=list)  # names of parquet files
    ignored: Counter[str] = field(default_factory=Counter)  # number of other things, by what they are
    suffixes: Counter[str] = field(default_factory=Counter)  # number of the other files, by their suffix
    images: int = 0  # at any depth

    @property
    def name(self) -> str:
        """Name of the folder."""
        return os.path.basename(self.path)  # noqa: PTH119, a Path for each folder would take much memory

    @property
    def kids(self) -> list["Folder"]:
        """Folders inside that hold an image at any depth."""
        return [folder for folder in self.folders if folder.images]

    def walk(self, below: str = "") -> Iterator[tuple[str, int, int]]:
        """Yield path, size and time of each image at any depth, in the order of the parts of the paths."""
        own = ((os.fsdecode(name), number) for number, name in enumerate(self.names))
        for name, found in merge(own, ((kid.name, kid) for kid in self.kids), key=lambda entry: entry[0]):
            if isinstance(found, Folder):
                yield from found.walk(f"{below}{name}/")
            else:
                yield below + name, int(self.sizes[found]), int(self.times[found])

    def everything(self) -> Iterator["Folder"]:
        """Yield this folder and all below it."""
        yield self
        for folder in self.folders:
            yield from folder.everything()


def scan(path: Path | str, above: frozenset[tuple[int, int]] | None = None) -> Folder:
    """Look through a folder and all below it. Links are followed, unless they lead back to a folder that contains them.

    Raises:
        RequestError: if a folder cannot be read, or a link to a folder leads nowhere.
    """
    path = os.fspath(path)
    folder = Folder(path)
    try:
        above = frozenset(map(_place, Path(path).absolute().parents)) if above is None else above
        here = _place(path)
        if here in above:
            folder.ignored["links to a folder above"] += 1
            return folder
        with os.scandir(path) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except PermissionError:
        raise
    except OSError as error:
        raise RequestError(f"data.path: {path} cannot be read ({error.strerror})") from None
    images: list[tuple[bytes, int, int]] = []
    for entry in found:
        suffix = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122
        if is_hidden(entry.name):
            folder.ignored["hidden folders" if _is_folder(entry) else "hidden files"] += 1
        elif _is_folder(entry):
            folder.folders.append(scan(entry.path, above | {here}))
        elif suffix in IMAGE_SUFFIXES:
            images.append((os.fsencode(entry.name), *size_and_time(entry)))
        elif not suffix and entry.is_symlink() and size_and_time(entry)[0] < 0:
            raise RequestError(f"data.path: {entry.path} is a link to a missing file or folder")
        else:
            folder.ignored["files"] += 1
            folder.suffixes[suffix] += 1
            if suffix == ".parquet" and entry.is_file():  # a pipe would be waited for
                folder.tables.append(entry.name)
    if images:
        names, sizes, times = zip(*images, strict=True)
        folder.names, folder.sizes, folder.times = np.array(names), np.array(sizes), np.array(times)
    folder.images = len(images) + sum(kid.images for kid in folder.folders)
    return folder


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def size_and_time(file: os.DirEntry[str] | Path) -> tuple[int, int]:
    """Return size in bytes, and time of the last change in nanoseconds; -1 and 0 for a link that leads nowhere."""
    try:
        status = file.stat()
    except OSError:
        return -1, 0
    return status.st_size, status.st_mtime_ns


def _place(folder: str | Path) -> tuple[int, int]:
    """Return what identifies a folder, whatever links lead to it."""
    status = os.stat(folder)  # noqa: PTH116, without a Path for each of very many folders
    return status.st_dev, status.st_ino
