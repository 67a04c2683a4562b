"""List the files that `images=` names."""

import glob
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from cnnlab.data.formats import picture_suffixes
from cnnlab.errors import RequestError

STANDARD_INPUT = "-"
# Beside names with a leading dot, what systems leave in folders, in lower case.
HIDDEN = {"__macosx", "@eadir", "#recycle", "$recycle.bin", "system volume information", "lost+found"}
HIDDEN |= {"thumbs.db", "desktop.ini"}


def list_pictures(asked: str | list[str]) -> Iterator[Path]:
    """Yield the files that are asked for, in the order of their names within a folder or pattern.

    A folder stands for all files below it that have the suffix of a known format; hidden ones are left out. Files that
    are named, matched or piped are taken whatever their suffix. Links to folders are followed, and no folder is entered
    twice. A folder that cannot be read is yielded itself, so that the reader reports it.

    Args:
        asked: a file, a folder, a pattern such as `photos/**/*.jpg`, a list of these, or `-` to read a path from each
            line of standard input. An existing file is never taken as a pattern.

    Raises:
        RequestError: if one of the places has no file; raised before the first file is yielded.
    """
    places = asked if isinstance(asked, list) else [asked]
    if not places or not all(isinstance(place, str) and place for place in places):
        raise RequestError("images must be a file, a folder, a pattern, or a list of these, such as [a.png,b.jpg]")
    if asked == STANDARD_INPUT:
        return (Path(name) for line in sys.stdin.buffer if (name := os.fsdecode(line.rstrip(b"\r\n"))))
    for place in places:
        try:
            first = next(_at(place), None)
        except OSError as error:
            raise RequestError(f"images: {place}: {error.strerror}") from None
        if first is None:
            raise RequestError(f"images: {_nothing_at(place)}")
    return (path for place in places for path in _at(place))


def is_hidden(name: str) -> bool:
    """Return whether a file or folder of this name is never read, unless a user names it."""
    return name.startswith(".") or name.lower() in HIDDEN


def _at(place: str) -> Iterator[Path]:
    path = Path(place).expanduser()
    if path.exists() or path.is_symlink():
        yield from _below(path, set())
    elif glob.has_magic(place):
        for match in sorted(glob.iglob(str(path), recursive=True)):  # noqa: PTH207 - Path.glob wants relative patterns
            if not any(is_hidden(part) and part not in place for part in Path(match).parts):
                yield from _below(Path(match), set())


def _below(path: Path, entered: set[tuple[int, int]]) -> Iterator[Path]:
    """Yield the file itself, or the pictures of a folder that was not entered yet."""
    if not os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises if a folder above may not be entered
        yield path
        return
    try:
        about = path.stat()
        if (about.st_dev, about.st_ino) in entered:
            return
        entered.add((about.st_dev, about.st_ino))
        names = sorted(os.listdir(path))  # noqa: PTH208 - a Path for each name would take much memory
    except OSError:
        yield path
        return
    for name in names:
        child = path / name
        if not is_hidden(name) and (name.lower().endswith(picture_suffixes()) or os.path.isdir(child)):  # noqa: PTH112
            yield from _below(child, entered)


def _nothing_at(place: str) -> str:
    path = Path(place).expanduser()
    if path.is_dir():
        return f"no image found in {place}"
    if glob.has_magic(place):
        return f"no file matches {place}"
    if "://" in place:
        return f"{place} must be downloaded first"
    several = "; write several as [a.png,b.jpg]" if "," in place else ""
    return f"{place} does not exist{several}"
