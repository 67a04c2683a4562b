"""Read images from parquet files and Arrow tables."""

import glob
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from cnnlab.data.sources.base import Columns, FileSource, RawImages, RawSplit
from cnnlab.errors import RequestError
from cnnlab.instantiate import first_line

if TYPE_CHECKING:
    import pyarrow

T = TypeVar("T")
LABELS = ("label", "labels", "class", "target", "fine_label")  # usual names of a column of class numbers
MOST_CLASSES = 100_000


@dataclass(frozen=True)
class ParquetSource(FileSource):
    """Read parquet files as on the Hugging Face Hub: a column of encoded images and a column of class numbers."""

    train: tuple[Path, ...]
    test: tuple[Path, ...]
    columns: Columns = Columns()

    form = "parquet"

    def found(self) -> list[tuple[str, Path]]:
        return [(file.name, file) for file in (*self.train, *self.test)]

    def count(self) -> int:
        from pyarrow.parquet import read_metadata

        return sum(_read(read_metadata, file).num_rows for _, file in self.found())

    def read(self, lean: bool = False) -> RawImages:
        """Return all images. If lean, the `datasets` library copies the rows to its own cache once, and maps that."""
        table = _mapped_table if lean else _table
        for files in (self.train, self.test):
            _check_names(files)
        tables = {split: table(files) for split, files in (("train", self.train), ("test", self.test)) if files}
        return read_tables(tables, self.columns, f"data.path: {self.train[0]}")


@dataclass(frozen=True)
class Rows:
    """Give access to the entries of an Arrow column; each is copied when it is asked for."""

    column: "pyarrow.ChunkedArray"

    def __getitem__(self, index: int) -> bytes:
        return self.column[index].as_py()


def _read(reader: Callable[[Path], T], file: Path) -> T:
    """Read from a file; turn errors of pyarrow into a RequestError that names it."""
    import pyarrow

    try:
        return reader(file)
    except (pyarrow.ArrowException, OSError) as error:
        raise RequestError(f"data.path: {file} is not a readable parquet file ({first_line(error)})") from None


def _names(schema: "pyarrow.Schema") -> dict[str, list[str]]:
    """Return the class names of each column for which the Hub's metadata have some."""
    features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    return {name: feature["names"] for name, feature in features.items() if (feature or {}).get("names")}


def _check_names(files: tuple[Path, ...]) -> None:
    """Raise RequestError unless all files of a split number their classes alike."""
    from pyarrow.parquet import read_schema

    names = [_names(_read(read_schema, file)) for file in files]
    for file, own in zip(files, names, strict=True):
        if own != names[0]:
            raise RequestError(f"data.path: {file} numbers its classes differently from {files[0]}")


def _table(files: tuple[Path, ...]) -> "pyarrow.Table":
    import pyarrow.parquet

    tables = [_read(pyarrow.parquet.read_table, file) for file in files]
    try:
        return pyarrow.concat_tables(tables)
    except pyarrow.ArrowException:
        raise RequestError(f"data.path: {files[0]} has other columns than the other files of its split") from None


def _mapped_table(files: tuple[Path, ...]) -> "pyarrow.Table":
    import datasets

    datasets.disable_progress_bars()
    try:
        rows = datasets.Dataset.from_parquet([glob.escape(str(file)) for file in files])  # it expects patterns
    except Exception as error:  # the library raises many kinds of errors
        reason = first_line(error.__cause__ or error)
        raise RequestError(f"data.path: {files[0]} or another file of its split cannot be read ({reason})") from None
    assert isinstance(rows, datasets.Dataset)
    return rows.data.table


def read_tables(tables: dict[str, "pyarrow.Table"], asked: Columns, where: str) -> RawImages:
    """Return the images of Arrow tables, one for each split; messages name the source `where`.

    Raises:
        RequestError: if a column is missing, or the splits do not fit together.
    """
    if "train" not in tables:
        raise RequestError(f"{where} has no split named train (it has {', '.join(tables)})")
    schema = tables["train"].schema
    image, label = _find_columns(schema, asked, where)
    train = _read_split(tables["train"], image, label, where)
    largest = int(train.labels.max(initial=-1))
    if largest >= MOST_CLASSES:
        raise RequestError(f"{where}: the column {label} holds {largest}; class numbers are below {MOST_CLASSES:,}")
    classes = _names(schema).get(label) or [str(number) for number in range(largest + 1)]
    if "test" not in tables:
        return RawImages(tuple(classes), train, None)
    test = _read_split(tables["test"], image, label, where)
    of_test = _names(tables["test"].schema).get(label, classes)
    if of_test != classes:
        if unknown := [name for name in of_test if name not in classes]:
            raise RequestError(f"{where}: the test split has a class that the training split lacks: {unknown[0]}")
        if len(test.labels) and not 0 <= test.labels.min() <= test.labels.max() < len(of_test):
            raise RequestError(f"{where}: the test labels must be class numbers from 0 to {len(of_test) - 1}")
        test = RawSplit(test.images, np.array([classes.index(name) for name in of_test])[test.labels])
    return RawImages(tuple(classes), train, test)


def _find_columns(schema: "pyarrow.Schema", asked: Columns, where: str) -> tuple[str, str]:
    """Return the names of the columns of images and of labels.

    Images are the first column of structs with `bytes`, or of plain bytes. Labels are the integer column with class
    names in the metadata, else with one of the names `LABELS`, else the only one.
    """
    from pyarrow import types

    def may_hold_images(kind: "pyarrow.DataType") -> bool:
        return kind.get_field_index("bytes") >= 0 if types.is_struct(kind) else types.is_binary(kind)

    image = next((field.name for field in schema if may_hold_images(field.type)), None)
    integers = [field.name for field in schema if types.is_integer(field.type)]
    with_names = _names(schema)
    named = [*(name for name in integers if name in with_names), *(name for name in LABELS if name in integers)]
    label = next(iter(named or integers), None)
    image, label = asked.image or image, asked.label or label
    if image is None or label is None:
        raise RequestError(f"{where} needs a column of images and a column of class numbers (it has {schema.names})")
    if not asked.label and not named and len(integers) > 1:
        raise RequestError(f"{where}: which column holds the classes, {' or '.join(integers)}? Call it label")
    return image, label


def _read_split(table: "pyarrow.Table", image: str, label: str, where: str) -> RawSplit:
    from pyarrow import types

    if missing := {image, label} - set(table.schema.names):
        raise RequestError(f"{where} has a column {min(missing)} that is missing in the test split")
    column = table.column(image)
    if types.is_struct(column.type):
        column = column.flatten()[column.type.get_field_index("bytes")]
    if column.null_count:
        raise RequestError(f"{where}: rows of {image} without an image: {column.null_count}")
    return RawSplit(Rows(column), table.column(label).to_numpy().astype(np.int64))
