"""Which files `images=` stands for: one, a folder's, a pattern's, several of these, or those of standard input."""

import glob
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from cnnlab.data.formats import picture_suffixes
from cnnlab.errors import RequestError

STANDARD_INPUT = "-"


def list_pictures(asked: str | list[str]) -> Iterator[Path]:
    """The files that are asked for, one after the other, in the order of their names within a folder or pattern.

    A folder stands for all files below it with the suffix of a format that is read, whose names do not start with a
    dot; files that are named, matched or piped are taken as they are. Links to folders are followed, and no folder is
    entered twice. A folder that cannot be looked into is given itself, for whoever reads it to say so. Held in memory
    are no more than the names in one folder, or those that match a pattern.

    Args:
        asked: a file, a folder, a pattern such as `photos/**/*.jpg`, a list of these, or `-` for a path on each line of
            standard input. What exists is no pattern.

    Raises:
        RequestError: before the first file is given, when there is none in one of the places.
    """
    places = asked if isinstance(asked, list) else [asked]
    if not places or not all(isinstance(place, str) and place for place in places):
        raise RequestError("images must be a file, a folder, a pattern, or a list of these, such as [a.png,b.jpg]")
    if asked == STANDARD_INPUT:
        return _lines()
    for place in places:
        try:
            first = next(_at(place), None)
        except OSError as error:
            raise RequestError(f"images: {place}: {error.strerror}") from None
        if first is None:
            raise RequestError(f"images: {_nothing_at(place)}")
    return (path for place in places for path in _at(place))


def _at(place: str) -> Iterator[Path]:
    path = Path(place).expanduser()
    if path.exists() or path.is_symlink():
        yield from _below(path, set())
    elif glob.has_magic(place):
        for match in sorted(glob.iglob(str(path), recursive=True)):  # noqa: PTH207 - Path.glob wants relative patterns
            yield from _below(Path(match), set())


def _below(path: Path, entered: set[tuple[int, int]]) -> Iterator[Path]:
    """The file itself, or the pictures of a folder."""
    if not path.is_dir():
        yield path
        return
    try:
        about = path.stat()
        if (about.st_dev, about.st_ino) in entered:
            return
        entered.add((about.st_dev, about.st_ino))
        names, folders = _visible(path)
    except OSError:
        yield path
        return
    for name in names:
        if name in folders:
            yield from _below(path / name, entered)
        else:
            yield path / name


def _visible(folder: Path) -> tuple[list[str], set[str]]:
    """Names of the pictures and folders in a folder, sorted, and which of them are folders."""
    names, folders = [], set()
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            # A link is asked through Path, which takes one that leads nowhere or to itself for no folder.
            if Path(entry.path).is_dir() if entry.is_symlink() else entry.is_dir():
                folders.add(entry.name)
            elif not entry.name.lower().endswith(picture_suffixes()):
                continue
            names.append(entry.name)
    return sorted(names), folders


def _lines() -> Iterator[Path]:
    for line in sys.stdin.buffer:
        if name := os.fsdecode(line.rstrip(b"\r\n")):
            yield Path(name)


def _nothing_at(place: str) -> str:
    path = Path(place).expanduser()
    if path.is_dir():
        return f"no image found in {place}"
    if glob.has_magic(place):
        return f"no file matches {place}"
    several = "; several are written [a.png,b.jpg]" if "," in place else ""
    return f"{place} does not exist{several}"
