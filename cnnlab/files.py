"""Write files of which nothing is left if they cannot be written whole, such as on a full disk."""

import errno
import io
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

NO_RESERVING = (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS)  # the file system cannot


def write_atomically(file: Path, content: str | bytes | memoryview) -> None:
    """Write a file in one step: it holds either its old or its new content, whatever happens meanwhile."""
    # Names of files and classes need not be valid UTF-8; their bytes are written unchanged.
    data = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
    with replacing(file) as temporary, temporary.open("wb") as stream:
        reserve(stream, len(data))
        stream.write(data)


def overwrite(file: Path, content: str) -> None:
    """Write an existing file where it lies, which a full disk has room for; an error leaves its old content."""
    data = content.encode("utf-8", "surrogateescape")
    size = file.stat().st_size
    with file.open("r+b", buffering=0) as stream:
        try:
            reserve(stream, len(data))
        except OSError:
            stream.truncate(size)
            raise
        stream.write(data)
        stream.truncate()


def write_arrays(file: Path, **arrays: Any) -> None:
    """Write a `.npz` in one step."""
    import numpy as np

    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write_atomically(file, buffer.getbuffer())


def reserve(stream: BinaryIO, size: int) -> None:
    """Take the disk space for a file before it is written, if the file system can.

    Raises:
        OSError: if there is too little; says how much is needed.
    """
    if not size or not hasattr(os, "posix_fallocate"):
        return
    try:
        os.posix_fallocate(stream.fileno(), 0, size)
    except OSError as error:
        if error.errno in NO_RESERVING:
            return
        free = f", {shutil.disk_usage(Path(stream.name).parent).free:,} are free" if error.errno == errno.ENOSPC else ""
        error.strerror = f"{error.strerror}; {size:,} bytes are needed{free}"
        raise


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """Provide a temporary file that replaces `file` when the block ends, and is removed if the block fails.

    Raises:
        OSError: if it cannot be written; names `file`.
    """
    temporary = None
    try:
        handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.stem[:50]}-", suffix=file.suffix)
        temporary = Path(name)
        os.close(handle)
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(file)
    except BaseException as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename in (None, str(temporary)):
            error.filename = str(file)
        raise


def link_or_copy(file: Path, new: Path) -> None:
    """Give a file a second name, which is replaced if it exists; on a file system without hard links, copy it."""
    new.unlink(missing_ok=True)
    try:
        new.hardlink_to(file)
    except OSError:
        shutil.copyfile(file, new)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of `replacing` by a process that was killed; none may be writing there now."""
    for file in folder.glob(".*-????????.*"):
        file.unlink()


def decide_once(file: Path, decide: Callable[[], str]) -> str:
    """Return the text of a file. The first process that asks decides on it and writes it; later ones read it.

    Only the user may read the file.
    """
    if not file.exists():
        handle, name = tempfile.mkstemp(dir=file.parent, prefix=f"{file.name}-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write(decide())
            try:
                file.hardlink_to(name)  # unlike a rename, this keeps the file of a process that was faster
            except FileExistsError:
                pass
            except OSError:  # a file system without hard links
                Path(name).replace(file)
        finally:
            Path(name).unlink(missing_ok=True)
    return file.read_text(encoding="utf-8")


def from_here(path: Path) -> Path:
    """Return a path as one would type it: relative if it lies in the working directory."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
