"""Read images whose paths and labels stand in a table: a CSV or TSV file."""

import csv
import functools
import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cnnlab.data.findings import PART_FOR_TEST, Findings, listed
from cnnlab.data.sources.base import Columns, RawImages, RawSplit, Source
from cnnlab.data.sources.layout import SPLITS
from cnnlab.data.sources.tree import size_and_time
from cnnlab.errors import RequestError

LISTS = frozenset({".csv", ".tsv"})
# Usual names of the columns; the first counts even if there are others.
IMAGES = ("image", "img", "path", "image_path", "filepath", "file_path", "file", "file_name", "filename")
LABELS = ("label", "class", "category", "target", "labels", "classes")


class Row(NamedTuple):
    """Hold an image of the table."""

    file: Path
    label: str
    split: str  # a key of SPLITS


@dataclass(frozen=True)
class ListSource(Source):
    """Read the images that a table names in a column `image`, with their `label` and perhaps their `split`.

    Paths are relative to the folder of the table. Classes are sorted, numbers by their value.
    """

    table: Path
    columns: Columns = Columns()

    @functools.cached_property
    def rows(self) -> list[Row]:
        """All images.

        Raises:
            RequestError: if the table cannot be understood, or contradicts itself.
        """
        lines = self._lines()
        header = next(lines, (0, [""]))[1]
        image = self._column(header, "image_column", self.columns.image, IMAGES)
        label = self._column(header, "label_column", self.columns.label, LABELS)
        split = header.index("split") if "split" in header else None
        rows: list[Row] = []
        seen: dict[str, Row] = {}
        faults: dict[str, list[int]] = defaultdict(list)
        for number, cells in lines:
            if len(cells) != len(header):
                faults[f"rows that have not {len(header)} columns"].append(number)
                continue
            kind = cells[split].lower() if split is not None else "train"
            kind = next((name for name, names in SPLITS.items() if kind in names), kind)
            row = Row(self.table.parent / cells[image].replace("\\", "/"), cells[label], kind)
            if not cells[image] or not cells[label]:
                faults["rows without path or label"].append(number)
            if kind not in SPLITS:
                faults[f"rows whose split is none of {', '.join(SPLITS)}"].append(number)
            if seen.setdefault(cells[image], row) != row:
                faults["rows that give an image another label or split than before"].append(number)
            rows.append(row)
        for fault, numbers in faults.items():
            lines = listed([f"line {number}" for number in numbers], 3)
            raise RequestError(f"data.path: {self.table}: {fault}: {len(numbers):,} ({lines})")
        if all(row.split != "train" for row in rows):
            raise RequestError(f"data.path: {self.table} names no images for training")
        return rows

    @functools.cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes: numbers by their value, other labels by the alphabet."""
        labels = {row.label for row in self.rows}
        numbers = all(re.fullmatch(r"-?\d+", label, re.ASCII) for label in labels)
        return tuple(sorted(labels, key=(lambda label: (int(label), label)) if numbers else None))

    @functools.cached_property
    def identity(self) -> str:  # pyright: ignore[reportIncompatibleMethodOverride]
        digest = hashlib.sha256()
        for row in self.rows:
            digest.update(repr((*map(str, row), *size_and_time(row.file))).encode("utf-8", "surrogateescape"))
        return f"list {digest.hexdigest()}"

    def count(self) -> int:
        return len(self.rows)

    def files(self) -> Iterator[tuple[str, int]]:
        """Yield name, with the split, and size of every image."""
        for row in self.rows:
            yield f"{row.split}|{row.file.relative_to(self.table.parent)}", size_and_time(row.file)[0]

    def findings(self) -> Findings:
        splits = {row.split for row in self.rows}
        return Findings(self.table.name + (PART_FOR_TEST if splits == {"train"} else ""))

    def read(self, lean: bool = False) -> RawImages:
        rows = {split: [row for row in self.rows if row.split == split] for split in SPLITS}
        test, validation = rows["test"] or rows["validation"], rows["validation"] if rows["test"] else []
        train = self._split(rows["train"] + validation)
        return RawImages(self.classes, train, self._split(test) if test else None, len(validation))

    def _split(self, rows: Sequence[Row]) -> RawSplit:
        numbers = {name: number for number, name in enumerate(self.classes)}
        return RawSplit([row.file for row in rows], np.array([numbers[row.label] for row in rows], np.int64))

    def _lines(self) -> Iterator[tuple[int, list[str]]]:
        """Yield number and cells of every line that is not empty."""
        try:
            with self.table.open(encoding="utf-8-sig", newline="") as stream:
                first = stream.readline()
                stream.seek(0)
                reader = csv.reader(stream, delimiter=max(",;\t", key=first.count), strict=True)
                for row in reader:
                    if any(row):
                        yield reader.line_num, [cell.strip() for cell in row]
        except UnicodeDecodeError:
            raise RequestError(f"data.path: {self.table} is not a text in UTF-8") from None
        except (OSError, csv.Error) as error:
            raise RequestError(f"data.path: {self.table} cannot be read as a table ({error})") from None

    def _column(self, header: list[str], key: str, asked: str | None, usual: Sequence[str]) -> int:
        """Return the place of a column: the one that is asked for, or has a usual name."""
        lower = [name.lower() for name in header]
        found = [name for name in usual if name in lower]
        if asked in header:
            return header.index(asked or "")
        if not any(header):
            raise RequestError(f"data.path: {self.table} is empty")
        if asked or not found or found[0] != usual[0] and len(found) > 1:
            which = f"has no column {asked}" if asked else f"needs a column {usual[0]} in its first line"
            raise RequestError(f"data.{key}: {self.table} {which}; data.{key}= chooses one of {listed(header)}")
        return lower.index(found[0])
