"""Training and prediction see the same pixels of every file, those that it shows, or refuse it with the same words."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from cnnlab.data.decoding import to_rgb_square
from cnnlab.data.images import load_images, streamed_images
from cnnlab.data.pictures import open_picture, read_pictures
from cnnlab.data.sources import find_source
from cnnlab.data.sources.base import FileSource, RawImages, RawSplit
from cnnlab.errors import RequestError
from tests.odd_files import odd_files

pytestmark = pytest.mark.filterwarnings("ignore")  # Pillow warns about files that it reads anyway

FILES = odd_files()
READ = [name for name, file in FILES.items() if file.pixels is not None]
REFUSED = [name for name in FILES if name not in READ]
SIZE = 8


@dataclass(frozen=True)
class Paths(FileSource):
    """Serve some files for training and for the test."""

    paths: tuple[Path, ...]
    form = "paths"

    def found(self) -> list[tuple[str, Path]]:
        return [(path.name, path) for path in self.paths]

    def count(self) -> int:
        return len(self.paths)

    def read(self, lean: bool = False) -> RawImages:
        split = RawSplit(self.paths, np.arange(len(self.paths)) % 2)
        return RawImages(("a", "b"), split, split)


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The files of the collection by name."""
    folder = tmp_path_factory.mktemp("odd")
    written = {name: folder / f"{number}{odd.suffix}" for number, (name, odd) in enumerate(FILES.items())}
    for name, path in written.items():
        path.write_bytes(FILES[name].content)
    return written


def differing(pixels: Iterable[torch.Tensor], expected: Iterable[torch.Tensor]) -> list[str]:
    """Names of the files that are read otherwise than expected."""
    return [name for name, read, wanted in zip(READ, pixels, expected, strict=True) if not torch.equal(read, wanted)]


def square(image: torch.Tensor) -> torch.Tensor:
    return to_rgb_square(image, SIZE).permute(1, 2, 0)


def test_the_collection_is_large_and_mixed() -> None:
    assert len(READ) >= 200
    assert len(REFUSED) >= 90


def test_training_and_prediction_see_the_pixels_that_a_file_shows(paths: dict[str, Path], tmp_path: Path) -> None:
    readable = tuple(paths[name] for name in READ)
    shown = [torch.from_numpy(np.array(FILES[name].pixels)).permute(2, 0, 1) for name in READ]
    assert not differing((open_picture(path).expand(3, -1, -1) for path in readable), shown)
    expected = [square(image) for image in shown]
    readings = list(read_pictures(readable, SIZE))
    assert not {name: reading.error for name, reading in zip(READ, readings, strict=True) if reading.error}
    assert not differing((reading.pixels for reading in readings if reading.pixels is not None), expected)
    assert not differing(load_images(Paths(readable), SIZE, tmp_path).train.pixels, expected)
    assert not differing(streamed_images(Paths(readable), SIZE).test.pixels, expected)


@pytest.mark.parametrize("name", REFUSED)
def test_training_and_prediction_refuse_a_file_in_the_same_words(
    name: str, paths: dict[str, Path], tmp_path: Path
) -> None:
    path = paths[name]
    (predicted,) = read_pictures([path], SIZE)
    assert predicted.pixels is None
    assert FILES[name].reason in predicted.error
    assert predicted.error.startswith(("it ", "its ")), "no words of a library"
    with pytest.raises(RequestError) as trained:
        load_images(Paths((path, path)), SIZE, tmp_path)
    assert f"{path}: {predicted.error}" in str(trained.value)


def test_images_inside_parquet_files_are_read_like_files(tmp_path: Path) -> None:
    contents = [FILES[name].content for name in READ]
    labels = pa.array([number % 2 for number in range(len(READ))])
    for split in ("train", "test"):
        pq.write_table(pa.table({"image": contents, "label": labels}), tmp_path / f"{split}.parquet")
    source = find_source(None, tmp_path)
    expected = [square(open_picture(content)) for content in contents]
    assert not differing(load_images(source, SIZE, tmp_path / "cache").train.pixels, expected)
    assert not differing(streamed_images(source, SIZE).test.pixels, expected)


def test_a_damaged_image_inside_a_parquet_file_is_named(tmp_path: Path) -> None:
    contents = [FILES[READ[0]].content, FILES["no image: HTML page"].content]
    pq.write_table(pa.table({"image": contents, "label": [0, 1]}), tmp_path / "train.parquet")
    pq.write_table(pa.table({"image": contents[:1], "label": [0]}), tmp_path / "test.parquet")
    with pytest.raises(RequestError, match="image 1 of the train split: it is an HTML page"):
        load_images(find_source(None, tmp_path), SIZE, tmp_path / "cache")
