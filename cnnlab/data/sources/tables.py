"""Read images and labels from the tables of the splits, wherever the tables are."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from cnnlab.data.findings import PART_FOR_TEST, Findings
from cnnlab.data.sources.base import Columns, Items, RawImages, RawSplit
from cnnlab.data.sources.columns import about_numbers, class_names, find_columns, label_values, number_classes
from cnnlab.errors import RequestError


@dataclass(frozen=True)
class Split:
    """Give access to the table of one split, whose columns are read when they are asked for by name."""

    rows: int
    first: pa.Table  # some rows with all columns
    folder: Path  # that paths of images are relative to
    column: Callable[[str], pa.ChunkedArray]  # as `cnnlab.data.sources.columns.plain` returns it
    images: Callable[[str], pa.ChunkedArray]  # as `encoded` there; mapped from a file if memory may not do


@dataclass(frozen=True)
class Rows:
    """Give access to encoded images; each is copied when it is asked for. Those without bytes are files."""

    contents: pa.ChunkedArray
    paths: pa.ChunkedArray
    folder: Path  # that relative paths start from

    def __getitem__(self, index: int) -> bytes | Path:
        content = self.contents[index].as_py()
        return self.folder / self.paths[index].as_py() if content is None else content


@dataclass(frozen=True)
class Joined:
    """Give access to the items of one split, then to those of another."""

    first: Items
    count: int  # of the first
    second: Items

    def __getitem__(self, index: int) -> bytes | Path:
        return self.first[index] if index < self.count else self.second[index - self.count]


@dataclass
class Tables:
    """Read the images of a data set from one table for each split.

    Test images come from `test` if it has labels, else from `validation`, else later from a part of `train`.

    Raises:
        RequestError: if there is no training split, or no columns of images and labels are found.
    """

    splits: Mapping[str, Split]  # by their names; empty ones are left out
    asked: Columns  # that the user names
    where: str  # beginning of messages, such as `data.path: FOLDER`
    place: str  # what holds the tables, for the line that says what was read, such as `2 parquet files`

    def __post_init__(self) -> None:
        self.splits = {name: split for name, split in self.splits.items() if split.rows}
        if "train" not in self.splits:
            there = ", ".join(self.splits) or "none with images"
            raise RequestError(f"{self.where} has no images in a split named train (it has {there})")
        self.image, self.label = find_columns(self.splits["train"].first, self.asked, self.where)

    @cached_property
    def _numbered(self) -> tuple[list[str], dict[str, np.ndarray]]:
        """Names of the classes, and class numbers of the splits that are read: `train`, and others with labels."""
        labels, names, where = {}, {}, f"{self.where}: the column {self.label}"
        for name in ("train", "test", "validation"):
            if name == "train" or name in self.splits and self.label in self.splits[name].first.column_names:
                values = label_values(self.splits[name].column(self.label), where)
                if name == "train" or values.null_count < len(values):
                    labels[name] = values
                    names[name] = class_names(self.splits[name].first.schema, self.label)
        return number_classes(labels, names, where)

    def read(self) -> RawImages:
        """Return the images, not decoded.

        Raises:
            RequestError: if an image or a label is missing, or if the splits do not fit together.
        """
        classes, numbers = self._numbered
        rows = {name: self._rows(name) for name in numbers}
        splits = {name: RawSplit(rows[name], numbers[name]) for name in numbers}
        if splits.keys() != {"train", "test", "validation"}:
            return RawImages(tuple(classes), splits.pop("train"), next(iter(splits.values()), None))
        images = Joined(rows["train"], len(numbers["train"]), rows["validation"])
        train = RawSplit(images, np.concatenate([numbers["train"], numbers["validation"]]))
        return RawImages(tuple(classes), train, splits["test"], len(numbers["validation"]))

    def _rows(self, name: str) -> Rows:
        split = self.splits[name]
        if self.image not in split.first.column_names:
            raise RequestError(f"{self.where} has a column {self.image} that is missing in the {name} split")
        contents, paths = split.images(self.image).flatten()
        named = paths.filter(contents.is_null()).to_pylist()  # these are files of their own
        if missing := sum(path is None or not os.path.exists(split.folder / path) for path in named):  # noqa: PTH110
            raise RequestError(f"{self.where}: rows of {self.image} in the {name} split without an image: {missing:,}")
        return Rows(contents, paths, split.folder)

    def findings(self) -> Findings:
        """Return which columns and splits are read, and what is left out."""
        classes, read = self._numbered
        remarks = about_numbers(classes, class_names(self.splits["train"].first.schema, self.label) is not None)
        ignored = {f"{name} images": split.rows for name, split in self.splits.items() if name not in read}
        if "test" not in read and ("test" in self.splits or "validation" in read):
            why = "test has no labels, so " if "test" in self.splits else ""
            instead = "validation" if "validation" in read else "a part of train"
            remarks = (*remarks, f"{why}{instead} is the test split")
        part = PART_FOR_TEST if read.keys() == {"train"} else ""
        return Findings(f"the columns {self.image} and {self.label} of {self.place}{part}", ignored, remarks)


def datasets_cache() -> Path:
    """Return the folder where the `datasets` library keeps tables, without the slow import of the library."""
    home = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface"
    home = Path(os.environ.get("HF_HOME", home))
    return Path(os.environ.get("HF_DATASETS_CACHE", home / "datasets")).expanduser()
