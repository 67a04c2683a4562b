"""Read CIFAR-10 as its authors publish it."""

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cnnlab.data.sources.base import FileSource, RawImages, RawSplit
from cnnlab.errors import RequestError
from cnnlab.instantiate import first_line


@dataclass(frozen=True)
class BatchesSource(FileSource):
    """Read the Python version of CIFAR-10: six pickled batches, which torchvision reads too."""

    folder: Path

    form = "batches"

    def found(self) -> list[tuple[str, Path]]:
        names = ("data_batch_*", "test_batch", "batches.meta")
        return [(file.name, file) for name in names for file in sorted(self.folder.glob(name))]

    def count(self) -> int:
        return sum(size for _, size in self.files()) // (3 * 32 * 32)

    def read(self, lean: bool = False) -> RawImages:
        meta = self.folder / "batches.meta"
        names = _entry(_load_batch(meta), "label_names", meta)
        return RawImages(
            classes=tuple(name.decode() if isinstance(name, bytes) else name for name in names),
            train=self._split(sorted(self.folder.glob("data_batch_*"))),
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


class _ArraysOnly(pickle.Unpickler):
    """Unpickle numpy arrays and plain values; refuse anything else, such as code to run."""

    _ALLOWED = {
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("_codecs", "encode"),
    }

    def find_class(self, module_name: str, global_name: str) -> Any:
        if (module_name, global_name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"it contains {module_name}.{global_name}, which is not allowed")
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
