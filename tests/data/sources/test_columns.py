"""Test that tables are read the same whatever the types of their columns are and wherever the images are kept."""

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from cnnlab.data.images import Placement, load_images, read_for, streamed_images
from cnnlab.data.sources import find_source
from cnnlab.errors import RequestError

PIXELS = np.random.default_rng(0).integers(0, 256, (24, 8, 8, 3), dtype=np.uint8)
NUMBERS = [number % 3 for number in range(24)]
NAMES = ["cat", "dog", "owl"]
TEXTS = [NAMES[number] for number in NUMBERS]
IMAGE, CLASS_LABEL = {"_type": "Image"}, {"_type": "ClassLabel", "names": NAMES}


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


PNGS = [png(pixels) for pixels in PIXELS]
STRUCTS = pa.array([{"bytes": content, "path": f"{number}.png"} for number, content in enumerate(PNGS)])
HASHES = [os.urandom(32) for _ in PNGS]
SOUNDS = pa.array([{"bytes": b"RIFF" + bytes(40), "path": "a.wav"}] * 24)


class Extension(pa.ExtensionType):
    """A type of somebody's own."""

    def __init__(self, storage: pa.DataType):
        super().__init__(storage, "somebody.own")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage: pa.DataType, serialized: bytes) -> "Extension":
        return cls(storage)


def table(image: Any = STRUCTS, label: Any = None, features: dict[str, Any] | None = None, **others: Any) -> pa.Table:
    made = pa.table({**others, "image": image, "label": NUMBERS if label is None else label})
    return made.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features or {}}})})


def extended(values: pa.Array) -> pa.Array:
    return pa.ExtensionArray.from_storage(Extension(values.type), values)


def written(folder: Path, *shards: pa.Table, rows: int = 7) -> Path:
    folder.mkdir(exist_ok=True)
    for number, shard in enumerate(shards):
        pq.write_table(shard, folder / f"train-{number:05}.parquet", row_group_size=rows)
    return folder


def by_image(folder: Path, placement: Placement, cache: Path, **columns: Any) -> list[str]:
    """Return the name of the class of each of the 24 images."""
    data = read_for(placement, find_source(None, folder, None, **columns), 8, cache, "stop")
    found = {}
    for split in (data.train, data.test):
        for pixels, label in zip(split.pixels, split.labels.tolist(), strict=True):
            found[pixels.numpy().tobytes()] = data.classes[label]
    return [found[pixels.tobytes()] for pixels in PIXELS]


@pytest.fixture(params=["device", "host", "stream"])
def read(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., list[str]]:
    """The class of each image, read for one of the residences."""
    return lambda *shards, rows=7, **columns: by_image(
        written(tmp_path / "data", *shards, rows=rows), request.param, tmp_path / "cache", **columns
    )


INTEGERS = (pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64())
AS_NUMBERS = {
    **{str(kind): pa.array(NUMBERS, kind) for kind in (*INTEGERS, pa.float32(), pa.float64(), pa.decimal128(9, 0))},
    "dictionary of int64": pa.array(NUMBERS).dictionary_encode(),
    "extension": extended(pa.array(NUMBERS, pa.int16())),
}
OWL_FIRST = pa.DictionaryArray.from_arrays(pa.array([2 - n for n in NUMBERS], pa.int8()), pa.array(NAMES[::-1]))
AS_TEXTS = {
    **{str(kind): pa.array(TEXTS, kind) for kind in (pa.string(), pa.large_string(), pa.string_view())},
    "dictionary of string": pa.array(TEXTS).dictionary_encode(),
    "dictionary in another order": OWL_FIRST,
    "dictionary with a value that does not occur": OWL_FIRST.cast(pa.dictionary(pa.int32(), pa.string())),
}


@pytest.mark.parametrize("label", AS_NUMBERS.values(), ids=AS_NUMBERS.keys())
def test_numbers_of_any_type_are_classes(read, label: pa.Array) -> None:
    assert read(table(label=label)) == [str(number) for number in NUMBERS]


@pytest.mark.parametrize("label", AS_TEXTS.values(), ids=AS_TEXTS.keys())
def test_texts_of_any_type_are_classes(read, label: pa.Array) -> None:
    assert read(table(label=label)) == TEXTS


def test_booleans_are_classes(read) -> None:
    assert read(table(label=[number == 1 for number in NUMBERS])) == [str(n == 1).lower() for n in NUMBERS]


def test_names_of_class_labels_are_classes_even_of_small_integers(read) -> None:
    features = {"image": IMAGE, "label": CLASS_LABEL}
    assert read(table(label=pa.array(NUMBERS, pa.int8()), features=features)) == TEXTS


AS_IMAGES = {
    **{str(kind): pa.array(PNGS, kind) for kind in (pa.binary(), pa.large_binary(), pa.binary_view())},
    "dictionary of binary": pa.array(PNGS).dictionary_encode(),
    "extension": extended(pa.array(PNGS)),
    "struct without path": pa.array([{"bytes": content} for content in PNGS]),
    "struct with more": pa.array([{"width": 8, "path": "x", "bytes": content} for content in PNGS]),
    "struct of large types": STRUCTS.cast(pa.struct([("bytes", pa.large_binary()), ("path", pa.large_string())])),
    "chunks": pa.chunked_array([STRUCTS[:5], STRUCTS[5:5], STRUCTS[5:]]),
}


@pytest.mark.parametrize("image", AS_IMAGES.values(), ids=AS_IMAGES.keys())
def test_encoded_images_of_any_type_are_read(read, image: Any) -> None:
    assert read(table(image)) == [str(number) for number in NUMBERS]


@pytest.mark.parametrize("rows", [1, 5, 1000])
def test_row_groups_of_any_size_are_read(read, rows: int) -> None:
    assert read(table(label=TEXTS), rows=rows) == TEXTS


FIRST, SECOND = table(label=TEXTS).slice(0, 10), table(label=TEXTS).slice(10)
SHARDS = {
    "other order of columns": (FIRST, SECOND.select(["label", "image"])),
    "another column more": (FIRST, SECOND.append_column("more", [range(14)])),
    "texts and a dictionary": (FIRST, SECOND.set_column(1, "label", SECOND["label"].dictionary_encode())),
    "structs and bytes": (FIRST, SECOND.set_column(0, "image", [pa.array(PNGS[10:])])),
    "an empty shard first": (FIRST.slice(0, 0), FIRST, SECOND),
    "an empty shard without types": (pa.table({"image": pa.nulls(0), "label": pa.nulls(0)}), FIRST, SECOND),
    "an empty shard last": (FIRST, SECOND, FIRST.slice(0, 0)),
}


@pytest.mark.parametrize("shards", SHARDS.values(), ids=SHARDS.keys())
def test_shards_may_differ_in_columns_and_types(read, shards: tuple[pa.Table, ...]) -> None:
    assert read(*shards) == TEXTS


def test_shards_may_differ_in_the_width_of_numbers(read) -> None:
    widths = [table(label=pa.array(NUMBERS, kind)) for kind in (pa.int32(), pa.uint64())]
    assert read(widths[0].slice(0, 10), widths[1].slice(10)) == [str(number) for number in NUMBERS]


OTHER_COLUMNS = {
    "a hash": {"hash": HASHES},
    "a hash of fixed size": {"hash": pa.array(HASHES, pa.binary(32))},
    "a mask": {"mask": STRUCTS},
    "a segmentation": {"image_segmentation": STRUCTS},
    "sounds": {"sound": SOUNDS},
    "an index": {"__index_level_0__": range(24)},
    "id and year": {"image_id": range(24), "year": [2001 + number for number in NUMBERS]},
    "texts": {"caption": [f"picture {number}" for number in range(24)]},
    "lists": {"boxes": [[1, 2]] * 24},
}


@pytest.mark.parametrize("others", OTHER_COLUMNS.values(), ids=OTHER_COLUMNS.keys())
def test_other_columns_are_taken_neither_for_images_nor_for_labels(read, others: dict[str, Any]) -> None:
    assert read(table(label=TEXTS, **others)) == TEXTS


def test_of_columns_noted_as_images_masks_are_none(read) -> None:
    features = {"mask": IMAGE, "image": IMAGE, "sound": {"_type": "Audio"}, "label": CLASS_LABEL}
    assert read(table(features=features, mask=STRUCTS, sound=SOUNDS)) == TEXTS


def test_class_labels_win_over_usual_names(read) -> None:
    features = {"image": IMAGE, "species": CLASS_LABEL}
    assert read(table(label=[0] * 23 + [1], features=features, species=NUMBERS)) == TEXTS


def test_images_and_labels_are_chosen_by_key(read) -> None:
    shown = table(label=[0] * 23 + [1], thumbnail=STRUCTS, kind=TEXTS)
    assert read(shown, image_column="thumbnail", label_column="kind") == TEXTS


def test_paths_of_images_start_at_the_file(read, tmp_path: Path) -> None:
    (tmp_path / "data" / "files").mkdir(parents=True)
    for number, content in enumerate(PNGS):
        (tmp_path / "data" / "files" / f"{number}.png").write_bytes(content)
    paths = pa.array([{"bytes": None, "path": f"files/{number}.png"} for number in range(24)], STRUCTS.type)
    assert read(table(paths, TEXTS)) == TEXTS


TWO = {"fine_label": NUMBERS, "coarse_label": NUMBERS}
REFUSED = {
    "two columns of images": (
        table(thumbnail=STRUCTS),
        "holds the images, thumbnail or image? Choose with data.image_column",
    ),
    "fine and coarse": (
        pa.table({"image": STRUCTS, **TWO}),
        "holds the classes, fine_label or coarse_label? Choose with data.label_column=fine_label",
    ),
    "label and class": (table().append_column("class", [TEXTS]), "which column holds the classes, label or class?"),
    "an unusual name": (
        pa.table({"image": STRUCTS, "id": range(24), "digit": NUMBERS}),
        "which column holds the classes, id or digit? Choose with data.label_column=digit",
    ),
    "years and ids only": (pa.table({"image": STRUCTS, "year": NUMBERS, "id": range(24)}), "needs a column of classes"),
    "masks only": (table().rename_columns(["mask", "label"]), "mask looks like masks"),
    "hashes only": (table(HASHES), "is image the column of images? Then choose it: data.image_column=image"),
    "pixels as lists": (table([[1, 2, 3]] * 24), "needs a column of images, and none is recognized"),
    "labels as lists": (table(label=[[1]] * 24), "needs a column of classes, and none is recognized"),
    "no labels": (table(label=pa.nulls(24)), "label (null)"),
    "two columns of one name": (
        pa.Table.from_arrays([STRUCTS, pa.array(NUMBERS), pa.array(NUMBERS)], ["image", "label", "label"]),
        "has 2 columns called label",
    ),
    "a null label": (table(label=[None, *NUMBERS[1:]]), "has no label (null, -1 or an empty text) for 1 of 24 train"),
    "-1 among labels": (table(label=[-1, -1, *NUMBERS[2:]]), "no label (null, -1 or an empty text) for 2 of 24 train"),
    "an empty text": (table(label=["", *TEXTS[1:]]), "no label (null, -1 or an empty text) for 1 of 24 train images"),
    "NaN": (table(label=[float("nan"), *map(float, NUMBERS[1:])]), "no label (null, -1 or an empty text) for 1 of 24"),
    "-3": (table(label=[-3, *NUMBERS[1:]]), "holds -3; class numbers are 0 or more"),
    "fractions": (table(label=[number + 0.5 for number in NUMBERS]), "holds fractions, not class numbers"),
    "times": (table(label=[2_009_123_456 + number for number in NUMBERS]), "class numbers are below 100,000"),
    "more than int64": (table(label=pa.array([2**63 + n for n in NUMBERS], pa.uint64())), "class numbers are below"),
    "an image missing": (
        table(pa.array([None, *STRUCTS.to_pylist()[1:]])),
        "of image in the train split without an image: 1",
    ),
    "an unknown class": (table(label=[3, *NUMBERS[1:]], features={"label": CLASS_LABEL}), "class numbers from 0 to 2"),
}


@pytest.mark.parametrize(("shown", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_unclear_is_refused_by_every_residence(read, shown: pa.Table, words: str, tmp_path: Path) -> None:
    with pytest.raises(RequestError) as caught:
        read(shown)
    assert words in str(caught.value)
    assert str(tmp_path / "data" / "train-00000.parquet") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (SECOND.drop_columns(["label"]), "has no column label"),
        (SECOND.set_column(1, "label", [NUMBERS[10:]]), "has int64 in the column label"),
        (SECOND.set_column(0, "image", [TEXTS[10:]]), "has no encoded images in the column image"),
    ],
    ids=["no labels", "other labels", "no images"],
)
def test_shards_that_do_not_fit_are_named_by_every_residence(read, other: pa.Table, words: str) -> None:
    with pytest.raises(RequestError, match=rf"train-00001\.parquet {words}"):
        read(FIRST, other)


@pytest.mark.parametrize(("key", "name"), [("image_column", "picture"), ("label_column", "labels")])
def test_a_column_that_is_not_there_is_named(tmp_path: Path, key: str, name: str) -> None:
    with pytest.raises(RequestError, match=rf"has no column {name} \(data\.{key}\); (did you mean|known)"):
        by_image(written(tmp_path / "data", table()), "stream", tmp_path, **{key: name})


def test_a_column_of_another_type_is_not_read_as_images(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"column label \(data\.image_column\) holds int64, not encoded images"):
        by_image(written(tmp_path / "data", table()), "stream", tmp_path, image_column="label")


@pytest.mark.parametrize(
    ("numbers", "remark"),
    [
        ([n + 1 for n in NUMBERS], "labels are the numbers 1 to 3, and each that occurs is a class"),
        ([n * 5 for n in NUMBERS], "labels are the numbers 0 to 10 with gaps, and each that occurs is a class"),
    ],
    ids=["from 1", "gaps"],
)
def test_labels_that_do_not_count_from_zero_are_told(tmp_path: Path, numbers: list[int], remark: str) -> None:
    data = streamed_images(find_source(None, written(tmp_path / "data", table(label=numbers))), 8)
    assert data.classes == tuple(str(number) for number in sorted(set(numbers)))
    assert data.train.labels.bincount().tolist() == [7, 7, 7]
    assert data.findings.remarks == (remark,)


def test_what_was_read_is_told(tmp_path: Path) -> None:
    folder = written(tmp_path / "data", FIRST, SECOND)
    for name in ("validation", "test"):
        pq.write_table(FIRST, folder / f"{name}.parquet")
    (folder / "notes").mkdir()
    pq.write_table(FIRST, folder / "notes" / "more.parquet")
    findings = find_source(None, folder).findings()
    assert findings.places == "the columns image and label of 4 parquet files"
    assert findings.ignored == {"other parquet files": 1}


@pytest.mark.parametrize("load", [load_images, streamed_images], ids=["decoded", "stream"])
def test_a_validation_split_chooses_the_epoch_if_there_is_a_test_split(tmp_path: Path, load) -> None:
    folder = written(tmp_path / "data", SECOND)
    pq.write_table(FIRST.slice(0, 6), folder / "validation.parquet")
    pq.write_table(FIRST.slice(6), folder / "test.parquet")
    data = load(find_source(None, folder), 8)
    assert (len(data.train), data.validation, len(data.test)) == (20, 6, 4)
    assert torch.equal(data.train.pixels[-6:], torch.from_numpy(PIXELS[:6]))
    assert torch.equal(data.train.pixels[0], torch.from_numpy(PIXELS[10]))


def test_without_labels_for_test_a_part_of_the_training_images_tests(tmp_path: Path) -> None:
    folder = written(tmp_path / "data", FIRST, SECOND)
    pq.write_table(FIRST.drop_columns(["label"]), folder / "test.parquet")
    data = streamed_images(find_source(None, folder), 8)
    assert len(data.train) + len(data.test) == 24
    assert data.findings.remarks == ("test has no labels, so a part of train is the test split",)
    assert data.findings.ignored == {"test images": 10}


def test_a_copy_for_streaming_is_made_once_and_belongs_to_the_files(tmp_path: Path) -> None:
    folder = written(tmp_path / "data", table(label=TEXTS))
    for _ in range(2):
        assert by_image(folder, "stream", tmp_path) == TEXTS
    copies = tmp_path / "hf_home" / "datasets" / "cnnlab"
    assert len(list(copies.glob("*.arrow"))) == 1
    assert not list(copies.glob(".writing*"))
    pq.write_table(table(label=TEXTS[::-1]).slice(0, 24), folder / "train-00000.parquet")
    assert by_image(folder, "stream", tmp_path) == TEXTS[::-1]


def test_other_columns_of_the_same_files_have_another_cache(tmp_path: Path) -> None:
    folder = written(tmp_path / "data", table(label=TEXTS, other=[text.upper() for text in TEXTS]))
    for _ in range(2):
        assert by_image(folder, "device", tmp_path / "cache") == TEXTS
        assert by_image(folder, "device", tmp_path / "cache", label_column="other")[:2] == ["CAT", "DOG"]
    plain, chosen = (streamed_images(find_source(None, folder, label_column=name), 8) for name in (None, "other"))
    assert plain.fingerprint != chosen.fingerprint
    assert torch.equal(plain.train.pixels, chosen.train.pixels)
