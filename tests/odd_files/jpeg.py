"""Odd JPEG files."""

import struct

import numpy as np

from tests.odd_files.base import (
    DAMAGED,
    GREY,
    SMOOTH,
    TOO_LARGE,
    TRUNCATED,
    TURNS,
    OddFile,
    changed,
    encoded,
    exif,
    picture,
    shown,
    turn,
    xmp,
)

PLAIN = encoded(SMOOTH, "JPEG", quality=90)
UPRIGHT = shown(PLAIN)
LARGE = encoded(np.kron(SMOOTH, np.ones((20, 20, 1), np.uint8)), "JPEG", quality=95)
FRAME = PLAIN.index(b"\xff\xc0")  # the precision stands 4 behind it, the size 5, the sampling of the first plane 11
SCAN = PLAIN.index(b"\xff\xda")


def jpegs() -> dict[str, OddFile]:
    read = {**orientations(), **codings(), **damaged_but_whole()}
    return {
        **{f"JPEG {name}": OddFile(content, ".jpg", pixels) for name, (content, pixels) in read.items()},
        **{f"JPEG {name}": OddFile(content, ".jpg", None, reason) for name, (content, reason) in refused().items()},
    }


def segment(kind: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, kind, len(content) + 2) + content


def exif_segment(data: bytes) -> bytes:
    return segment(0xE1, b"Exif\0\0" + data)


def xmp_segment(data: bytes) -> bytes:
    return segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + data)


def adobe_segment(transform: int) -> bytes:
    return segment(0xEE, b"Adobe\0\x64\0\0\0\0" + bytes([transform]))


def inserted(*segments: bytes, jpeg: bytes = PLAIN) -> bytes:
    """The file with segments behind the first one, where cameras put them."""
    place = 4 + int.from_bytes(jpeg[4:6], "big")
    return jpeg[:place] + b"".join(segments) + jpeg[place:]


def without(kind: int, jpeg: bytes = PLAIN) -> bytes:
    """The file without segments of a kind."""
    kept, place = jpeg[:2], 2
    while jpeg[place + 1] != 0xDA:
        end = place + 2 + int.from_bytes(jpeg[place + 2 : place + 4], "big")
        kept += jpeg[place:end] if jpeg[place + 1] != kind else b""
        place = end
    return kept + jpeg[place:]


def orientations() -> dict[str, tuple[bytes, np.ndarray]]:
    six = turn(6)
    no_entry = b"MM\0*" + struct.pack(">IHI", 8, 0, 0)
    in_second_directory = b"MM\0*" + struct.pack(">IHI", 8, 0, 14) + six[8:]
    circle = b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0100, 3, 1, 5, 0, 8)
    too_many = b"MM\0*" + struct.pack(">IHHHIII", 8, 1, 0x0112, 3, 2**31, 6, 0)
    segments = {
        **{f"orientation {n}": (n, exif_segment(turn(n))) for n in TURNS},
        **{f"orientation {n}, little-endian": (n, exif_segment(turn(n, "<"))) for n in (3, 6)},
        **{f"orientation {n}, which does not exist": (1, exif_segment(turn(n))) for n in (0, 9, 65535)},
        "orientation as LONG": (6, exif_segment(exif(struct.pack(">I", 6), 4))),
        "orientation as LONG, little-endian": (8, exif_segment(exif(struct.pack("<I", 8), 4, endian="<"))),
        "orientation as BYTE": (6, exif_segment(exif(b"\6", 1))),
        "orientation as BYTE, little-endian": (8, exif_segment(exif(b"\x08", 1, endian="<"))),
        "orientation as FLOAT": (6, exif_segment(exif(struct.pack(">f", 6), 11))),
        "orientation as text": (1, exif_segment(exif(b"6\0", 2, 2))),
        "orientation twice in one entry": (6, exif_segment(exif(struct.pack(">HH", 6, 3), 3, 2))),
        "EXIF before XMP": (6, exif_segment(six) + xmp_segment(xmp(3))),
        "EXIF behind XMP": (6, xmp_segment(xmp(3)) + exif_segment(six)),
        "EXIF behind XMP without orientation": (6, xmp_segment(b"<x/>") + exif_segment(six)),
        "EXIF upright, XMP turned": (1, exif_segment(turn(1)) + xmp_segment(xmp(6))),
        "EXIF without orientation, XMP turned": (6, exif_segment(no_entry) + xmp_segment(xmp(6))),
        "XMP turned": (6, xmp_segment(xmp(6))),
        "XMP turned, as an element": (8, xmp_segment(xmp(8, as_element=True))),
        "XMP with an orientation that does not exist": (1, xmp_segment(xmp(9))),
        "EXIF behind a colour profile": (6, segment(0xE2, b"ICC_PROFILE\0\1\1" + bytes(200)) + exif_segment(six)),
        "EXIF behind another APP1": (6, segment(0xE1, b"something else") + exif_segment(six)),
        "EXIF behind a comment": (6, segment(0xFE, b"Exif\0\0") + exif_segment(six)),
        "EXIF behind padding": (6, b"\xff\xff\xff" + exif_segment(six)),
        "EXIF twice": (6, exif_segment(six) + exif_segment(turn(3))),
        "EXIF of its preview turned": (1, exif_segment(in_second_directory)),
        "EXIF that is garbage": (1, exif_segment(b"no such thing")),
        "EXIF that is empty": (1, exif_segment(b"")),
        "EXIF that is cut short": (1, exif_segment(six[:15])),
        "EXIF that ends within its entry": (1, exif_segment(six[:18])),
        "EXIF that points behind its end": (1, exif_segment(b"MM\0*\xff\xff\xff\xf0")),
        "EXIF that points to itself": (1, exif_segment(circle)),
        "EXIF with an entry of 4 GB": (1, exif_segment(too_many)),
        "EXIF name alone": (1, segment(0xE1, b"Exif")),
    }
    return {
        **{name: (inserted(content), TURNS[by](UPRIGHT)) for name, (by, content) in segments.items()},
        "EXIF in place of JFIF": (PLAIN[:2] + exif_segment(six) + PLAIN[20:], TURNS[6](UPRIGHT)),
        "EXIF before JFIF": (PLAIN[:2] + exif_segment(six) + PLAIN[2:], TURNS[6](UPRIGHT)),
        "EXIF right before the pixels": (PLAIN[:SCAN] + exif_segment(six) + PLAIN[SCAN:], TURNS[6](UPRIGHT)),
    }


def codings() -> dict[str, tuple[bytes, np.ndarray]]:
    ink = encoded(picture(SMOOTH).convert("CMYK"), "JPEG")
    in_rgb = encoded(SMOOTH, "JPEG", keep_rgb=True)
    files = {
        "grey": encoded(GREY, "JPEG"),
        "progressive": encoded(SMOOTH, "JPEG", progressive=True),
        "optimized": encoded(SMOOTH, "JPEG", optimize=True),
        "4:4:4": encoded(SMOOTH, "JPEG", subsampling=0),
        "4:2:2": encoded(SMOOTH, "JPEG", subsampling=1),
        "with restart markers": encoded(SMOOTH, "JPEG", restart_marker_blocks=1),
        "of quality 1": encoded(SMOOTH, "JPEG", quality=1),
        "of one pixel": encoded(SMOOTH[:1, :1], "JPEG"),
        "of one row": encoded(SMOOTH[:1], "JPEG"),
        "with a long comment": encoded(SMOOTH, "JPEG", comment=b"a" * 60_000, dpi=(300, 300)),
        "with a colour profile in parts": encoded(SMOOTH, "JPEG", icc_profile=bytes(100_000)),
        "without JFIF": without(0xE0),
        "without Huffman tables": without(0xC4),
        "of extended process": changed(PLAIN, FRAME + 1, b"\xc1"),
        "in RGB": in_rgb,
        "in RGB, without Adobe's marker": without(0xEE, in_rgb),
        "in YCbCr, with Adobe's marker": inserted(adobe_segment(1)),
        "said to be in RGB by Adobe's marker": inserted(adobe_segment(0)),
        "with an unknown transform": inserted(adobe_segment(9)),
        "grey with Adobe's marker": inserted(adobe_segment(0), jpeg=encoded(GREY, "JPEG")),
        "CMYK": ink,
        "CMYK without Adobe's marker": without(0xEE, ink),
        "YCCK": changed(ink, ink.index(b"\xff\xee") + 15, b"\2"),
        "of two pictures": encoded(SMOOTH, "MPO", save_all=True, append_images=[picture(SMOOTH[::-1])]),
    }
    return {name: (content, shown(content)) for name, content in files.items()}


def damaged_but_whole() -> dict[str, tuple[bytes, np.ndarray]]:
    middle = len(LARGE) // 2
    files = {
        "with garbage among its pixels": changed(LARGE, middle, b"\x12\x34\x56" * 5),
        "that claims more rows": changed(PLAIN, FRAME + 5, struct.pack(">H", 200)),
        "with garbage between its parts": PLAIN.replace(b"\xff\xdb", b"junk\xff\xdb", 1),
    }
    return {
        **{name: (content, shown(content)) for name, content in files.items()},
        "with garbage behind it": (PLAIN + b"garbage", UPRIGHT),
        "with zeros behind it": (PLAIN + bytes(1000), UPRIGHT),
        "with another one behind it": (PLAIN + LARGE, UPRIGHT),
    }


def refused() -> dict[str, tuple[bytes, str]]:
    progressive = encoded(shown(LARGE), "JPEG", progressive=True)
    unusual = f"{DAMAGED}, or of a kind of JPEG that is not read"
    return {
        "start alone": (PLAIN[:2], DAMAGED),
        "cut within its header": (PLAIN[:100], TRUNCATED),
        "cut before its pixels": (PLAIN[:SCAN], DAMAGED),
        "cut in half": (LARGE[: len(LARGE) // 2], f"it is truncated: the JPEG ends after {len(LARGE) // 2:,} bytes"),
        "cut in half, grey": (encoded(GREY, "JPEG")[:-40], TRUNCATED),
        "cut in half, progressive": (progressive[: len(progressive) // 2], TRUNCATED),
        "cut in half, turned": (inserted(exif_segment(turn(6)), jpeg=LARGE)[: len(LARGE) // 2], TRUNCATED),
        "without its end": (LARGE[:-2], TRUNCATED),
        "with zeros for its second half": (LARGE[: len(LARGE) // 2] + bytes(len(LARGE) // 2), TRUNCATED),
        "of 12 bits": (changed(PLAIN, FRAME + 4, b"\x0c"), unusual),
        "of 12 bits, turned": (inserted(exif_segment(turn(6)), jpeg=changed(PLAIN, FRAME + 4, b"\x0c")), unusual),
        "lossless": (changed(PLAIN, FRAME + 1, b"\xc3"), unusual),
        "hierarchical": (changed(PLAIN, FRAME + 1, b"\xc5"), unusual),
        "of no rows": (changed(PLAIN, FRAME + 5, b"\0\0"), unusual),
        "of no columns": (changed(PLAIN, FRAME + 7, b"\0\0"), unusual),
        "without quantization": (without(0xDB), unusual),
        "with two frames": (PLAIN[:SCAN] + PLAIN[FRAME:], unusual),
        "with sampling 0": (changed(PLAIN, FRAME + 11, b"\0"), unusual),
        "that claims many pixels": (changed(PLAIN, FRAME + 5, struct.pack(">HH", 65_000, 65_000)), TOO_LARGE),
        "that claims many pixels, turned": (
            inserted(exif_segment(turn(6)), jpeg=changed(PLAIN, FRAME + 5, struct.pack(">HH", 65_000, 2_000))),
            TOO_LARGE,
        ),
        "behind other bytes": (b"\0\1\2\3" + PLAIN, "it is not an image of a known format"),
    }
