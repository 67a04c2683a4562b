"""Find and read images.

`find_source` returns a source. Its identity changes when its content does, and its method `read` returns the images of
each split, not decoded. Nothing here needs torch, so a missing source is reported before anything slow is imported.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cnnlab.data.sources.base import Columns, Source
from cnnlab.data.sources.batches import BatchesSource
from cnnlab.data.sources.builtin import DigitsSource, SyntheticSource
from cnnlab.data.sources.folders import SPLITS, FolderSource, class_folders, split_folder
from cnnlab.data.sources.hub import HubSource
from cnnlab.data.sources.parquet import ParquetSource
from cnnlab.errors import RequestError

# Keys of `data` that say what is read: the arguments of `find_source`, without `data.` before them.
SOURCE_KEYS = ("source", "path", "config", "image_column", "label_column")


def source_of(data: Mapping[str, Any]) -> Source:
    """Return the source that the settings `data` of a command or a run name; see `find_source`."""
    return find_source(*(data.get(key) for key in SOURCE_KEYS))


def find_source(
    name: str | None,
    path: str | Path | None,
    config: str | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
) -> Source:
    """Return the source for `data.source` and `data.path`; a path wins over a name.

    Args:
        name: `digits`, `synthetic`, or a data set of the Hugging Face Hub, such as `uoft-cs/cifar10`.
        path: a folder or file with parquet files, `cifar-10-batches-py`, or class folders of PNG and JPEG files.
        config: configuration of a data set of the Hub; None if it has one only.
        image_column: column of the images in parquet files or on the Hub; None finds it.
        label_column: column of the labels there; None finds it.

    Raises:
        RequestError: if there are no images at that place.
    """
    columns = Columns(image_column, label_column)
    if path is not None:
        if name == "digits":
            raise RequestError("data.path: the digits are built in; data=folder data.path=... reads your own images")
        return _find_on_disk(Path(path).expanduser().absolute(), columns)
    if name == "digits":
        return DigitsSource()
    if name == "synthetic":
        return SyntheticSource()
    if name is None:
        raise RequestError("data.path: which images? Give a folder, for example data.path=images")
    if not isinstance(name, str):
        raise RequestError(f"data.source must be the name of a data set, got {name}")
    return HubSource(name, config, columns)


def _find_on_disk(path: Path, columns: Columns) -> Source:
    if not path.exists():
        raise RequestError(f"data.path: {path} does not exist")
    if path.is_file():
        if path.suffix == ".parquet":
            return ParquetSource((path,), columns=columns)
        raise RequestError(
            f"data.path: {path} is not a parquet file; a folder of images or of parquet files also works"
        )
    for folder in (path, path / "cifar-10-batches-py"):
        if (folder / "data_batch_1").is_file():
            return BatchesSource(folder)
    if source := _parquet_files(path, columns):
        return source
    if class_folders(path) or (training := split_folder(path, "train")) and class_folders(training, of_split=True):
        return FolderSource(path)
    raise RequestError(
        f"data.path: {path} holds neither train*.parquet files, nor cifar-10-batches-py, nor class folders of PNG or "
        "JPEG files (class/image.png, or train/class/image.png with test/class/image.png)"
    )


def _parquet_files(folder: Path, columns: Columns) -> ParquetSource | None:
    """Return the parquet files below a folder, or None if there are none.

    The split is in their path, such as `cifar10_test.parquet` or `train/0000.parquet`. If no path names `train`, the
    files directly in the folder are the training split.
    """
    files: dict[str, list[Path]] = {"train": [], "test": [], "validation": [], "": [], "ignored": []}
    for file in sorted(folder.rglob("*.parquet")):
        words = re.split("[^a-z]+", str(file.relative_to(folder)).lower())
        split = next((split for split, names in SPLITS.items() if not names.isdisjoint(words)), "")
        files[split or ("" if file.parent == folder else "ignored")].append(file)
    train = files["train"] or files[""]
    ignored = len(files["ignored"]) + (len(files[""]) if files["train"] else 0)
    train, test, validation = (tuple(own) for own in (train, files["test"], files["validation"]))
    return ParquetSource(train, test, validation, columns, ignored) if train else None
