"""Formats of pictures that are read: those that Pillow decodes itself."""

import functools

from PIL import Image

# Formats that Pillow knows but leaves to others: Ghostscript, which runs what the file says, or whatever is registered.
FOREIGN = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}


@functools.cache
def picture_formats() -> tuple[str, ...]:
    """Pillow's names of the formats."""
    Image.init()
    return tuple(name for name in Image.ID if name not in FOREIGN)


@functools.cache
def picture_suffixes() -> tuple[str, ...]:
    """The suffixes of such files, such as `.png`, in lower case."""
    known = picture_formats()
    return tuple(suffix for suffix, name in Image.registered_extensions().items() if name in known)
