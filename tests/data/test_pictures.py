import io
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cnnlab.data import pictures
from cnnlab.data.images import Images, load_images
from cnnlab.data.pictures import UnreadablePicture, open_picture, read_images, read_picture, read_pictures
from cnnlab.data.sources.base import RawImages, RawSplit, Source

pytestmark = pytest.mark.filterwarnings("ignore")  # Pillow warns about files that it reads anyway

NOISE = np.random.default_rng(2).integers(0, 256, (40, 52, 4), dtype=np.uint8)
RGB, GREY, ALPHA = NOISE[..., :3], NOISE[..., 0], NOISE[..., 3]
DEEP = np.random.default_rng(3).integers(0, 65536, (40, 52, 4), dtype=np.uint16)
ROWS, COLUMNS = np.mgrid[0:40, 0:52]
SMOOTH = np.stack([4 * COLUMNS, 6 * ROWS, 2 * (ROWS + COLUMNS)], axis=-1).astype(np.uint8)


def encoded(image: Image.Image | np.ndarray, form: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(buffer, form, **options)
    return buffer.getvalue()


def with_alpha(image: np.ndarray) -> Image.Image:
    transparent = Image.fromarray(image)
    transparent.putalpha(Image.fromarray(ALPHA))
    return transparent


def palette(colours: int) -> Image.Image:
    return Image.fromarray(RGB).convert("P", palette=Image.Palette.ADAPTIVE, colors=colours)


def png(width: int, height: int, depth: int, kind: int, rows: bytes) -> bytes:
    """Return a PNG file that Pillow cannot write; kind 0 is grey, 2 RGB, 4 and 6 the same with transparency."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def deep_png(channels: int) -> bytes:
    rows = b"".join(b"\0" + row[:, :channels].astype(">u2").tobytes() for row in DEEP)
    return png(52, 40, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], rows)


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def trained_on(image: bytes, size: int, tmp_path: Path) -> torch.Tensor:
    """Return the pixels that training sees."""

    class OneImage(Source):
        @property
        def identity(self) -> str:
            return "one image"

        def count(self) -> int:
            return 2

        def read(self, lean: bool = False) -> RawImages:
            split = RawSplit([image, image], np.array([0, 1]))
            return RawImages(("a", "b"), split, split)

    return load_images(OneImage(), size, tmp_path / "cache").train.pixels[0]


AS_TRAINED = {
    "grey": encoded(GREY),
    "grey of 1 bit": encoded(Image.fromarray(GREY).convert("1")),
    "grey of 2 bits": png(8, 40, 2, 0, (b"\0" + bytes([0b00011011, 0b11100100])) * 40),
    "grey of 16 bits": deep_png(1),
    "grey with transparency": encoded(with_alpha(GREY)),
    "grey with a transparent value": encoded(GREY, transparency=7),
    "grey of 16 bits with transparency": deep_png(2),
    "colour": encoded(RGB),
    "colour with transparency": encoded(with_alpha(RGB)),
    "colour with a transparent value": encoded(RGB, transparency=(1, 2, 3)),
    "colour of 16 bits": deep_png(3),
    "colour of 16 bits with transparency": deep_png(4),
    "palette": encoded(palette(256)),
    "palette of 4 bits": encoded(palette(16), bits=4),
    "palette with a transparent colour": encoded(palette(32), transparency=3),
    "palette with transparency": encoded(palette(32), transparency=bytes(range(0, 256, 8))),
    "JPEG": encoded(SMOOTH, "JPEG"),
    "JPEG of noise": encoded(RGB, "JPEG", quality=95, subsampling=0),
    "progressive JPEG": encoded(SMOOTH, "JPEG", progressive=True),
    "grey JPEG": encoded(GREY, "JPEG"),
    "CMYK JPEG": encoded(Image.fromarray(SMOOTH).convert("CMYK"), "JPEG"),
    "JPEG with damaged EXIF": encoded(SMOOTH, "JPEG", exif=b"Exif\0\0no such thing"),
    **{f"JPEG turned by {n}": encoded(SMOOTH, "JPEG", exif=turned(n)) for n in range(1, 9)},
    "PNG turned by 6": encoded(SMOOTH, exif=turned(6)),
}


@pytest.mark.parametrize("kind", AS_TRAINED)
def test_a_png_or_jpeg_file_is_read_as_training_reads_it(kind: str, tmp_path: Path) -> None:
    expected = trained_on(AS_TRAINED[kind], 24, tmp_path)
    read = read_picture(AS_TRAINED[kind], 24)
    assert read.dtype == torch.uint8
    assert torch.equal(read, expected)


@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("WEBP", {"lossless": True}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("PPM", {}),
        ("TGA", {}),
        ("JPEG2000", {}),
    ],
)
def test_other_formats_give_the_same_pixels(form: str, options: dict[str, Any]) -> None:
    assert np.array_equal(open_picture(encoded(RGB, form, **options)).permute(1, 2, 0).numpy(), RGB)


def test_the_first_frame_of_an_animation_is_read() -> None:
    frames = [palette(64), palette(8)]
    animation = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert np.array_equal(open_picture(animation).permute(1, 2, 0).numpy(), np.asarray(frames[0].convert("RGB")))


def test_a_webp_photo_is_turned_upright_and_loses_transparency() -> None:
    picture = encoded(with_alpha(SMOOTH), "WEBP", lossless=True, exact=True, exif=turned(6))
    assert np.array_equal(open_picture(picture).permute(1, 2, 0).numpy(), np.rot90(SMOOTH, -1))


def test_16_bits_of_a_tiff_become_8() -> None:
    assert np.array_equal(open_picture(encoded(DEEP[..., 0], "TIFF"))[0].numpy(), DEEP[..., 0] >> 8)


@pytest.mark.parametrize("image", [encoded(RGB)[:-300], encoded(SMOOTH, "JPEG")[:-100], b"", b"no image", b"\x89PNG"])
def test_a_damaged_file_is_refused(image: bytes) -> None:
    with pytest.raises(UnreadablePicture):
        read_picture(image, 8)


def test_damaged_files_are_read_or_refused() -> None:
    random = np.random.default_rng(0)
    for form in ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "ICO"):
        whole = encoded(RGB, form)
        for _ in range(40):
            broken = bytearray(whole[: random.integers(1, 2 * len(whole))])
            for place in random.integers(0, min(len(broken), 100), 3):
                broken[place] = random.integers(256)
            try:
                assert read_picture(bytes(broken), 8).shape == (8, 8, 3)
            except UnreadablePicture as error:
                assert str(error)


def test_a_small_file_that_claims_to_be_huge_is_refused() -> None:
    for side in (10_001, 100_000):
        with pytest.raises(UnreadablePicture, match="more than 100,000,000 pixels"):
            read_picture(png(side, side, 1, 0, b""), 8)


def test_a_picture_that_would_become_huge_is_refused() -> None:
    with pytest.raises(UnreadablePicture, match="9000 x 1 pixels are too long and narrow"):
        read_picture(np.zeros((1, 9000), np.uint8), 224)
    assert read_picture(np.zeros((1, 9000), np.uint8), 32).shape == (32, 32, 3)


def test_floats_without_a_known_white_are_refused() -> None:
    with pytest.raises(UnreadablePicture, match="floats"):
        read_picture(encoded(np.ones((4, 4), np.float32), "TIFF"), 8)


def test_formats_that_need_other_programs_are_not_read() -> None:
    with pytest.raises(UnreadablePicture, match="a drawing"):
        read_picture(encoded(RGB, "EPS"), 8)


def test_folders_and_pipes_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")  # opening it would wait forever
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    for name, message in (
        ("pipe.png", "not a file"),
        ("folder.png", "folder"),
        ("loop.png", "symbolic links"),
        ("gone.png", "No such file"),
        ("null\0.png", "null byte"),
    ):
        with pytest.raises(UnreadablePicture, match=message):
            read_picture(tmp_path / name, 8)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Drop the rights of root, who may read everything."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_file_without_permission_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "secret.png"
    file.write_bytes(encoded(RGB))
    file.chmod(0)
    with as_nobody(), pytest.raises(UnreadablePicture, match="Permission denied"):
        read_picture(file, 8)


def test_many_files_are_read_in_order_with_reasons_and_thumbnails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "CHUNK", 2)
    names = [f"{number}.png" for number in range(9)]
    for number, name in enumerate(names):
        (tmp_path / name).write_bytes(encoded(np.full((10, 20 + number), number, np.uint8)))
    (tmp_path / names[4]).write_text("no image")
    readings = list(read_pictures((tmp_path / name for name in names), 8, shown=3, thumbnail=16))
    assert [reading.name for reading in readings] == [str(tmp_path / name) for name in names]
    for number, reading in enumerate(readings):
        assert (reading.pixels is None) == bool(reading.error) == (number == 4)
        assert reading.pixels is None or torch.equal(reading.pixels, torch.full((8, 8, 3), number, dtype=torch.uint8))
    shapes = [None if reading.thumbnail is None else reading.thumbnail.shape for reading in readings]
    assert shapes == [(8, 16, 3), (7, 16, 3), (7, 16, 3), *[None] * 6]


def test_a_very_narrow_picture_has_a_thumbnail(tmp_path: Path) -> None:
    (tmp_path / "rule.png").write_bytes(encoded(np.zeros((1, 600), np.uint8)))
    (reading,) = read_pictures([tmp_path / "rule.png"], 8, shown=1)
    assert reading.thumbnail is not None
    assert reading.thumbnail.shape == (1, 576, 3)


def test_only_a_few_files_are_taken_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "available_cores", lambda: 2)
    (tmp_path / "a.png").write_bytes(encoded(RGB))
    taken = 0

    def paths() -> Iterator[Path]:
        nonlocal taken
        while True:
            taken += 1
            yield tmp_path / "a.png"

    readings = read_pictures(paths(), 8)
    for _ in range(100):
        next(readings)
    readings.close()  # pyright: ignore[reportAttributeAccessIssue]
    assert taken <= 100 + 6 * pictures.CHUNK


def test_images_of_a_data_set_are_read_with_their_labels() -> None:
    pixels = torch.arange(5, dtype=torch.uint8).view(5, 1, 1, 1).expand(5, 4, 4, 3).contiguous()
    readings = list(
        read_images(Images.decoded(pixels, torch.tensor([2, 0, 1, 1, 2])), "test", limit=4, shown=1, batch_size=3)
    )
    assert [(reading.name, reading.label) for reading in readings] == [
        ("test/0", 2),
        ("test/1", 0),
        ("test/2", 1),
        ("test/3", 1),
    ]
    assert all(
        torch.equal(reading.pixels, pixels[n]) for n, reading in enumerate(readings) if reading.pixels is not None
    )
    assert [reading.thumbnail is not None for reading in readings] == [True, False, False, False]
