"""Odd PNG files, most of which Pillow cannot write."""

import struct
import zlib

import numpy as np
from PIL import PngImagePlugin

from tests.odd_files.base import (
    ALPHA,
    DAMAGED,
    DEEP,
    GREY,
    RGB,
    TOO_LARGE,
    TRUNCATED,
    TURNS,
    OddFile,
    encoded,
    grey,
    picture,
    turn,
    upper,
    with_alpha,
    xmp,
)

SIGNATURE = b"\x89PNG\r\n\x1a\n"
PASSES = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))  # Adam7
KINDS = {1: 0, 2: 4, 3: 2, 4: 6}  # colour type by number of channels
FOUR, TWO, ONE = GREY >> 4, GREY >> 6, GREY >> 7
COLOURS = np.arange(48, dtype=np.uint8).reshape(16, 3) * 5


def pngs() -> dict[str, OddFile]:
    read = {**kinds(), **interlaced(), **with_metadata(), **unusual()}
    return {
        **{f"PNG {name}": OddFile(content, ".png", pixels) for name, (content, pixels) in read.items()},
        **{f"PNG {name}": OddFile(content, ".png", None, reason) for name, (content, reason) in refused().items()},
    }


def chunk(name: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def header(width: int, height: int, depth: int, kind: int, interlace: bool = False) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, interlace))


def rows(values: np.ndarray, depth: int) -> bytes:
    """Rows of samples (H, W) or (H, W, C), each behind filter type 0."""
    if depth == 16:
        packed = values.astype(">u2").reshape(len(values), -1).view(np.uint8)
    else:
        bits = np.unpackbits(values.astype(np.uint8)[..., None], axis=-1)[..., 8 - depth :]
        packed = np.packbits(bits.reshape(len(values), -1), axis=-1)
    return b"".join(b"\0" + row.tobytes() for row in packed)


def png(
    values: np.ndarray,
    depth: int = 8,
    before: bytes = b"",
    after: bytes = b"",
    kind: int | None = None,
    interlace: bool = False,
    pieces: int = 1,
) -> bytes:
    """A file of samples (H, W) or (H, W, C), with chunks before and after those of the pixels."""
    kind = KINDS[values.shape[2] if values.ndim == 3 else 1] if kind is None else kind
    parts = [values[y::down, x::right] for y, x, down, right in PASSES] if interlace else [values]
    data = zlib.compress(b"".join(rows(part, depth) for part in parts if part.size))
    step = -(-len(data) // pieces)
    pixels = b"".join(chunk(b"IDAT", data[start : start + step]) for start in range(0, len(data), step))
    head = header(values.shape[1], values.shape[0], depth, kind, interlace)
    return SIGNATURE + head + before + pixels + after + chunk(b"IEND")


def transparent(*values: int) -> bytes:
    return chunk(b"tRNS", struct.pack(f">{len(values)}H", *values))


def kinds() -> dict[str, tuple[bytes, np.ndarray]]:
    plte = chunk(b"PLTE", COLOURS.tobytes())
    grey_plte = chunk(b"PLTE", bytes(value for value in range(0, 256, 17) for _ in "RGB"))
    deep, deep_grey = DEEP[..., :3], grey(upper(DEEP[..., 0]))
    return {
        "grey": (png(GREY), grey(GREY)),
        "grey of 1 bit": (png(ONE, 1), grey(ONE * 255)),
        "grey of 2 bits": (png(TWO, 2), grey(TWO * 85)),
        "grey of 4 bits": (png(FOUR, 4), grey(FOUR * 17)),
        "grey of 16 bits": (png(DEEP[..., 0], 16), deep_grey),
        "grey with alpha": (png(np.dstack([GREY, ALPHA])), grey(GREY)),
        "grey of 16 bits with alpha": (png(DEEP[..., :2], 16), deep_grey),
        "grey, a value transparent": (png(GREY, before=transparent(GREY[0, 0])), grey(GREY)),
        "grey of 1 bit, a value transparent": (png(ONE, 1, transparent(1)), grey(ONE * 255)),
        "grey of 16 bits, a value transparent": (png(DEEP[..., 0], 16, transparent(DEEP[0, 0, 0])), deep_grey),
        "colour": (png(RGB), RGB),
        "colour of 16 bits": (png(deep, 16), upper(deep)),
        "colour with alpha": (encoded(with_alpha(RGB), "PNG"), RGB),
        "colour of 16 bits with alpha": (png(DEEP, 16), upper(deep)),
        "colour, all transparent": (png(np.dstack([RGB, 0 * ALPHA])), RGB),
        "colour, a value transparent": (png(RGB, before=transparent(*RGB[0, 0])), RGB),
        "colour of 16 bits, a value transparent": (png(deep, 16, transparent(*deep[0, 0])), upper(deep)),
        "colour with a suggested palette": (png(RGB, before=plte), RGB),
        "palette": (png(FOUR, 8, plte, kind=3), COLOURS[FOUR]),
        "palette of 4 bits": (png(FOUR, 4, plte, kind=3), COLOURS[FOUR]),
        "palette of 2 bits": (png(TWO, 2, plte, kind=3), COLOURS[TWO]),
        "palette of 1 bit": (png(ONE, 1, plte, kind=3), COLOURS[ONE]),
        "palette of greys": (png(FOUR, 8, grey_plte, kind=3), grey(FOUR * 17)),
        "palette, half transparent": (
            png(FOUR, 8, plte + chunk(b"tRNS", bytes(range(0, 256, 16))), kind=3),
            COLOURS[FOUR],
        ),
        "palette, a colour transparent": (png(FOUR, 8, plte + chunk(b"tRNS", b"\xff\xff\0"), kind=3), COLOURS[FOUR]),
    }


def interlaced() -> dict[str, tuple[bytes, np.ndarray]]:
    plte = chunk(b"PLTE", COLOURS.tobytes())
    return {
        "interlaced, grey": (png(GREY, interlace=True), grey(GREY)),
        "interlaced, grey of 1 bit": (png(ONE, 1, interlace=True), grey(ONE * 255)),
        "interlaced, grey of 16 bits": (png(DEEP[..., 0], 16, interlace=True), grey(upper(DEEP[..., 0]))),
        "interlaced, colour": (png(RGB, interlace=True), RGB),
        "interlaced, palette": (png(FOUR, 4, plte, kind=3, interlace=True), COLOURS[FOUR]),
        "interlaced, one pixel": (png(RGB[:1, :1], interlace=True), RGB[:1, :1]),
    }


def with_metadata() -> dict[str, tuple[bytes, np.ndarray]]:
    data = (b"Exif\0\0" + turn(6)).hex()
    raw_profile = b"Raw profile type exif\0\0" + zlib.compress(f"\nexif\n{len(data) // 2:8}\n{data}\n".encode())
    text = PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", xmp(6).decode())
    return {
        "with gamma": (png(RGB, before=chunk(b"gAMA", struct.pack(">I", 100_000))), RGB),
        "with sRGB and background": (png(RGB, before=chunk(b"sRGB", b"\0") + chunk(b"bKGD", bytes(6))), RGB),
        "with significant bits": (png(RGB, before=chunk(b"sBIT", b"\5\6\5")), RGB),
        "with a colour profile": (png(RGB, before=chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(500)))), RGB),
        "with a damaged colour profile": (png(RGB, before=chunk(b"iCCP", b"x\0\0garbage")), RGB),
        "with EXIF before its pixels": (png(RGB, before=chunk(b"eXIf", turn(6))), TURNS[6](RGB)),
        "with EXIF behind its pixels": (png(RGB, after=chunk(b"eXIf", turn(8, "<"))), TURNS[8](RGB)),
        "with EXIF that is garbage": (png(RGB, before=chunk(b"eXIf", b"garbage")), RGB),
        "with EXIF in text": (png(RGB, before=chunk(b"zTXt", raw_profile)), TURNS[6](RGB)),
        "with XMP": (encoded(RGB, "PNG", pnginfo=text), TURNS[6](RGB)),
        "with damaged text": (png(RGB, before=chunk(b"zTXt", b"a\0\0garbage")), RGB),
        "with an unknown chunk": (png(RGB, before=chunk(b"prVt", b"abc")), RGB),
    }


def unusual() -> dict[str, tuple[bytes, np.ndarray]]:
    frames = {"save_all": True, "append_images": [picture(RGB[::-1])]}
    return {
        "animated": (encoded(RGB, "PNG", **frames), RGB),
        "animated behind another picture": (encoded(RGB, "PNG", default_image=True, **frames), RGB),
        "with pixels in many chunks": (png(RGB, pieces=50), RGB),
        "with an empty chunk of pixels": (png(RGB, before=chunk(b"IDAT")), RGB),
        "without its end": (png(RGB)[:-12], RGB),
        "with garbage behind it": (png(RGB) + b"garbage", RGB),
        "with another one behind it": (png(RGB) + png(RGB[::-1]), RGB),
        "of one pixel": (png(RGB[:1, :1]), RGB[:1, :1]),
        "of one column": (png(RGB[:, :1]), RGB[:, :1]),
    }


def refused() -> dict[str, tuple[bytes, str]]:
    whole = png(RGB)
    place = whole.index(b"IDAT") + 40
    end = chunk(b"IEND")
    few = SIGNATURE + header(50, 50, 8, 0) + chunk(b"IDAT", zlib.compress(bytes(60))) + end
    return {
        "signature alone": (SIGNATURE, DAMAGED),
        "cut within its header": (whole[:20], TRUNCATED),
        "cut behind its header": (whole[:33], DAMAGED),
        "cut in half": (whole[: len(whole) // 2], f"it is truncated: the PNG ends after {len(whole) // 2} bytes"),
        "without pixels": (SIGNATURE + header(4, 4, 8, 0) + end, DAMAGED),
        "with few of its pixels": (few, TRUNCATED),
        "with a wrong checksum": (whole[:place] + b"???" + whole[place + 3 :], DAMAGED),
        "of no columns": (SIGNATURE + header(0, 9, 8, 0) + chunk(b"IDAT", zlib.compress(bytes(9))) + end, DAMAGED),
        "of 3 bits": (SIGNATURE + header(4, 4, 3, 0) + chunk(b"IDAT", zlib.compress(bytes(12))) + end, DAMAGED),
        "too long and narrow": (png(np.zeros((1, 1_600_000), np.uint8), 1), "its 1600000 x 1 pixels are too long"),
        "that claims 10^10 pixels": (SIGNATURE + header(10**5, 10**5, 1, 0) + chunk(b"IDAT") + end, TOO_LARGE),
        "that claims 101 million pixels": (SIGNATURE + header(10_100, 10_000, 1, 0) + chunk(b"IDAT") + end, TOO_LARGE),
    }
