import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cnnlab.data.decoding import to_rgb_square
from cnnlab.data.findings import Findings
from cnnlab.data.images import Images, load_images, stratified_split
from cnnlab.data.sources import FolderSource
from cnnlab.data.sources.base import RawImages, RawSplit


class ListSource:
    """Serve the given encoded images, both for training and for the test."""

    def __init__(self, *images: bytes, identity: str = "list"):
        self.images = images
        self.identity = identity

    def check(self) -> None:
        pass

    def count(self) -> int:
        return 2 * len(self.images)

    def files(self) -> list[tuple[str, int]]:
        return [(self.identity, 0)]

    def findings(self) -> Findings:
        return Findings()

    def read(self, lean: bool = False) -> RawImages:
        split = RawSplit(self.images, np.arange(len(self.images), dtype=np.int64) % 2)
        return RawImages(("a", "b"), split, split)


def encoded(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def png_16_bit(values: np.ndarray) -> bytes:
    """Return a PNG file of uint16 values (H, W, 3) or (H, W); Pillow cannot write one in colour."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    height, width = values.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 16, 2 if values.ndim == 3 else 0, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def decoded(tmp_path: Path, image: bytes, size: int = 32) -> np.ndarray:
    data = load_images(ListSource(image, image), size, tmp_path / "own_cache")
    pixels = data.train.pixels
    assert pixels.dtype == torch.uint8
    assert pixels.shape == (2, size, size, 3)
    return pixels[0].numpy()


@pytest.fixture
def rgb() -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, (32, 32, 3), dtype=np.uint8)


def test_colour_png_is_kept_exactly(tmp_path: Path, rgb: np.ndarray) -> None:
    assert np.array_equal(decoded(tmp_path, encoded(Image.fromarray(rgb))), rgb)


def test_grey_becomes_rgb(tmp_path: Path, rgb: np.ndarray) -> None:
    grey = rgb[..., 0]
    assert np.array_equal(decoded(tmp_path, encoded(Image.fromarray(grey))), np.stack([grey] * 3, axis=-1))


def test_transparency_is_dropped(tmp_path: Path, rgb: np.ndarray) -> None:
    image = Image.fromarray(rgb)
    image.putalpha(Image.fromarray(rgb[..., 0]))
    assert np.array_equal(decoded(tmp_path, encoded(image)), rgb)


def test_grey_with_transparency_becomes_rgb(tmp_path: Path, rgb: np.ndarray) -> None:
    image = Image.fromarray(rgb[..., 0])
    image.putalpha(Image.fromarray(rgb[..., 1]))
    assert np.array_equal(decoded(tmp_path, encoded(image)), np.stack([rgb[..., 0]] * 3, axis=-1))


def test_palette_becomes_rgb(tmp_path: Path, rgb: np.ndarray) -> None:
    image = Image.fromarray(rgb).convert("P")
    assert np.array_equal(decoded(tmp_path, encoded(image)), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("channels", [1, 3])
def test_16_bits_become_8(tmp_path: Path, rgb: np.ndarray, channels: int) -> None:
    values = rgb if channels == 3 else rgb[..., 0]
    expected = rgb if channels == 3 else np.stack([values] * 3, axis=-1)
    assert np.array_equal(decoded(tmp_path, png_16_bit(values.astype(np.uint16) * 257)), expected)


def test_jpeg_is_read(tmp_path: Path) -> None:
    flat = np.full((32, 32, 3), (200, 40, 90), np.uint8)
    for number, mode in enumerate(("RGB", "L", "CMYK")):
        image = Image.fromarray(flat).convert(mode)
        difference = decoded(tmp_path / str(number), encoded(image, "JPEG", quality=95)).astype(int)
        difference -= np.asarray(image.convert("RGB"))
        assert np.abs(difference).max() <= 4


def test_photo_is_turned_upright(tmp_path: Path) -> None:
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[:, :16] = 255  # bright on the left; orientation 6: the left is the top
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = decoded(tmp_path, encoded(Image.fromarray(pixels), "JPEG", exif=exif))
    assert upright[:14].min() > 200
    assert upright[18:].max() < 50


def test_an_animation_gives_its_first_frame(tmp_path: Path) -> None:
    black, white = (Image.fromarray(np.full((32, 32, 3), value, np.uint8)) for value in (0, 255))
    animation = encoded(black, "GIF", save_all=True, append_images=[white])
    assert decoded(tmp_path, animation).max() == 0


@pytest.mark.parametrize(("width", "height"), [(64, 48), (48, 64), (100, 33), (32, 90), (20, 30), (8, 8), (1, 5)])
def test_other_sizes_are_resized_by_the_shorter_side_and_cut(tmp_path: Path, width: int, height: int) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (height, width, 3), dtype=np.uint8)
    result = decoded(tmp_path, encoded(Image.fromarray(pixels)))
    scale = 32 / min(width, height)
    new_width, new_height = int(width * scale), int(height * scale)
    resized = Image.fromarray(pixels).resize((new_width, new_height), Image.Resampling.BILINEAR)
    left, top = round((new_width - 32) / 2), round((new_height - 32) / 2)
    expected = np.asarray(resized.crop((left, top, left + 32, top + 32)))
    assert np.abs(result.astype(int) - expected).max() <= 1


def test_images_of_different_sizes_get_one_size(tmp_path: Path) -> None:
    sizes = ((10, 20), (64, 64), (32, 32))
    images = [encoded(Image.fromarray(np.full((*size, 3), 7, np.uint8))) for size in sizes]
    data = load_images(ListSource(*images), 24, tmp_path / "own_cache")
    assert torch.equal(data.train.pixels, torch.full((3, 24, 24, 3), 7, dtype=torch.uint8))


def test_batch_and_single_image_are_treated_alike() -> None:
    images = torch.randint(0, 256, (5, 1, 40, 50), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    together = to_rgb_square(images, 32)
    assert together.shape == (5, 3, 32, 32)
    assert torch.equal(together, torch.stack([to_rgb_square(image, 32) for image in images]))


def test_take_keeps_the_order(class_folders: Path) -> None:
    images = load_images(FolderSource(class_folders), 32).train
    some = images.take(torch.tensor([7, 3]))
    assert len(some) == 2
    assert torch.equal(some.pixels[0], images.pixels[7])
    assert torch.equal(some.labels, images.labels[[7, 3]])


def test_stratified_split_takes_the_same_share_of_every_class() -> None:
    labels = torch.arange(4).repeat_interleave(torch.tensor([100, 50, 10, 30]))
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))]
    kept, away = stratified_split(labels, 0.1)
    assert labels[away].bincount().tolist() == [10, 5, 1, 3]
    assert torch.equal(torch.cat([kept, away]).sort().values, torch.arange(len(labels)))
    assert torch.equal(kept, kept.sort().values)
    assert torch.equal(away, away.sort().values)


def test_stratified_split_is_the_same_every_time_and_leaves_the_random_state_alone() -> None:
    labels = torch.arange(10).repeat(50)
    splits = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        splits.append(stratified_split(labels, 0.1)[1])
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(splits[0], splits[1])
    assert len(splits[0].unique()) == 50
    assert not torch.equal(splits[0], torch.arange(50))  # drawn at random, not the first images


def test_taking_stored_images_reads_nothing() -> None:
    items = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (10, 8, 8, 3), dtype=np.uint8))
    images = Images(items, torch.arange(10), torch.arange(10), size=8)
    part = images.take(torch.tensor([7, 3, 5])).take(torch.tensor([2, 0]))
    assert part.labels.tolist() == [5, 7]
    assert torch.equal(part.pixels, items[[5, 7]])


def test_an_earlier_cache_is_decoded_again(tmp_path: Path, rgb: np.ndarray, caplog) -> None:
    source = ListSource(*[encoded(Image.fromarray(rgb), "JPEG")] * 2)
    before = load_images(source, 32, tmp_path)
    (file,) = tmp_path.glob("*/meta.json")
    file.write_text(json.dumps({**json.loads(file.read_text()), "decoder": 2}))
    assert load_images(source, 32, tmp_path).fingerprint == before.fingerprint
    assert "of another version, so the images are decoded again" in caplog.text
    assert json.loads(file.read_text())["decoder"] > 2
