"""Keep decoded images on disk, checked when read, and never visible half-written.

Nothing here needs torch, so a command can look for its images before it imports anything slow.
"""

import contextlib
import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
from uuid import uuid4

import numpy as np
from filelock import FileLock

from cnnlab.data.exclusion import check_table
from cnnlab.data.sources import source_of
from cnnlab.data.sources.base import Source, plain_names
from cnnlab.errors import RequestError
from cnnlab.files import reserve, write_atomically

FORMAT = 2  # raise it if caches of before are of no use
DECODER = 3  # raise it if some images are decoded to other pixels: then all are decoded again
ARRAYS = ("train_pixels", "train_labels", "test_pixels", "test_labels")


class Notes(NamedTuple):
    """Hold what only a look at the images tells."""

    validation: int = 0  # images for it at the end of the training images; 0 if the protocol chooses them
    faults: Sequence[tuple[str, str]] = ()  # images that were left out because they cannot be read, and why


@dataclass(frozen=True)
class CachedArrays:
    """Hold the content of a cache."""

    arrays: dict[str, np.ndarray]  # uint8 pixels (N, H, W, 3) and int64 labels (N,) of both splits, mapped into memory
    classes: tuple[str, ...]  # names by class number
    fingerprint: str  # digest of pixels and labels, 16 hexadecimal digits
    notes: Notes = Notes()


def cache_folder(source: Source, image_size: int, cache: str | Path | None, on_error: str = "stop") -> Path:
    """Return the folder for the images of a source at one size, named after both and `data.on_error`.

    It lies in `cache`, by default in `$CNNLAB_CACHE`, else in `cnnlab` in the user's cache folder.
    """
    if cache is None:
        cache = os.environ.get("CNNLAB_CACHE") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "cnnlab"
    skips = "|skip" if on_error == "skip" else ""
    key = hashlib.sha256(f"{FORMAT}|{image_size}|{source.identity}{skips}".encode()).hexdigest()[:24]
    return Path(cache).expanduser().absolute() / key


def check_available(data: Mapping[str, Any]) -> None:
    """Check that the images of the settings `data` are cached, or can be had and kept.

    Raises:
        RequestError: if they are not available from their source, or no cache or `data.exclude` can be used.
    """
    source = source_of(data)
    if data.get("exclude"):
        check_table(data["exclude"])
    folder = cache_folder(source, data.get("image_size", 32), data.get("cache"))
    if cached_images(folder) is not None:
        return
    source.check()
    if data.get("residence") != "stream":
        with explained(folder.parent), tempfile.TemporaryFile(dir=next(p for p in folder.parents if p.exists())):
            pass


def read_cache(folder: Path) -> CachedArrays | None:
    """Return the cache's content, or None if it is missing, damaged, or of another version of the decoder."""
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        # Copy on write: torch wants writable memory, and the files must not change.
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="c") for name in ARRAYS}
        # The sums are of the numbers alone. Records name the fingerprint made from them, so it stays as it is.
        if meta["decoder"] != DECODER or not all(_has_form(name, array) for name, array in arrays.items()):
            return None
        if {name: _checksum(array) for name, array in arrays.items()} != meta["sums"]:
            return None
        if any(_digest(meta[key]) != meta[f"{key}_sum"] for key in ("classes", "notes")):
            return None
        notes = Notes(*meta["notes"])
        content = json.dumps(meta["sums"], sort_keys=True) + (f" {notes.validation}" if notes.validation else "")
        fingerprint = hashlib.sha256(content.encode()).hexdigest()[:16]
        return CachedArrays(arrays, plain_names(meta["classes"]), fingerprint, notes)
    except Exception:  # numpy raises nearly anything for a damaged header
        return None


def cached_images(folder: Path) -> int | None:
    """Return how many images a cache holds, from the files' headers, or None if there is no cache."""
    try:
        return sum(len(np.load(folder / f"{split}_labels.npy", mmap_mode="r")) for split in ("train", "test"))
    except Exception:  # as above
        return None


def write_cache(folder: Path, fill: Callable[[Path], tuple[tuple[str, ...], Notes]]) -> None:
    """Write a cache to a temporary folder and rename it, unless another process has just written it.

    So neither an interruption nor a second process leaves half a cache. Of several processes, one writes and the others
    wait.

    `fill` writes the `.npy` files into the folder that it is given, and returns the names of the classes and notes.

    Raises:
        RequestError: if the place cannot be written to.
    """
    with explained(folder.parent):
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = folder.parent / f".writing-{uuid4().hex}"
        temporary.mkdir()  # by the user's umask: folders of tempfile would be closed to other users
    lock = folder.with_name(f".{folder.name}.lock")
    try:
        with FileLock(lock):
            if read_cache(folder) is not None:
                return
            classes, notes = fill(temporary)
            with explained(folder.parent):
                sums = {name: _checksum(np.load(temporary / f"{name}.npy", mmap_mode="r")) for name in ARRAYS}
                meta = {"classes": classes, "classes_sum": _digest(classes), "sums": sums, "decoder": DECODER}
                meta |= {"notes": notes, "notes_sum": _digest(notes)}
                write_atomically(temporary / "meta.json", json.dumps(meta))
                if os.path.lexists(folder):  # a damaged cache, or a file in its place
                    folder.rename(damaged := temporary.with_name(f"{temporary.name}-damaged"))
                    shutil.rmtree(damaged) if damaged.is_dir() and not damaged.is_symlink() else damaged.unlink()
                temporary.rename(folder)
    finally:
        lock.unlink(missing_ok=True)
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Turn an error of writing into this folder into a RequestError."""
    try:
        yield
    except OSError as error:
        raise RequestError(
            f"data.cache: {folder} cannot be written ({error.strerror or error}); data.cache=FOLDER takes another, "
            "data.residence=stream needs none"
        ) from None


def create_array(file: Path, dtype: type[np.generic], shape: tuple[int, ...]) -> BinaryIO:
    """Open a `.npy` file to write its values, in their order. It has its header, and the disk space for all values."""
    stream = file.open("wb")
    kind = np.dtype(dtype)
    np.lib.format.write_array_header_1_0(
        stream, {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
    )
    reserve(stream, stream.tell() + kind.itemsize * math.prod(shape))
    return stream


def _has_form(name: str, array: np.ndarray) -> bool:
    """Check type and shape: the same bytes could also stand for numbers in the order of another machine."""
    is_pixels = name.endswith("pixels")
    right = array.dtype == (np.uint8 if is_pixels else np.int64) and array.flags.c_contiguous
    return right and (array.ndim == 4 and array.shape[3] == 3 if is_pixels else array.ndim == 1)


def _digest(values: Any) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()


def _checksum(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()
