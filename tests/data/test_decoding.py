import io
import random
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.io import decode_image

from cnnlab.data.decoding import UnreadablePicture, decode, to_rgb

NOISE = np.random.default_rng(0).integers(0, 255, (24, 32, 3), dtype=np.uint8)


def encoded(form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(NOISE).save(buffer, form, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(("form", "options"), [("PNG", {}), ("WEBP", {"lossless": True})])
def test_lossless_images_come_back_exactly(form: str, options: dict[str, object]) -> None:
    assert torch.equal(decode(encoded(form, **options)), torch.from_numpy(NOISE).permute(2, 0, 1))


def test_pillow_and_torchvision_agree_on_jpeg() -> None:
    content = encoded("JPEG")
    assert torch.equal(decode(content), to_rgb(Image.open(io.BytesIO(content))))
    assert torch.equal(decode(content), decode_image(torch.frombuffer(bytearray(content), dtype=torch.uint8)))


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "WEBP"])
def test_a_damaged_file_raises_and_never_ends_the_process(form: str) -> None:
    rng, content, refused = random.Random(0), encoded(form), 0
    for number in range(100):
        damaged = bytearray(content)
        if number % 2:
            del damaged[rng.randrange(8, len(damaged)) :]
        else:
            for _ in range(5):
                damaged[rng.randrange(len(damaged))] ^= rng.randrange(1, 256)
        try:
            assert decode(bytes(damaged)).dtype == torch.uint8
        except Exception:
            refused += 1
    assert refused >= 20


def test_a_small_file_that_claims_many_pixels_takes_no_memory() -> None:
    jpeg = bytearray(encoded("JPEG"))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", 65_000, 65_000)
    gif = bytearray(encoded("GIF"))
    gif[6:10] = struct.pack("<HH", 65_000, 65_000)
    for content in (bytes(jpeg), bytes(gif)):
        with pytest.raises(UnreadablePicture, match="more than 100,000,000 pixels"):
            decode(content)


def test_a_file_that_is_too_large_is_not_read_into_memory(tmp_path: Path) -> None:
    with (tmp_path / "video.png").open("wb") as file:
        file.truncate(10**12)  # takes no room on the disk
    with pytest.raises(UnreadablePicture, match="more than 1,000,000,000 bytes"):
        decode(tmp_path / "video.png")


def test_libraries_write_nothing_about_the_files(tmp_path: Path) -> None:
    """In a process of its own, because pytest changes the filters of warnings."""
    from tests.odd_files import odd_files  # here, because all tests of a file that imports it may be skipped

    for number, odd in enumerate(odd_files().values()):
        (tmp_path / f"{number:03}").write_bytes(odd.content)
    program = f"""
import warnings
from pathlib import Path
from cnnlab.data.decoding import UnreadablePicture, decode
warnings.simplefilter("always", append=True)
for path in sorted(Path({str(tmp_path)!r}).iterdir()):
    try:
        decode(path)
    except UnreadablePicture:
        pass
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr == ""
