"""Decoded images on disk: checked when read, and never seen half-written.

Nothing here needs torch, so that a command can look whether it has its images before anything slow is imported.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import numpy as np
from filelock import FileLock

from cnnlab.data.sources import Source
from cnnlab.errors import RequestError

FORMAT = 2  # raise it when the same source would be decoded to other pixels
ARRAYS = ("train_pixels", "train_labels", "test_pixels", "test_labels")


@dataclass(frozen=True)
class CachedArrays:
    """What a cache holds.

    Attributes:
        arrays: uint8 pixels (N, H, W, 3) and int64 labels (N,) of both splits, mapped into memory.
        classes: names by class number.
        fingerprint: of pixels and labels, as 16 hexadecimal digits.
    """

    arrays: dict[str, np.ndarray]
    classes: tuple[str, ...]
    fingerprint: str


def cache_folder(source: Source, image_size: int, cache: str | Path | None) -> Path:
    """Where the images of a source are kept at one size.

    Args:
        source: whose identity, with the size, makes the folder's name.
        image_size: height and width in pixels.
        cache: the folder of all caches; None for `$CNNLAB_CACHE`, else `cnnlab` in the user's cache folder.
    """
    if cache is None:
        cache = os.environ.get("CNNLAB_CACHE") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "cnnlab"
    key = hashlib.sha256(f"{FORMAT}|{image_size}|{source.identity}".encode()).hexdigest()[:24]
    return Path(cache).expanduser().absolute() / key


def check_available(source: Source, image_size: int, cache: str | Path | None) -> None:
    """Raises RequestError when the images are neither cached nor to be had from their source."""
    if not cache_folder(source, image_size, cache).exists():
        source.check()


def read_cache(folder: Path) -> CachedArrays | None:
    """The cache's content, or None where it is not what was written."""
    try:
        meta = json.loads((folder / "meta.json").read_text())
        # Copy on write: torch wants memory that it may write to, and the files must stay as they are.
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="c") for name in ARRAYS}
        if {name: _checksum(array) for name, array in arrays.items()} != meta["sums"]:
            return None
        fingerprint = hashlib.sha256(json.dumps(meta["sums"], sort_keys=True).encode()).hexdigest()[:16]
        return CachedArrays(arrays, tuple(meta["classes"]), fingerprint)
    except (OSError, EOFError, ValueError, KeyError, TypeError):  # numpy has EOFError for an empty file
        return None


def cached_images(folder: Path) -> int | None:
    """How many images a cache holds, or None where there is none; looks at the files' heads alone."""
    try:
        return sum(len(np.load(folder / f"{split}_labels.npy", mmap_mode="r")) for split in ("train", "test"))
    except (OSError, EOFError, ValueError):
        return None


def write_cache(folder: Path, fill: Callable[[Path], tuple[str, ...]]) -> None:
    """Writes a cache beside its place and puts it there in one step, unless another process has just done so.

    Neither an interruption nor a second process that does the same leaves half a cache. Of several processes one works
    and the others wait.

    Args:
        folder: the cache's place.
        fill: writes the `.npy` files into the folder that it is given, and returns the names of the classes.

    Raises:
        RequestError: when the place cannot be written to.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = folder.parent / f".writing-{uuid4().hex}"
        temporary.mkdir()  # as open to other users as the umask says; tempfile's folders are closed to them
    except OSError as error:
        raise RequestError(f"data.cache: {folder.parent} cannot be written ({error.strerror})") from None
    lock = folder.with_name(f".{folder.name}.lock")
    try:
        with FileLock(lock):
            if read_cache(folder) is not None:
                return
            classes = fill(temporary)
            sums = {name: _checksum(np.load(temporary / f"{name}.npy", mmap_mode="r")) for name in ARRAYS}
            (temporary / "meta.json").write_text(json.dumps({"classes": classes, "sums": sums}))
            _put_in_place(temporary, folder)
    finally:
        lock.unlink(missing_ok=True)
        shutil.rmtree(temporary, ignore_errors=True)


def _put_in_place(temporary: Path, folder: Path) -> None:
    """Renames the finished cache. What stands there already is a damaged one, or another process's, just as good."""
    if folder.exists() and read_cache(folder) is None:
        damaged = temporary.with_name(temporary.name + "-damaged")
        folder.rename(damaged)
        shutil.rmtree(damaged, ignore_errors=True)
    try:
        temporary.rename(folder)
    except OSError:
        if not folder.exists():
            raise


def _checksum(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()
