"""Where images come from.

`find_source` looks at what was asked for and returns a source: something with an identity that changes when its content
does, which `read` turns into the encoded or raw images of each split. Nothing here needs torch, so a source that cannot
be found is reported before anything slow is imported.
"""

import hashlib
import json
import os
import pickle
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from cnnlab.errors import RequestError
from cnnlab.instantiate import first_line

if TYPE_CHECKING:
    import pyarrow

HUB_TIMEOUT = 3.0  # seconds that the Hub has to answer
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg"}


@dataclass(frozen=True)
class RawSplit:
    """The images of one split as they were found.

    Attributes:
        images: encoded images (bytes of PNG or JPEG files, or paths to such files), or one uint8 array (N, H, W, C).
        labels: class numbers, int64 (N,).
    """

    images: Sequence[bytes | Path] | np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class RawImages:
    """All that a source holds. Without `test`, whoever reads this cuts one out of `train`."""

    classes: tuple[str, ...]
    train: RawSplit
    test: RawSplit | None


class Source(Protocol):
    """A place that holds images."""

    @property
    def identity(self) -> str:
        """Names the content: the same text for the same images, another when they changed."""
        ...

    def check(self) -> None:
        """Raises RequestError when the images cannot be had. Quick: a few seconds where a network has to be asked."""
        ...

    def read(self) -> RawImages:
        """All images, not yet decoded. Raises RequestError where a file is damaged."""
        ...


def find_source(name: str | None, path: str | Path | None) -> Source:
    """The source for `data.source` and `data.path`; a path wins over a name.

    Args:
        name: `digits`, or a data set of the Hugging Face Hub, such as `uoft-cs/cifar10`.
        path: a folder or file with parquet files, `cifar-10-batches-py`, or class folders of PNG and JPEG files.

    Raises:
        RequestError: when there is nothing of the kind at that place.
    """
    if path is not None:
        if name == "digits":
            raise RequestError("data.path: the digits are built in; data=folder data.path=... reads images of your own")
        return _find_on_disk(Path(path).expanduser().absolute())
    if name == "digits":
        return DigitsSource()
    if name is None:
        raise RequestError("data.path: which images? Give a folder, for example data.path=images")
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
    train, test = (tuple(sorted(path.rglob(f"{split}*.parquet"))) for split in ("train", "test"))
    if train:
        return ParquetSource(train, test)
    if others := tuple(sorted(path.glob("*.parquet"))):
        return ParquetSource(others, ())
    if _class_folders(path / "train") or _class_folders(path):
        return FolderSource(path)
    raise RequestError(
        f"data.path: {path} holds neither train*.parquet files, nor cifar-10-batches-py, nor class folders of PNG or "
        "JPEG files (class/image.png, or train/class/image.png with test/class/image.png)"
    )


@dataclass(frozen=True)
class ParquetSource:
    """Parquet files as the Hugging Face Hub has them: a column of encoded images and a column of class numbers."""

    train: tuple[Path, ...]
    test: tuple[Path, ...]

    @property
    def identity(self) -> str:
        """See Source."""
        return "parquet " + _stat_digest([*self.train, *self.test])

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
        return _read_tables(tables, f"data.path: {self.train[0]}")


@dataclass(frozen=True)
class HubSource:
    """A data set of the Hugging Face Hub, through the `datasets` library and its own cache of downloads."""

    name: str

    @property
    def identity(self) -> str:
        """See Source. A published data set is taken to stay as it is."""
        return f"hub {self.name}"

    def check(self) -> None:
        """See Source. Asks the Hub, and where it does not answer, whether an earlier download is there."""
        if _hub_answers(self.name):
            return
        # Without this, every attempt of the library to reach the Hub waits for its own time-out: 20 s and more.
        os.environ["HF_HUB_OFFLINE"] = "1"
        if "huggingface_hub.constants" in sys.modules:
            sys.modules["huggingface_hub.constants"].HF_HUB_OFFLINE = True  # pyright: ignore[reportAttributeAccessIssue]
        if not (_datasets_cache() / self.name.replace("/", "___")).is_dir():
            raise RequestError(
                f"data: {self.name} is not in the local cache, and the Hugging Face Hub does not answer or has no such "
                "data set.\nImages on disk: data.path=FOLDER (parquet files, cifar-10-batches-py, class folders). "
                "Built in: data=digits"
            )

    def read(self) -> RawImages:
        """See Source."""
        self.check()
        import datasets

        datasets.disable_progress_bars()
        try:
            splits = datasets.load_dataset(self.name)
        except Exception as error:  # the library has one for each way of failing
            raise RequestError(f"data: {self.name} cannot be loaded ({first_line(error)})") from None
        return _read_tables({str(split): splits[split].data.table for split in splits}, f"data.source: {self.name}")


@dataclass(frozen=True)
class BatchesSource:
    """The python version of CIFAR-10 as its authors publish it and torchvision reads it: six pickled batches."""

    folder: Path

    @property
    def identity(self) -> str:
        """See Source."""
        return "batches " + _stat_digest(self._files("data_batch_*") + self._files("test_batch"))

    def _files(self, pattern: str) -> list[Path]:
        return sorted(self.folder.glob(pattern))

    def check(self) -> None:
        """See Source. Nothing can be missing: it was found."""

    def read(self) -> RawImages:
        """See Source."""
        meta = _load_batch(self.folder / "batches.meta")
        return RawImages(
            classes=tuple(_text(name) for name in _entry(meta, "label_names", self.folder / "batches.meta")),
            train=self._split(self._files("data_batch_*")),
            test=self._split([self.folder / "test_batch"]),
        )

    def _split(self, files: list[Path]) -> RawSplit:
        images, labels = [], []
        for file in files:
            batch = _load_batch(file)
            data, numbers = _entry(batch, "data", file), _entry(batch, "labels", file)
            try:
                images.append(np.asarray(data, dtype=np.uint8).reshape(len(numbers), 3, 32, 32))
                labels.append(np.asarray(numbers, dtype=np.int64))
            except (ValueError, TypeError) as error:
                raise RequestError(f"data.path: {file} is not a readable CIFAR-10 batch ({error})") from None
        return RawSplit(np.concatenate(images).transpose(0, 2, 3, 1), np.concatenate(labels))


@dataclass(frozen=True)
class FolderSource:
    """One folder per class, directly or below `train` and `test`; classes are numbered in the order of their names."""

    folder: Path

    @property
    def identity(self) -> str:
        """See Source."""
        return "folders " + _stat_digest(sorted(file for file in self.folder.rglob("*") if _is_image(file)))

    def check(self) -> None:
        """See Source. Nothing can be missing: it was found."""

    def read(self) -> RawImages:
        """See Source."""
        train = self.folder / "train"
        root = train if _class_folders(train) else self.folder
        classes = _class_folders(root)
        test = None
        if root is train and (test_folders := _class_folders(self.folder / "test")):
            if unknown := sorted(set(test_folders) - set(classes)):
                raise RequestError(f"data.path: {self.folder / 'test'} has a class that train/ has not: {unknown[0]}")
            test = self._split(self.folder / "test", classes)
        return RawImages(classes=tuple(classes), train=self._split(root, classes), test=test)

    @staticmethod
    def _split(root: Path, classes: list[str]) -> RawSplit:
        files, labels = [], []
        for number, name in enumerate(classes):
            found = sorted(file for file in (root / name).rglob("*") if _is_image(file))
            files += found
            labels += [number] * len(found)
        return RawSplit(files, np.asarray(labels, dtype=np.int64))


@dataclass(frozen=True)
class DigitsSource:
    """The 1,797 handwritten digits that scikit-learn ships: grey, 8x8, values 0 to 16."""

    @property
    def identity(self) -> str:
        """See Source."""
        return "digits"

    def check(self) -> None:
        """See Source. Nothing can be missing: it was found."""

    def read(self) -> RawImages:
        """See Source."""
        from sklearn.datasets import load_digits

        digits: Any = load_digits()
        images = np.round(digits.images * (255 / 16)).astype(np.uint8)[..., None]
        return RawImages(
            classes=tuple(str(name) for name in digits.target_names),
            train=RawSplit(images, digits.target.astype(np.int64)),
            test=None,
        )


def _datasets_cache() -> Path:
    """Where the `datasets` library keeps what it has downloaded; to ask the library would mean to import it."""
    home = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface"
    home = Path(os.environ.get("HF_HOME", home))
    return Path(os.environ.get("HF_DATASETS_CACHE", home / "datasets")).expanduser()


def _hub_answers(name: str) -> bool:
    """Whether the Hub knows the data set, asked in a thread because looking up a host's name has no time-out."""
    if os.environ.get("HF_HUB_OFFLINE") == "1":
        return False
    answers: list[bool] = []

    def ask() -> None:
        from huggingface_hub import HfApi

        try:
            HfApi().dataset_info(name, timeout=HUB_TIMEOUT)
            answers.append(True)
        except Exception:  # no network, no such data set, no answer in time: all the same here
            answers.append(False)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(HUB_TIMEOUT)
    return answers == [True]


def _read_tables(tables: dict[str, "pyarrow.Table"], where: str) -> RawImages:
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


class _ArraysOnly(pickle.Unpickler):
    """Unpickles numpy arrays and plain values; anything else in the file, such as code to run, is refused."""

    _ALLOWED = {
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("_codecs", "encode"),
    }

    def find_class(self, module_name: str, global_name: str) -> Any:
        if (module_name, global_name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module_name}.{global_name}")
        return super().find_class(module_name, global_name)


def _load_batch(file: Path) -> dict[Any, Any]:
    try:
        with file.open("rb") as stream:
            return _ArraysOnly(stream, encoding="bytes").load()
    except FileNotFoundError:
        raise RequestError(f"data.path: {file} is missing") from None
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise RequestError(f"data.path: {file} is not a readable CIFAR-10 batch ({first_line(error)})") from None


def _entry(batch: dict[Any, Any], key: str, file: Path) -> Any:
    for candidate in (key, key.encode()):
        if candidate in batch:
            return batch[candidate]
    raise RequestError(f"data.path: {file} has no entry {key}")


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _class_folders(root: Path) -> list[str]:
    """Names of the sub-folders that hold an image somewhere below, sorted; train and test are not classes."""
    if not root.is_dir():
        return []
    folders = (d for d in root.iterdir() if d.is_dir() and d.name not in ("train", "test"))
    return sorted(d.name for d in folders if any(_is_image(file) for file in d.rglob("*")))


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".")


def _stat_digest(files: Sequence[Path]) -> str:
    """A digest of the files' places, sizes and times: reading them all would take longer than decoding a cache."""
    digest = hashlib.sha256()
    for file in files:
        stat = file.stat()
        digest.update(f"{file}|{stat.st_size}|{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()
