"""Turn the labels of tables into class numbers, whatever form they have."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
from pyarrow import types

from cnnlab.errors import RequestError
from cnnlab.instantiate import first_line

pc: Any = pyarrow.compute  # type checkers do not see its functions, which are made by its import
MOST_CLASSES = 100_000
UNLABELLED = -1  # stands for a missing label in data sets whose test labels are not published


def label_values(column: pa.ChunkedArray, where: str) -> pa.Array:
    """Return the labels of a plain column as int64 or large text, null where there is none: for -1 and "" too.

    Raises:
        RequestError: for fractions, for numbers below -1, and for numbers that are too large to count classes.
    """
    values = column.combine_chunks()
    if types.is_large_string(values.type):
        return pc.if_else(pc.equal(values, ""), None, values)
    if types.is_floating(values.type):
        values = pc.if_else(pc.is_nan(values), None, values)  # pandas turns whole numbers with gaps into these
    limits = pc.min_max(values).as_py()
    if limits["max"] is not None and limits["max"] >= MOST_CLASSES:
        raise RequestError(f"{where} holds {limits['max']:.0f}; class numbers are below {MOST_CLASSES:,}")
    if limits["min"] is not None and limits["min"] < UNLABELLED:
        raise RequestError(f"{where} holds {limits['min']:.0f}; class numbers are 0 or more, and -1 is no label")
    try:
        values = values.cast(pa.int64())
    except pa.ArrowInvalid as error:
        raise RequestError(f"{where} holds fractions, not class numbers ({first_line(error)})") from None
    return pc.if_else(pc.equal(values, UNLABELLED), None, values)


def number_classes(
    labels: Mapping[str, pa.Array], names: Mapping[str, Sequence[str] | None], where: str
) -> tuple[list[str], dict[str, np.ndarray]]:
    """Return the names of the classes, and the class numbers, int64 (N,), of each split.

    The classes are those with names; else the numbers or texts that occur in the training split, sorted.

    Args:
        labels: of each split, from `label_values`, with `train`.
        names: of each split's class numbers, or None.
        where: the column, for messages.

    Raises:
        RequestError: if an image has no label, or a label is none of the classes.
    """
    train = labels["train"]
    classes = names["train"] or sorted(value for value in train.unique().to_pylist() if value is not None)
    if len(classes) > MOST_CLASSES:
        raise RequestError(f"{where} holds {len(classes):,} different texts; that many classes are not read")
    numbers = {}
    for split, values in labels.items():
        if values.null_count:
            images = f"{values.null_count:,} of {len(values):,} {split} images"
            raise RequestError(f"{where} has no label (null, -1 or an empty text) for {images}")
        if values.type != train.type:
            raise RequestError(f"{where} holds {values.type} in the {split} split, and {train.type} in the train split")
        own = names[split] or names["train"] or []
        if unknown := [name for name in own if name not in classes]:
            raise RequestError(f"{where}: the {split} split has a class that the training split lacks: {unknown[0]}")
        if own and not types.is_large_string(values.type):
            if len(values) and pc.max(values).as_py() >= len(own):
                raise RequestError(f"{where}: the {split} labels must be class numbers from 0 to {len(own) - 1}")
            values = pa.array(own, pa.large_string()).take(values)
        found = pc.index_in(values, pa.array(classes, values.type))
        if found.null_count:
            unknown = values.filter(found.is_null())[0]
            lacking = "column's class names lack" if split == "train" else "training split lacks"
            raise RequestError(f"{where}: the {split} split has a class that the {lacking}: {unknown}")
        numbers[split] = found.to_numpy(zero_copy_only=False).astype(np.int64)
    return [str(name) for name in classes], numbers


def about_numbers(classes: Sequence[str], named: bool) -> tuple[str, ...]:
    """Return a remark if the labels are numbers that do not count from 0 without gaps."""
    if named or not all(name.isdecimal() for name in classes) or [*map(int, classes)] == [*range(len(classes))]:
        return ()
    gaps = " with gaps" if int(classes[-1]) - int(classes[0]) >= len(classes) else ""
    return (f"labels are the numbers {classes[0]} to {classes[-1]}{gaps}, and each that occurs is a class",)
