"""Images in parquet files and Arrow tables."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cnnlab.data.sources.base import RawImages, RawSplit, stat_digest
from cnnlab.errors import RequestError
from cnnlab.instantiate import first_line

if TYPE_CHECKING:
    import pyarrow


@dataclass(frozen=True)
class ParquetSource:
    """Parquet files as the Hugging Face Hub has them: a column of encoded images and a column of class numbers."""

    train: tuple[Path, ...]
    test: tuple[Path, ...]

    @property
    def identity(self) -> str:
        """See Source."""
        return "parquet " + stat_digest([*self.train, *self.test])

    def check(self) -> None:
        """See Source. Nothing can be missing: it was found."""

    def read(self) -> RawImages:
        """See Source."""
        import pyarrow.parquet

        def table(files: tuple[Path, ...]) -> "pyarrow.Table":
            tables = []
            for file in files:
                try:
                    tables.append(pyarrow.parquet.read_table(file))
                except (pyarrow.ArrowException, OSError) as error:
                    raise RequestError(
                        f"data.path: {file} is not a readable parquet file ({first_line(error)})"
                    ) from None
            try:
                return pyarrow.concat_tables(tables)
            except pyarrow.ArrowException:
                raise RequestError(f"data.path: {files[0]} has other columns than the files beside it") from None

        tables = {split: table(files) for split, files in (("train", self.train), ("test", self.test)) if files}
        return read_tables(tables, f"data.path: {self.train[0]}")


def read_tables(tables: dict[str, "pyarrow.Table"], where: str) -> RawImages:
    """The images of Arrow tables: the column of structs with `bytes` and the column of whole numbers."""
    import pyarrow

    if "train" not in tables:
        raise RequestError(f"{where} has no split named train (it has {', '.join(tables)})")
    schema = tables["train"].schema
    image = next((f.name for f in schema if pyarrow.types.is_struct(f.type) or pyarrow.types.is_binary(f.type)), None)
    label = next((f.name for f in schema if pyarrow.types.is_integer(f.type)), None)
    if image is None or label is None:
        raise RequestError(f"{where} has no column of images beside one of class numbers (it has {schema.names})")

    def split(table: "pyarrow.Table") -> RawSplit:
        if missing := {image, label} - set(table.schema.names):
            raise RequestError(f"{where} has a column {min(missing)} that the test split has not")
        column = table.column(image).combine_chunks()
        encoded = column.field("bytes") if pyarrow.types.is_struct(column.type) else column
        if encoded.null_count:
            raise RequestError(f"{where}: {encoded.null_count} rows of {image} hold no image")
        return RawSplit(encoded.to_pylist(), table.column(label).to_numpy().astype(np.int64))

    features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    names = features.get(label, {}).get("names")
    train = split(tables["train"])
    classes = names or [str(number) for number in range(int(train.labels.max(initial=-1)) + 1)]
    return RawImages(tuple(classes), train, split(tables["test"]) if "test" in tables else None)
