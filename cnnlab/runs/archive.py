"""Tell files of torch from others by their list of contents, before torch is imported or images are looked for."""

import zipfile
from pathlib import Path

from cnnlab.errors import RequestError
from cnnlab.instantiate import first_line

OLD_FILES = b"\x80"  # the first byte of a pickle


def check_archive(path: Path, key: str) -> None:
    """Check that a file, which a key of the command line names, is an archive as torch writes them.

    `weights=` and `checkpoint=` also take safetensors, `weights=` files of torch before 1.6, which are no archives.

    Raises:
        RequestError: if it is not, or is larger unpacked than on disk: torch does not compress checkpoints.
    """
    if key in ("weights", "checkpoint") and path.suffix == ".safetensors":
        return
    if key == "weights" and path.open("rb").read(1) == OLD_FILES:
        return
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError) as error:
        raise RequestError(f"{key}: {path} is damaged or not a checkpoint ({first_line(error)})") from None
    if not any(entry.filename.endswith("/data.pkl") for entry in entries):
        raise RequestError(f"{key}: {path} is not a checkpoint, but another zip archive")
    if (unpacked := sum(entry.file_size for entry in entries)) > path.stat().st_size:
        raise RequestError(f"{key}: {path} is not loaded: {unpacked:,} bytes when unpacked, more than the file has")
