"""Name the formats of images that can be read, and say what other files are."""

import functools
import re
from contextlib import suppress

from PIL import Image

# Formats that Pillow leaves to other programs, such as Ghostscript, which would run code in a file.
FOREIGN = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}
# Suffixes of formats that not every Pillow reads: such a file is named in a message, not left out without a word.
NOT_EVERYWHERE = (".avif", ".heic", ".heif", ".hif", ".jp2", ".jxl", ".webp")
RAW = "a camera's raw photo: convert it to JPEG or TIFF"
# How files of formats begin that Pillow reads, unless they are damaged or of a rare kind.
IMAGES = (
    (rb"\xff\xd8", "JPEG"),
    (rb"\x89PNG", "PNG"),
    (rb"GIF8", "GIF"),
    (rb"RIFF....WEBP", "WebP"),
    (rb"....ftypavi[fs]", "AVIF"),
    (rb"BM", "BMP"),
    (rb"II[*+]\x00|MM\x00[*+]", "TIFF"),
    (rb"\x00{3}\x0cjP  |\xffO\xffQ", "JPEG 2000"),
    (rb"8BPS", "Photoshop file"),
)
# How other files begin, the most telling first.
OTHERS = (
    (rb"version https://git-lfs", "a Git LFS pointer: `git lfs pull` fetches the image"),
    (rb"\S*/annex/objects/", "a git-annex pointer: `git annex get` fetches the image"),
    (rb"....ftyp(hei[cmsx]|hev[cmsx]|mif1|msf1)", "a HEIC photo: `pip install pillow-heif`, or convert it to JPEG"),
    (rb"\xff\x0a|\x00{3}\x0cJXL ", "a JPEG XL image: `pip install pillow-jxl-plugin`, or convert it to PNG"),
    (rb"....ftypcrx|IIRO|IIRS|IIU\x00|FUJIFILM|FOVb", RAW),
    (rb"....ftyp|\x1aE\xdf\xa3|RIFF....AVI |\x00\x00\x01\xba", "a video: save its frames as images"),
    (rb"\W*<(!doctype html|html|head|body)", "an HTML page, perhaps of a failed download"),
    (rb"\W*<.*<svg|\W*<svg", "an SVG drawing, which has no pixels: convert it to PNG"),
    (rb"%!PS|\xc5\xd0\xd3\xc6|\xd7\xcd\xc6\x9a", "a drawing, which has no pixels: convert it to PNG"),
    (rb"%PDF", "a PDF document: save its pages as PNG"),
    (rb".{128}DICM", "a DICOM file: convert it to PNG"),
    (rb"PK\x03\x04|\x1f\x8b|Rar!|7z\xbc\xaf", "an archive: unpack it"),
    (rb"\x93NUMPY|\x89HDF|PAR1|SIMPLE  =", "a file of arrays or tables, not an image"),
    (rb"\x00\x05\x16\x07", "what macOS keeps about another file, not an image"),
    (rb"\xd0\xcf\x11\xe0", "a Windows thumbnail cache or Office document, not an image"),
    (rb"[\t\n\r -\xff]*\Z", "a text, not an image"),
)


@functools.cache
def picture_formats() -> tuple[str, ...]:
    """Return Pillow's names of the formats; HEIC and JPEG XL are among them if their packages are installed."""
    Image.init()
    with suppress(ImportError):
        import pillow_heif.HeifImagePlugin  # noqa: F401  # pyright: ignore[reportMissingImports]
    with suppress(ImportError):
        import pillow_jxl  # noqa: F401  # pyright: ignore[reportMissingImports]
    return tuple(name for name in Image.ID if name not in FOREIGN)


@functools.cache
def picture_suffixes() -> tuple[str, ...]:
    """Return the suffixes of pictures in lower case, such as `.png`."""
    known = picture_formats()
    return (*(suffix for suffix, name in Image.registered_extensions().items() if name in known), *NOT_EVERYWHERE)


def why_unreadable(content: bytes, error: Exception) -> str:
    """Say in plain words why an image cannot be read.

    Args:
        content: content of the file.
        error: what the reader of the format raised.
    """
    if not content.strip(b"\0"):
        return "it holds nothing but zeros" if content else "it is empty"
    image = _first_match(IMAGES, content)
    of_webp = int.from_bytes(content[4:8], "little") + 8 > len(content) and image == "WebP"
    if of_webp or "truncated" in str(error).lower():
        return f"it is truncated: the {image or 'image'} ends after {len(content):,} bytes"
    if image:
        return f"it is truncated or damaged, or of a kind of {image} that is not read"
    if isinstance(error, Image.UnidentifiedImageError):
        return f"it is {_first_match(OTHERS, content) or 'not an image of a known format'}"
    return "it is truncated or damaged"


def _first_match(kinds: tuple[tuple[bytes, str], ...], content: bytes) -> str | None:
    start = content[:1024]
    return next((name for pattern, name in kinds if re.match(pattern, start, re.DOTALL | re.IGNORECASE)), None)
