"""List the formats of pictures that can be read: the formats that Pillow decodes itself."""

import functools

from PIL import Image

# Formats that Pillow leaves to other programs, such as Ghostscript, which would run code in a file.
FOREIGN = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}


@functools.cache
def picture_formats() -> tuple[str, ...]:
    """Return Pillow's names of the formats."""
    Image.init()
    return tuple(name for name in Image.ID if name not in FOREIGN)


@functools.cache
def picture_suffixes() -> tuple[str, ...]:
    """Return the suffixes of such files in lower case, such as `.png`."""
    known = picture_formats()
    return tuple(suffix for suffix, name in Image.registered_extensions().items() if name in known)
