"""Odd TIFF files."""

import struct

import numpy as np
from PIL import Image, TiffImagePlugin

from tests.odd_files.base import (
    DAMAGED,
    DEEP,
    GREY,
    HEIGHT,
    NOISE,
    RGB,
    SMOOTH,
    TOO_LARGE,
    TURNS,
    WIDTH,
    OddFile,
    black_and_white,
    encoded,
    grey,
    palette,
    picture,
    shown,
    turn,
    upper,
    with_alpha,
    xmp,
)

TYPES = {1: "B", 3: "H", 4: "I"}  # BYTE, SHORT, LONG
ORIENTATION, PREVIEW, OTHER_IMAGES = 274, 254, 330
Entries = dict[int, tuple[int, tuple[int, ...]]]  # type and values by tag
UNKNOWN_WHITE = "the value of white is unknown"
RAW = "it is a camera's raw photo"


def tiffs() -> dict[str, OddFile]:
    read = {**kinds(), **turned()}
    return {
        **{f"TIFF {name}": OddFile(content, ".tif", pixels) for name, (content, pixels) in read.items()},
        **{f"TIFF {name}": OddFile(content, ".tif", None, reason) for name, (content, reason) in refused().items()},
    }


def tiff(values: np.ndarray, endian: str = "<", more: Entries | None = None, start: bytes = b"") -> bytes:
    """A file with values (H, W) or (H, W, C) in one strip; `start` stands before them, and `more` wins."""
    samples = values.shape[2] if values.ndim == 3 else 1
    data = start + values.astype(f"{endian}{values.dtype.kind}{values.itemsize}").tobytes()
    entries: Entries = {
        256: (3, (values.shape[1],)),
        257: (3, (values.shape[0],)),
        258: (3, (8 * values.itemsize,) * samples),
        259: (3, (1,)),
        262: (3, (2 if samples > 2 else 1,)),
        273: (4, (8 + len(start),)),
        277: (3, (samples,)),
        278: (3, (values.shape[0],)),
        279: (4, (len(data) - len(start),)),
        **(more or {}),
    }
    directory, behind = struct.pack(endian + "H", len(entries)), b""
    for tag, (kind, numbers) in sorted(entries.items()):
        content = struct.pack(f"{endian}{len(numbers)}{TYPES[kind]}", *numbers)
        if len(content) > 4:
            place = 8 + len(data) + 2 + 12 * len(entries) + 4 + len(behind)
            behind, content = behind + content, struct.pack(endian + "I", place)
        directory += struct.pack(endian + "HHI", tag, kind, len(numbers)) + content.ljust(4, b"\0")
    begin = b"II*\0" if endian == "<" else b"MM\0*"
    return begin + struct.pack(endian + "I", 8 + len(data)) + data + directory + bytes(4) + behind


def kinds() -> dict[str, tuple[bytes, np.ndarray]]:
    bits, deep = shown(black_and_white()), DEEP[..., 0]
    pages = {"save_all": True, "append_images": [picture(RGB[::-1])]}
    twelve = np.repeat(deep >> 4, 2, axis=1)[:, : 2 * (WIDTH // 2)]
    packed = np.stack([twelve[:, ::2] >> 4, (twelve[:, ::2] & 15) << 4 | twelve[:, 1::2] >> 8, twelve[:, 1::2]], -1)
    files = {
        "of CMYK": encoded(picture(RGB).convert("CMYK"), "TIFF"),
        "of YCbCr": encoded(picture(SMOOTH).convert("YCbCr"), "TIFF"),
        "of LAB": encoded(Image.new("LAB", (WIDTH, HEIGHT), (100, 20, 30)), "TIFF"),
        "with JPEG inside": encoded(SMOOTH, "TIFF", compression="jpeg"),
        "with premultiplied alpha": tiff(NOISE, more={338: (3, (1,))}),
        "of five channels": tiff(np.dstack([NOISE, GREY]), more={338: (3, (0, 0))}),
    }
    return {
        **{name: (content, shown(content)) for name, content in files.items()},
        "of RGB": (encoded(RGB, "TIFF"), RGB),
        **{
            f"of RGB, {compression}": (encoded(RGB, "TIFF", compression=compression), RGB)
            for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits")
        },
        "of RGB, with other samples": (tiff(NOISE, more={338: (3, (0,))}), RGB),
        "of RGB, in planes": (
            tiff(RGB.transpose(2, 0, 1).reshape(3 * HEIGHT, WIDTH), more=in_planes(HEIGHT, WIDTH)),
            RGB,
        ),
        "of RGB and alpha": (encoded(with_alpha(RGB), "TIFF"), RGB),
        "of RGB, 16 bits": (tiff(DEEP[..., :3]), upper(DEEP[..., :3])),
        "of RGB, 16 bits, big-endian": (tiff(DEEP[..., :3], ">"), upper(DEEP[..., :3])),
        "of grey": (encoded(GREY, "TIFF"), grey(GREY)),
        "of grey and alpha": (encoded(with_alpha(GREY), "TIFF"), grey(GREY)),
        "of grey, white is zero": (tiff(GREY, more={262: (3, (0,))}), grey(255 - GREY)),
        "of grey, 12 bits": (
            tiff(packed.astype(np.uint8).reshape(HEIGHT, -1), more=of_12_bits()),
            grey(upper(twelve << 4)),
        ),
        "of grey, 16 bits": (tiff(deep), grey(upper(deep))),
        "of grey, 16 bits, big-endian": (tiff(deep, ">"), grey(upper(deep))),
        "of grey, 16 bits, compressed": (encoded(deep, "TIFF", compression="tiff_lzw"), grey(upper(deep))),
        "of grey, 16 bits, white is zero": (tiff(deep, more={262: (3, (0,))}), grey(255 - upper(deep))),
        "of 1 bit": (encoded(black_and_white(), "TIFF"), bits),
        "of 1 bit, as a fax": (encoded(black_and_white(), "TIFF", compression="group4"), bits),
        "with a palette": (encoded(palette(), "TIFF"), shown(palette())),
        "of several pages": (encoded(RGB, "TIFF", **pages), RGB),
        "of the form for large files": (encoded(RGB, "TIFF", big_tiff=True), RGB),
        "with garbage behind it": (encoded(RGB, "TIFF") + b"garbage", RGB),
    }


def in_planes(height: int, width: int) -> Entries:
    plane = height * width
    return {
        257: (3, (height,)),
        258: (3, (8, 8, 8)),
        262: (3, (2,)),
        273: (4, (8, 8 + plane, 8 + 2 * plane)),
        277: (3, (3,)),
        278: (3, (height,)),
        279: (4, (plane,) * 3),
        284: (3, (2,)),
    }


def of_12_bits() -> Entries:
    return {256: (3, (WIDTH,)), 258: (3, (12,))}


def turned() -> dict[str, tuple[bytes, np.ndarray]]:
    info = TiffImagePlugin.ImageFileDirectory_v2()
    info[ORIENTATION] = 6
    of_xmp = TiffImagePlugin.ImageFileDirectory_v2()
    of_xmp[700] = xmp(6)
    return {
        **{f"orientation {n}": (tiff(RGB, more={ORIENTATION: (3, (n,))}), TURNS[n](RGB)) for n in TURNS},
        **{f"orientation {n}, which does not exist": (tiff(RGB, more={ORIENTATION: (3, (n,))}), RGB) for n in (0, 9)},
        "orientation, big-endian": (tiff(RGB, ">", {ORIENTATION: (3, (6,))}), TURNS[6](RGB)),
        "orientation as LONG": (tiff(RGB, more={ORIENTATION: (4, (6,))}), TURNS[6](RGB)),
        "orientation as BYTE": (tiff(RGB, more={ORIENTATION: (1, (6,))}), TURNS[6](RGB)),
        "orientation, compressed": (encoded(RGB, "TIFF", tiffinfo=info, compression="tiff_lzw"), TURNS[6](RGB)),
        "orientation, 16 bits": (
            tiff(DEEP[..., 0], more={ORIENTATION: (3, (6,))}),
            TURNS[6](grey(upper(DEEP[..., 0]))),
        ),
        "orientation of XMP": (encoded(RGB, "TIFF", tiffinfo=of_xmp), TURNS[6](RGB)),
        "EXIF with a preview": (tiff(RGB, start=turn(6)), RGB),
    }


def refused() -> dict[str, tuple[bytes, str]]:
    lzw = encoded(RGB, "TIFF", compression="tiff_lzw")
    return {
        "of floats": (encoded(GREY.astype(np.float32), "TIFF"), UNKNOWN_WHITE),
        "of 32 bits": (tiff(DEEP[..., 0].astype(np.uint32)), UNKNOWN_WHITE),
        "of signed values": (tiff(DEEP[..., 0], more={339: (3, (2,))}), UNKNOWN_WHITE),
        "of grey and alpha, 16 bits": (tiff(DEEP[..., :2]), DAMAGED),
        "header alone": (lzw[:8], DAMAGED),
        "cut short": (tiff(RGB)[:200], DAMAGED),
        "cut short, compressed": (lzw[:-60], DAMAGED),
        "of no rows": (tiff(RGB, more={257: (3, (0,))}), DAMAGED),
        "that claims many pixels": (tiff(RGB, more={256: (4, (65_000,)), 257: (4, (65_000,))}), TOO_LARGE),
        "from a Canon camera": (tiff(RGB, start=b"CR\2\0"), RAW),
        "from a Nikon or Sony camera": (tiff(RGB, more={PREVIEW: (4, (1,)), OTHER_IMAGES: (4, (8,))}), RAW),
        "in Adobe's form for raw photos": (tiff(RGB, more={50706: (1, (1, 4, 0, 0))}), RAW),
    }
