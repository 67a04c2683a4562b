"""Leave out images that are marked in a table, as `cnnlab audit` writes it.

Nothing here imports torch before images are left out, so a command can look at the table first.
"""

import csv
import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cnnlab.data.findings import listed
from cnnlab.data.sources.base import Source
from cnnlab.errors import RequestError

if TYPE_CHECKING:
    import torch

    from cnnlab.data.images import ImageData, Images

NEEDED = ("split", "index", "exclude", "data")  # columns
MARKS = {"x": True, "1": True, "yes": True, "true": True, "": False, "0": False, "no": False, "false": False}


def check_table(table: str | Path) -> None:
    """Raise RequestError if a table cannot be read, or lacks a column."""
    next(_rows(Path(table).expanduser()), None)


def data_digest(source: Source, data: "ImageData") -> str:
    """Return 16 hexadecimal digits that change with files, labels or order, but not with place or size in pixels."""
    digest = hashlib.sha256(repr((data.classes, data.validation)).encode("utf-8", "surrogateescape"))
    for name, size in source.files():
        digest.update(f"{name}|{size}\n".encode("utf-8", "surrogateescape"))
    for images in (data.train, data.test):
        digest.update(images.labels.numpy().tobytes() + b"|")
    return digest.hexdigest()[:16]


def split_sizes(data: "ImageData") -> dict[str, int]:
    """Return the number of images of `train`, `val` and `test`, in the order in which audits count them."""
    return {"train": len(data.train) - data.validation, "val": data.validation, "test": len(data.test)}


def exclude_marked(data: "ImageData", source: Source, table: str | Path) -> "ImageData":
    """Leave out the images of the rows that are marked in a table. The data get another fingerprint.

    Args:
        data: all images of the source.
        source: where they come from.
        table: a CSV file with the columns of `NEEDED`. `exclude` is `x` (or 1, yes, true) for images to leave out;
            `index` counts from 0 within the `split`; `data` is the `data_digest`. An image whose index is empty cannot
            be read, and is not in the data.

    Raises:
        RequestError: if the table cannot be read or was made for other data, or a class has no image left to train.
    """
    import torch

    marked = _marked_images(Path(table).expanduser(), split_sizes(data), data_digest(source, data))
    if not marked:
        return data
    keep = torch.ones(len(data.train) + len(data.test), dtype=torch.bool)
    keep[torch.tensor(sorted(marked))] = False
    of_train, of_test = keep.split([len(data.train), len(data.test)])
    train, test = (_kept(images, own) for images, own in ((data.train, of_train), (data.test, of_test)))
    validation = int(of_train[len(data.train) - data.validation :].sum())
    left = set(train.labels[: len(train) - validation].tolist())
    if lost := [data.classes[label] for label in data.train.labels.unique().tolist() if label not in left]:
        raise RequestError(f"data.exclude: {table} leaves no training image of {listed(lost, 3)}")
    if not len(test):
        raise RequestError(f"data.exclude: {table} leaves no test image")
    digest = hashlib.sha256(f"{data.fingerprint}|{sorted(marked)}".encode()).hexdigest()[:16]
    fingerprint = "files-" * data.fingerprint.startswith("files-") + digest
    findings = replace(data.findings, ignored={**data.findings.ignored, "excluded images": len(marked)})
    return replace(data, train=train, test=test, fingerprint=fingerprint, findings=findings, validation=validation)


def _kept(images: "Images", keep: "torch.Tensor") -> "Images":
    return images if keep.all() else images.take(keep.nonzero().flatten())


def _marked_images(table: Path, sizes: dict[str, int], digest: str) -> set[int]:
    """Return the positions of the marked images among all, those for the test at the end."""
    marked, place = set(), 0
    starts = {}
    for split, size in sizes.items():
        starts[split], place = place, place + size
    for line, row in _rows(table):
        if (mark := MARKS.get(row["exclude"].strip().lower())) is None:
            raise RequestError(f"data.exclude: {table}, line {line}: exclude must be x or empty, got {row['exclude']}")
        if row["data"] != digest:
            raise RequestError(
                f"data.exclude: {table} was made for other images, or these have changed since "
                f"({row['data']}, now {digest}); cnnlab audit writes a new one"
            )
        if not mark or not row["index"]:
            continue
        split, index = row["split"], row["index"]
        if split not in sizes or not index.isdecimal() or int(index) >= sizes[split]:
            raise RequestError(f"data.exclude: {table}, line {line}: there is no image {split}/{index}")
        marked.add(starts[split] + int(index))
    return marked


def _rows(table: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield line number and cells of every row; lines that a spreadsheet separates with `;` are read too."""
    try:
        with table.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
            first = stream.readline()
            stream.seek(0)
            reader = csv.DictReader(stream, delimiter=max(",;\t", key=first.count), restval="")
            if lacking := [name for name in NEEDED if name not in (reader.fieldnames or ())]:
                raise RequestError(f"data.exclude: {table} lacks the column {listed(lacking)}; cnnlab audit writes it")
            yield from ((reader.line_num, row) for row in reader)
    except (OSError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise RequestError(f"data.exclude: {table} cannot be read ({reason})") from None
