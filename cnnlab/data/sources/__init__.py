"""Find and read images.

`find_source` returns a source. Its identity changes when its content does, and its method `read` returns the images of
each split, not decoded. Nothing here needs torch, so a missing source is reported before anything slow is imported.
"""

import re
from pathlib import Path

from cnnlab.data.sources.base import Source
from cnnlab.data.sources.batches import BatchesSource
from cnnlab.data.sources.builtin import DigitsSource, SyntheticSource
from cnnlab.data.sources.folders import SPLITS, FolderSource, class_folders, split_folder
from cnnlab.data.sources.hub import HubSource
from cnnlab.data.sources.parquet import ParquetSource
from cnnlab.errors import RequestError


def find_source(name: str | None, path: str | Path | None) -> Source:
    """Return the source for `data.source` and `data.path`; a path wins over a name.

    Args:
        name: `digits`, `synthetic`, or a data set of the Hugging Face Hub, such as `uoft-cs/cifar10`.
        path: a folder or file with parquet files, `cifar-10-batches-py`, or class folders of PNG and JPEG files.

    Raises:
        RequestError: if there are no images at that place.
    """
    if path is not None:
        if name == "digits":
            raise RequestError("data.path: the digits are built in; data=folder data.path=... reads your own images")
        return _find_on_disk(Path(path).expanduser().absolute())
    if name == "digits":
        return DigitsSource()
    if name == "synthetic":
        return SyntheticSource()
    if name is None:
        raise RequestError("data.path: which images? Give a folder, for example data.path=images")
    if not isinstance(name, str):
        raise RequestError(f"data.source must be the name of a data set, got {name}")
    return HubSource(name)


def _find_on_disk(path: Path) -> Source:
    if not path.exists():
        raise RequestError(f"data.path: {path} does not exist")
    if path.is_file():
        if path.suffix == ".parquet":
            return ParquetSource((path,), ())
        raise RequestError(
            f"data.path: {path} is not a parquet file; a folder of images or of parquet files also works"
        )
    for folder in (path, path / "cifar-10-batches-py"):
        if (folder / "data_batch_1").is_file():
            return BatchesSource(folder)
    if source := _parquet_files(path):
        return source
    if class_folders(path) or (training := split_folder(path, "train")) and class_folders(training, of_split=True):
        return FolderSource(path)
    raise RequestError(
        f"data.path: {path} holds neither train*.parquet files, nor cifar-10-batches-py, nor class folders of PNG or "
        "JPEG files (class/image.png, or train/class/image.png with test/class/image.png)"
    )


def _parquet_files(folder: Path) -> ParquetSource | None:
    """Return the parquet files below a folder, or None if there are none.

    The split is in their path, such as `cifar10_test.parquet` or `train/0000.parquet`. If no path names `train`, the
    files directly in the folder are the training split. Files for validation are left out.
    """
    files: dict[str, list[Path]] = {"train": [], "test": [], "validation": [], "": []}
    for file in sorted(folder.rglob("*.parquet")):
        words = re.split("[^a-z]+", str(file.relative_to(folder)).lower())
        split = next((split for split, names in SPLITS.items() if not names.isdisjoint(words)), "")
        if split or file.parent == folder:
            files[split].append(file)
    train = files["train"] or files[""]
    return ParquetSource(tuple(train), tuple(files["test"])) if train else None
