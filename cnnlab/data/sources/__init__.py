"""Find and read images.

`find_source` returns a source. Its identity changes when its content does, and its method `read` returns the images of
each split, not decoded. Nothing here needs torch, so a missing source is reported before anything slow is imported.
"""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cnnlab.data.sources.base import Columns, Source
from cnnlab.data.sources.batches import find_batches
from cnnlab.data.sources.builtin import DigitsSource, SyntheticSource
from cnnlab.data.sources.folders import FolderSource
from cnnlab.data.sources.hub import HubSource
from cnnlab.data.sources.layout import ARCHIVES, SPLITS
from cnnlab.data.sources.lists import LISTS, ListSource
from cnnlab.data.sources.parquet import ParquetSource, may_hold_images
from cnnlab.data.sources.tree import IMAGE_SUFFIXES
from cnnlab.errors import RequestError

BUILT_IN = {"digits": DigitsSource(), "synthetic": SyntheticSource()}
# Keys of `data` that say what is read: the arguments of `find_source`, without `data.` before them.
SOURCE_KEYS = ("source", "path", "config", "image_column", "label_column", "splits")


def source_of(data: Mapping[str, Any]) -> Source:
    """Return the source that the settings `data` of a command or a run name; see `find_source`."""
    return find_source(*(data.get(key) for key in SOURCE_KEYS))


def find_source(
    name: str | None,
    path: str | Path | None,
    config: str | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    splits: Mapping[str, Any] | None = None,
) -> Source:
    """Return the source for `data.source` and `data.path`; a path wins over a name.

    Args:
        name: `digits`, `synthetic`, or a data set of the Hugging Face Hub, such as `uoft-cs/cifar10`.
        path: a folder or file with parquet files, `cifar-10-batches-py`, `cifar-100-python`, class folders of images,
            or a table of their paths and labels.
        config: configuration of a data set of the Hub; None if it has one only.
        image_column: column of the images in a table, in parquet files or on the Hub; None finds it.
        label_column: column of the labels there; None finds it.
        splits: folders of `train`, `val` and `test`, relative to the path, or splits on the Hub; None finds them.

    Raises:
        RequestError: if there are no images at that place.
    """
    columns = Columns(image_column, label_column)
    if splits is not None and (set(splits) - {"train", "val", "test"} or "train" not in splits):
        raise RequestError(f"data.splits must have train, and may have val and test; got {', '.join(map(str, splits))}")
    if path is not None:
        if name == "digits":
            raise RequestError("data.path: the digits are built in; data=folder data.path=... reads your own images")
        try:
            return _find_on_disk(Path(path).expanduser().absolute(), columns, splits)
        except PermissionError as error:
            raise RequestError(f"data.path: no permission to read {error.filename}") from None
    if splits is not None and name in (None, *BUILT_IN):
        raise RequestError("data.splits chooses folders below data.path, which is not given")
    if name is None:
        raise RequestError("data.path: which images? Give a folder, for example data.path=images")
    if not isinstance(name, str):
        raise RequestError(f"data.source must be the name of a data set, got {name}")
    return BUILT_IN.get(name) or HubSource(name, config, columns, splits)


def _find_on_disk(path: Path, columns: Columns, splits: Mapping[str, Any] | None) -> Source:
    if not path.exists():
        if address := re.search(r"(\w+:)/(.+)", str(path)):
            hub = "data.source=OWNER/NAME reads a data set of the Hugging Face Hub"
            raise RequestError(f"data.path: download {address[1]}//{address[2]} first; {hub}")
        raise RequestError(f"data.path: {path} does not exist")
    if path.is_file():
        if splits:
            raise RequestError(f"data.splits chooses folders below data.path, but {path} is a file")
        return _find_file(path, columns)
    if not path.is_dir():
        raise RequestError(f"data.path: {path} is neither a file nor a folder")
    folders = FolderSource(path, splits)
    if splits:
        if all(str(name).endswith(".parquet") for name in splits.values()):
            train, test, val = ((path / str(splits[key]),) if key in splits else () for key in ("train", "test", "val"))
            return ParquetSource(train, test, val, columns)
        return folders.checked(columns)
    tree = folders.tree  # first, because it tells which folder cannot be read
    readings: list[tuple[Source, str, str]] = [
        (source, source.version.folder, f"data.path={source.folder}") for source in find_batches(path, columns.label)
    ]
    tables = sorted(Path(folder.path, name) for folder in tree.everything() for name in folder.tables)
    if (parquet := _parquet_files(path, tables, columns)) and (may_hold_images(tables[0]) or not folders.has_classes):
        common = os.path.commonpath([file.parent for file in tables])
        place = common if common != str(path) else parquet.train[0]
        readings.append((parquet, "parquet files", f"data.path={place}"))
    if folders.has_classes:
        readings.append((folders, "class folders", f"'data.splits={{{folders.chosen}}}'"))
    if len(readings) > 1:
        choices = ", ".join(f"{what} ({key})" for _, what, key in readings)
        raise RequestError(f"data.path: {path} can be read in several ways: {choices}; add one of these keys")
    found = readings[0][0] if readings else folders
    return folders.checked(columns) if found is folders else found


def _find_file(path: Path, columns: Columns) -> Source:
    """Return the source for a file that holds or names images."""
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return ParquetSource((path,), columns=columns)
    if suffix in LISTS:
        return ListSource(path, columns)
    what = "not a parquet file, nor a table of images and labels (.csv, .tsv)"
    if suffix in ARCHIVES:
        what = "an archive; unpack it"
    elif suffix in IMAGE_SUFFIXES:
        what = "a single image"
    raise RequestError(f"data.path: {path} is {what}; data.path=FOLDER reads a folder of images or of parquet files")


def _parquet_files(folder: Path, found: Sequence[Path], columns: Columns) -> ParquetSource | None:
    """Return the source for the parquet files found below a folder, or None if none of them holds training images.

    The split is in their path, such as `cifar10_test.parquet` or `train/0000.parquet`. If no path names `train`, the
    files directly in the folder are the training split.
    """
    files: dict[str, list[Path]] = {"train": [], "test": [], "validation": [], "": [], "ignored": []}
    for file in found:
        words = re.split("[^a-z]+", str(file.relative_to(folder)).lower())
        split = next((split for split, names in SPLITS.items() if not names.isdisjoint(words)), "")
        files[split or ("" if file.parent == folder else "ignored")].append(file)
    train = files["train"] or files[""]
    ignored = len(files["ignored"]) + (len(files[""]) if files["train"] else 0)
    train, test, validation = (tuple(own) for own in (train, files["test"], files["validation"]))
    return ParquetSource(train, test, validation, columns, ignored) if train else None
