"""Read images from parquet files."""

import contextlib
import functools
import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import pyarrow as pa
from filelock import FileLock
from pyarrow.parquet import ParquetFile

from cnnlab.data.findings import Findings, counted
from cnnlab.data.sources.base import Columns, FileSource, RawImages
from cnnlab.data.sources.columns import SNIFFED, class_names, encoded, may_be_images, plain, plain_type
from cnnlab.data.sources.tables import Split, Tables, datasets_cache
from cnnlab.errors import RequestError
from cnnlab.files import replacing
from cnnlab.instantiate import first_line

log = logging.getLogger(__name__)

ROWS = 1000  # read at a time


@dataclass(frozen=True)
class ParquetSource(FileSource):
    """Read parquet files as on the Hugging Face Hub: a column of encoded images and a column of labels."""

    train: tuple[Path, ...]
    test: tuple[Path, ...] = ()
    validation: tuple[Path, ...] = ()
    columns: Columns = Columns()  # that the user names
    ignored: int = 0  # number of other parquet files beside these

    form = "parquet"

    def found(self) -> list[tuple[str, Path]]:
        return [(file.name, file) for file in (*self.train, *self.test, *self.validation)]

    @property
    def identity(self) -> str:
        return f"{super().identity} {self.columns.image} {self.columns.label}"

    def files(self) -> Iterator[tuple[str, int]]:
        yield from super().files()
        yield from ((name, 0) for name in (self.columns.image, self.columns.label) if name)

    def count(self) -> int:
        return sum(_rows(file) for _, file in self.found())

    def findings(self) -> Findings:
        found = self._tables().findings()
        others = {"other parquet files": self.ignored} if self.ignored else {}
        return replace(found, ignored={**found.ignored, **others})

    def read(self, lean: bool = False) -> RawImages:
        """Return all images. If lean, they are copied once to the cache of `datasets`, where each can be read alone."""
        key = hashlib.sha256(self.identity.encode()).hexdigest()[:24]
        return self._tables(datasets_cache() / "cnnlab" / key if lean else None).read()

    def _tables(self, copy: Path | None = None) -> Tables:
        splits = {}
        for name, files in (("train", self.train), ("test", self.test), ("validation", self.validation)):
            if files:
                shards = Shards(files, copy and copy.with_name(f"{copy.name}-{name}.arrow"))
                rows = sum(shards.counts.values())
                splits[name] = Split(rows, shards.first(), files[0].parent, shards.column, shards.images)
        place = counted(len(self.found()), "parquet files")
        return Tables(splits, self.columns, f"data.path: {self.train[0]}", place)


def may_hold_images(file: Path) -> bool:
    """Return whether a parquet file can be read and has a column that may hold images."""
    try:
        with _opened(file) as opened:
            return any(may_be_images(plain_type(kind)) for kind in opened.schema_arrow.types)
    except RequestError:
        return False


@dataclass(frozen=True)
class Shards:
    """Read the table of a split from parquet files, which may differ in the order and types of their columns."""

    files: tuple[Path, ...]
    copy: Path | None = None  # place for a copy of the images, from which each can be read alone

    @functools.cached_property
    def counts(self) -> dict[Path, int]:
        """Number of rows of each file that has any; if none has, of the first file."""
        counts = {file: _rows(file) for file in self.files}
        return {file: rows for file, rows in counts.items() if rows} or {self.files[0]: 0}

    def first(self) -> pa.Table:
        """Return some rows with all columns."""
        with _opened(next(iter(self.counts))) as opened:
            rows = list(islice(opened.iter_batches(SNIFFED), 1))
            return pa.Table.from_batches(rows, opened.schema_arrow)

    def column(self, name: str) -> pa.ChunkedArray:
        """Return a column, its values in one form."""
        return _joined(self._parts(name, plain))

    def images(self, name: str) -> pa.ChunkedArray:
        """Return a column of images, mapped from the copy if there is a place for one."""
        if self.copy is None:
            return _joined(self._parts(name, encoded))
        try:
            self.copy.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self.copy.with_suffix(".lock")):
                if not self.copy.exists():
                    log.info("Copying images of parquet files to %s, where each can be read alone.", self.copy)
                    _write(self._parts(name, encoded), self.copy)
                return pa.ipc.open_file(pa.memory_map(str(self.copy))).read_all().column(0)
        except OSError as error:
            raise RequestError(f"data: {self.copy} cannot be written ({error.strerror or error})") from None

    def _parts(self, name: str, bring: Callable[[pa.ChunkedArray], pa.ChunkedArray]) -> Iterator[pa.ChunkedArray]:
        """Yield some rows of a column after the other, brought to one type.

        Raises:
            RequestError: if a file cannot be read, or does not fit the others.
        """
        first, kind, names = None, None, None
        for file in self.counts:
            with _opened(file) as opened:
                schema = opened.schema_arrow
                if (columns := schema.names.count(name)) != 1:
                    wrong = f"{columns} columns" if columns else "no column"
                    raise RequestError(f"data.path: {file} has {wrong} {name}, unlike {first}")
                own = plain_type(schema.field(name).type)
                if bring is encoded and not may_be_images(own):
                    raise RequestError(f"data.path: {file} has no encoded images in the column {name}, but {own}")
                part = bring(pa.chunked_array([], schema.field(name).type))
                if first is None:
                    first, kind, names = file, part.type, class_names(schema, name)
                if part.type != kind:
                    raise RequestError(f"data.path: {file} has {own} in the column {name}, {first} has {kind}")
                if class_names(schema, name) != names:
                    raise RequestError(f"data.path: {file} numbers its classes differently from {first}")
                yield part
                for batch in opened.iter_batches(ROWS, columns=[name]):
                    yield bring(pa.chunked_array([batch.column(name)]))


def _joined(parts: Iterable[pa.ChunkedArray]) -> pa.ChunkedArray:
    return pa.chunked_array([chunk for part in parts for chunk in part.chunks])


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[ParquetFile]:
    """Open a file; turn errors of pyarrow inside the block into a RequestError that names it."""
    try:
        with ParquetFile(file) as opened:
            yield opened
    except (pa.ArrowException, OSError) as error:
        raise RequestError(f"data.path: {file} is not a readable parquet file ({first_line(error)})") from None


def _rows(file: Path) -> int:
    with _opened(file) as opened:
        return opened.metadata.num_rows


def _write(parts: Iterable[pa.ChunkedArray], file: Path) -> None:
    """Write a column to an Arrow file, which is never visible half-written."""
    with replacing(file) as temporary, contextlib.ExitStack() as stack:
        writer = None
        for part in parts:
            schema = pa.schema([("images", part.type)])
            writer = writer or stack.enter_context(pa.ipc.new_file(str(temporary), schema))
            for chunk in part.chunks:
                writer.write_batch(pa.record_batch([chunk], schema=schema))
