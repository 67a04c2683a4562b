"""Odd files of other formats."""

import struct

import numpy as np
from PIL import features

from tests.odd_files.base import (
    ALPHA,
    DAMAGED,
    DEEP,
    GREY,
    HEIGHT,
    NOISE,
    RGB,
    SMOOTH,
    TOO_LARGE,
    TRUNCATED,
    TURNS,
    WIDTH,
    OddFile,
    black_and_white,
    changed,
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

FOUR = GREY >> 4
COLOURS = np.arange(64, dtype=np.uint8).reshape(16, 4) * 3  # blue, green, red, unused
Files = dict[str, tuple[bytes, np.ndarray | str]]  # content, and pixels or the reason why they are refused


def others() -> dict[str, OddFile]:
    collections = {
        ("GIF", ".gif"): gifs(),
        ("WebP", ".webp"): webps(),
        ("BMP", ".bmp"): bmps(),
        ("AVIF", ".avif"): avifs() if features.check("avif") else {},
        ("PNM", ".ppm"): netpbm(),
        ("other", ".bin"): rare(),
        ("misnamed", ".jpg"): misnamed(),
    }
    return {
        f"{kind} {name}": OddFile(content, suffix, reason=result)
        if isinstance(result, str)
        else OddFile(content, suffix, result)
        for (kind, suffix), files in collections.items()
        for name, (content, result) in files.items()
    }


def gifs() -> Files:
    first, second = palette(16), picture(RGB[::-1]).convert("P")
    plain, pixels = encoded(first, "GIF"), shown(first)
    wider = changed(plain, 6, struct.pack("<HH", WIDTH + 6, HEIGHT + 6))
    return {
        "plain": (plain, pixels),
        "interlaced": (encoded(first, "GIF", interlace=1), pixels),
        "with a transparent colour": (encoded(first, "GIF", transparency=3), pixels),
        "animated": (encoded(first, "GIF", save_all=True, append_images=[second], duration=50), pixels),
        "with a comment": (encoded(first, "GIF", comment=b"x" * 300), pixels),
        "of 1987": (changed(plain, 0, b"GIF87a"), pixels),
        "of greys": (encoded(GREY, "GIF"), grey(GREY)),
        "of two colours": (encoded(black_and_white(), "GIF"), shown(black_and_white())),
        "smaller than its canvas": (wider, shown(wider)),
        "with garbage behind it": (plain + b"garbage", pixels),
        "without its end": (plain[:-1], pixels),
        "header alone": (plain[:10], DAMAGED),
        "cut short": (plain[: len(plain) * 2 // 3], TRUNCATED),
        "without a picture": (plain[: 13 + 3 * 16] + b";", DAMAGED),
        "that claims many pixels": (changed(plain, 6, struct.pack("<HH", 65_000, 65_000)), TOO_LARGE),
    }


def webps() -> Files:
    exact = {"lossless": True, "exact": True}
    plain, lossy = encoded(RGB, "WEBP", **exact), encoded(SMOOTH, "WEBP")
    frames = {"save_all": True, "append_images": [picture(RGB[::-1])], **exact}
    lossy_alpha = encoded(with_alpha(SMOOTH), "WEBP", exact=True)
    return {
        "lossless": (plain, RGB),
        "lossy": (lossy, shown(lossy)),
        "with alpha": (encoded(with_alpha(RGB), "WEBP", **exact), RGB),
        "with alpha, lossy": (lossy_alpha, shown(lossy_alpha)),
        "animated": (encoded(RGB, "WEBP", **frames), RGB),
        "animated, with alpha": (encoded(with_alpha(RGB), "WEBP", **frames), RGB),
        **{
            f"orientation {n}": (encoded(RGB, "WEBP", exif=b"Exif\0\0" + turn(n), **exact), TURNS[n](RGB))
            for n in TURNS
        },
        "orientation, without EXIF's name": (encoded(RGB, "WEBP", exif=turn(6, "<"), **exact), TURNS[6](RGB)),
        "orientation of XMP": (encoded(RGB, "WEBP", xmp=xmp(6), **exact), TURNS[6](RGB)),
        "with EXIF that is garbage": (encoded(RGB, "WEBP", exif=b"garbage", **exact), RGB),
        "with a colour profile": (encoded(RGB, "WEBP", icc_profile=bytes(200), **exact), RGB),
        "with garbage behind it": (plain + b"garbage", RGB),
        "header alone": (plain[:12], TRUNCATED),
        "cut short": (plain[:-60], f"it is truncated: the WebP ends after {len(plain) - 60} bytes"),
        "cut short, lossy": (lossy[: len(lossy) // 2], TRUNCATED),
        "with other pixels than it says": (plain[:12] + b"VP8?" + plain[16:], DAMAGED),
    }


def bmp(
    bits: int, rows: bytes, colours: bytes = b"", compression: int = 0, width: int = WIDTH, height: int = HEIGHT
) -> bytes:
    """A file with rows from the bottom, or from the top if the height is negative."""
    offset = 14 + 40 + len(colours)
    counts = (compression, len(rows), 0, 0, len(colours) // 4, 0)
    about = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, *counts)
    return b"BM" + struct.pack("<IHHI", offset + len(rows), 0, 0, offset) + about + colours + rows


def padded(rows: np.ndarray) -> np.ndarray:
    flat = rows.reshape(len(rows), -1)
    return np.pad(flat, ((0, 0), (0, -flat.shape[1] % 4)))


def bmps() -> Files:
    plain, bgr = encoded(RGB, "BMP"), padded(RGB[..., ::-1])
    shown_colours = COLOURS[FOUR][..., 2::-1]
    runs = b"".join(b"".join(bytes([1, value]) for value in row) + b"\0\0" for row in FOUR[::-1]) + b"\0\1"
    of_1987 = struct.pack("<IHHI", 26 + bgr.size, 0, 0, 26) + struct.pack("<IHHHH", 12, WIDTH, HEIGHT, 1, 24)
    five_bits = RGB.astype(np.uint16) >> 3
    sixteen = five_bits[..., 0] << 10 | five_bits[..., 1] << 5 | five_bits[..., 2]
    return {
        "of 24 bits": (plain, RGB),
        "from the top": (bmp(24, bgr.tobytes(), height=-HEIGHT), RGB),
        "from the bottom": (bmp(24, bgr[::-1].tobytes()), RGB),
        "of 32 bits": (bmp(32, np.dstack([RGB[..., ::-1], ALPHA])[::-1].tobytes()), RGB),
        "of 32 bits, unused ones zero": (bmp(32, np.dstack([RGB[..., ::-1], 0 * ALPHA])[::-1].tobytes()), RGB),
        "with alpha": (encoded(with_alpha(RGB), "BMP"), RGB),
        "of 16 bits": (
            bmp(16, padded(sixteen.view(np.uint8))[::-1].tobytes()),
            (five_bits * 255 // 31).astype(np.uint8),
        ),
        "of 8 bits": (bmp(8, padded(FOUR)[::-1].tobytes(), COLOURS.tobytes()), shown_colours),
        "of 8 bits, in runs": (bmp(8, runs, COLOURS.tobytes(), 1), shown_colours),
        "of 4 bits": (
            bmp(4, padded(FOUR[:, ::2] << 4 | FOUR[:, 1::2])[::-1].tobytes(), COLOURS.tobytes()),
            shown_colours,
        ),
        "of 1 bit": (encoded(black_and_white(), "BMP"), shown(black_and_white())),
        "of greys": (encoded(GREY, "BMP"), grey(GREY)),
        "of 1987": (b"BM" + of_1987 + bgr[::-1].tobytes(), RGB),
        "with garbage behind it": (plain + b"garbage", RGB),
        "header alone": (plain[:30], TRUNCATED),
        "cut short": (plain[:200], "it is truncated: the BMP ends after 200 bytes"),
        "of no columns": (bmp(24, b"", width=0), DAMAGED),
        "with JPEG inside": (bmp(0, bytes(50), compression=4), DAMAGED),
        "that claims many pixels": (bmp(24, b"", width=65_000, height=65_000), TOO_LARGE),
    }


def avifs() -> Files:
    plain = encoded(SMOOTH, "AVIF", quality=100)
    pixels = shown(plain)
    transparent, animated = (
        encoded(with_alpha(SMOOTH), "AVIF", quality=100),
        encoded(SMOOTH, "AVIF", quality=100, save_all=True, append_images=[picture(SMOOTH[::-1])]),
    )
    return {
        "plain": (plain, pixels),
        **{
            f"orientation {n}": (encoded(SMOOTH, "AVIF", quality=100, exif=b"Exif\0\0" + turn(n)), TURNS[n](pixels))
            for n in TURNS
        },
        "with alpha": (transparent, shown(transparent)),
        "animated": (animated, shown(animated)),
        "of greys": (encoded(GREY, "AVIF", quality=100), shown(encoded(GREY, "AVIF", quality=100))),
        "with garbage behind it": (plain + b"garbage", pixels),
        "header alone": (plain[:40], DAMAGED),
        "cut short": (plain[:-40], TRUNCATED),
    }


def netpbm() -> Files:
    size, deep = b"%d %d" % (WIDTH, HEIGHT), DEEP[..., 0]
    text = " ".join(str(value) for value in RGB.ravel()).encode()
    scaled = np.round(DEEP[..., :3] / 65535 * 255).astype(np.uint8)
    return {
        "of colour": (encoded(RGB, "PPM"), RGB),
        "of colour, 16 bits": (b"P6 " + size + b" 65535\n" + DEEP[..., :3].astype(">u2").tobytes(), scaled),
        "of colour, as text": (b"P3\n# a comment\n" + size + b"\n255\n" + text, RGB),
        "of grey": (encoded(GREY, "PPM"), grey(GREY)),
        "of grey, 4 bits": (b"P5 " + size + b" 15\n" + FOUR.tobytes(), grey(FOUR * 17)),
        "of grey, 16 bits": (b"P5 " + size + b" 65535\n" + deep.astype(">u2").tobytes(), grey(upper(deep))),
        "of 1 bit": (encoded(black_and_white(), "PPM"), shown(black_and_white())),
        "of floats": (encoded(GREY.astype(np.float32), "PPM"), "the value of white is unknown"),
        "cut short": (encoded(RGB, "PPM")[:100], TRUNCATED),
    }


def psd(depth: int, mode: int, data: bytes, channels: int = 3) -> bytes:
    return b"8BPS" + struct.pack(">H6xHIIHH", 1, channels, HEIGHT, WIDTH, depth, mode) + bytes(12) + data


def rare() -> Files:
    bits = shown(black_and_white())
    photoshop = psd(8, 3, bytes(2) + RGB.transpose(2, 0, 1).tobytes())
    return {
        "TGA": (encoded(RGB, "TGA"), RGB),
        "TGA in runs": (encoded(RGB, "TGA", compression="tga_rle"), RGB),
        "TGA with alpha": (encoded(with_alpha(RGB), "TGA"), RGB),
        "TGA of grey": (encoded(GREY, "TGA"), grey(GREY)),
        "PCX": (encoded(RGB, "PCX"), RGB),
        "PCX cut short": (encoded(RGB, "PCX")[:300], TRUNCATED),
        "SGI": (encoded(RGB, "SGI"), RGB),
        "ICO": (encoded(NOISE, "ICO", sizes=[(WIDTH, HEIGHT)]), RGB),
        "ICO with BMP inside": (encoded(RGB, "ICO", sizes=[(WIDTH, HEIGHT)], bitmap_format="bmp"), RGB),
        "JPEG 2000": (encoded(RGB, "JPEG2000"), RGB),
        "JPEG 2000 with alpha": (encoded(with_alpha(RGB), "JPEG2000"), RGB),
        "JPEG 2000 of 16 bits": (encoded(DEEP[..., 0], "JPEG2000"), grey(upper(DEEP[..., 0]))),
        "JPEG 2000 without its box": (encoded(RGB, "JPEG2000", no_jp2=True), RGB),
        "JPEG 2000 cut short": (encoded(RGB, "JPEG2000")[:200], DAMAGED),
        "DDS": (encoded(with_alpha(RGB), "DDS"), RGB),
        "XBM": (encoded(black_and_white(), "XBM"), bits),
        "Photoshop": (photoshop, RGB),
        "Photoshop, header alone": (photoshop[:30], "a kind of Photoshop file that is not read"),
        "Photoshop of 16 bits": (psd(16, 3, bytes(1000)), "a kind of Photoshop file that is not read"),
    }


def misnamed() -> Files:
    gif, webp = encoded(palette(16), "GIF"), encoded(RGB, "WEBP", lossless=True)
    return {
        "PNG": (encoded(RGB, "PNG"), RGB),
        "PNG, turned": (encoded(RGB, "PNG", exif=turn(6)), TURNS[6](RGB)),
        "GIF": (gif, shown(palette(16))),
        "BMP": (encoded(RGB, "BMP"), RGB),
        "TIFF": (encoded(RGB, "TIFF"), RGB),
        "WebP": (webp, RGB),
        "Photoshop": (psd(8, 3, bytes(2) + RGB.transpose(2, 0, 1).tobytes()), RGB),
    }
