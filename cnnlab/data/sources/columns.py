"""Find the columns of images and labels in a table, and bring them to one form, and labels to class numbers."""

import io
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
from PIL import Image
from pyarrow import types

from cnnlab.data.sources.base import Columns
from cnnlab.errors import RequestError
from cnnlab.instantiate import first_line
from cnnlab.words import did_you_mean

pc: Any = pyarrow.compute  # type checkers do not see its functions, which are made by its import
# Names of a column of labels, in lower case.
LABELS = frozenset(
    {"label", "labels", "class", "classes", "category", "target", "cls", "fine_label", "coarse_label"}
)  # `cls` is WebDataset's
# Names of a column of images that belong to other images and show none themselves.
MASK = re.compile(r"(^|[_\W])(masks?|seg|segmentations?|annotations?|labels?|depth|trimaps?)([_\W]|$)", re.IGNORECASE)
# Names of columns that number rows or tell a time, so they are no classes.
NUMBERING = re.compile(r"(^|_)(ids?|idx|index|years?|keys?|date|time|level_0_*)$|^Unnamed", re.IGNORECASE)
# Formats with an unmistakable beginning: a hash must not pass for an image.
FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "JPEG2000", "AVIF", "PPM")
SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".tif", ".tiff")
LARGEST = 2**63 - 1  # of int64
MOST_CLASSES = 100_000
UNLABELLED = -1  # stands for a missing label in data sets whose test labels are not published
SNIFFED = 8  # rows whose content is looked at


def features(schema: pa.Schema) -> dict[str, dict[str, Any]]:
    """Return what the `datasets` library has noted about each column, such as `{"label": {"_type": "ClassLabel"}}`."""
    try:
        found = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name: about for name, about in found.items() if isinstance(about, dict)}
    except (KeyError, ValueError, TypeError, AttributeError):
        return {}


def class_names(schema: pa.Schema, column: str) -> list[str] | None:
    """Return the names of a column's class numbers, if the schema holds them."""
    names = features(schema).get(column, {}).get("names")
    return [str(name) for name in names] if isinstance(names, list) and names else None


def find_columns(first: pa.Table, asked: Columns, where: str) -> tuple[str, str]:
    """Return the names of the columns of images and of labels.

    Args:
        first: some rows of the training split with all columns.
        asked: columns that the user names; they need no name or content of their own.
        where: the table, for messages.

    Raises:
        RequestError: if there is no such column, or if several are possible.
    """
    for key, name, what, readable in (
        ("image_column", asked.image, "encoded images", may_be_images),
        ("label_column", asked.label, "class numbers, texts or booleans", _may_be_labels),
    ):
        if name is None:
            continue
        if not (kinds := [kind for own, kind in _plain_types(first) if own == name]):
            raise RequestError(f"{where} has no column {name} (data.{key}){did_you_mean(name, first.column_names)}")
        if not readable(kinds[0]):
            raise RequestError(f"{where}: the column {name} (data.{key}) holds {kinds[0]}, not {what}")
    images = [asked.image] if asked.image else _image_columns(first)
    if not images and (masks := _image_columns(first, masks=True)):
        raise RequestError(f"{where}: {masks[0]} looks like masks, not images; data.image_column={masks[0]} reads it")
    image = _only(images, first, "images", "image_column", where)
    labels = [asked.label] if asked.label else [name for name in _label_columns(first) if name != image]
    return image, _only(labels, first, "classes", "label_column", where)


def _only(found: list[str], table: pa.Table, what: str, key: str, where: str) -> str:
    """Return the only column found; raise RequestError with the key that chooses one if there are several or none."""
    if len(found) == 1:
        if (count := table.column_names.count(found[0])) > 1:
            raise RequestError(f"{where} has {count} columns called {found[0]}")
        return found[0]
    readable = _may_be_labels if key == "label_column" else may_be_images
    possible = found or [name for name, kind in _plain_types(table) if readable(kind)]
    if len(possible) == 1:
        raise RequestError(f"{where}: is {possible[0]} the column of {what}? Then choose it: data.{key}={possible[0]}")
    if likely := next((name for name in possible if not NUMBERING.search(name)), None):
        choose = f"Choose with data.{key}={likely}"
        raise RequestError(f"{where}: which column holds the {what}, {' or '.join(possible)}? {choose}")
    there = ", ".join(f"{field.name} ({str(field.type).partition('<')[0]})" for field in table.schema)
    choose = f"; choose one with data.{key}=NAME" if possible else ""
    raise RequestError(f"{where} needs a column of {what}, and none is recognized{choose}. It has {there}")


def _image_columns(table: pa.Table, masks: bool = False) -> list[str]:
    """Return the columns noted as images, else those of encoded images by their types and first rows."""
    noted = {name: about.get("_type") for name, about in features(table.schema).items()}
    names = [name for name, kind in _plain_types(table) if may_be_images(kind) and bool(MASK.search(name)) == masks]
    of_images = [name for name in names if noted.get(name) == "Image"]
    unknown = [name for name in names if noted.get(name) in ("Value", None) and table.column_names.count(name) == 1]
    return of_images or [name for name in unknown if _holds_images(table[name])]


def _label_columns(table: pa.Table) -> list[str]:
    """Return the columns with class names, else those with a usual name; of several with class names, the usual."""
    names = [name for name, kind in _plain_types(table) if _may_be_labels(kind)]
    usual = list(dict.fromkeys(name for name in names if name.lower() in LABELS))
    with_names = [name for name in dict.fromkeys(names) if class_names(table.schema, name)]
    return [name for name in with_names if name in usual] or with_names or usual


def _plain_types(table: pa.Table) -> list[tuple[str, pa.DataType]]:
    return [(field.name, plain_type(field.type)) for field in table.schema]


def may_be_images(kind: pa.DataType) -> bool:
    """Return whether a column of this plain type may hold encoded images."""
    if types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and types.is_large_binary(kind.field("bytes").type)
    return types.is_large_binary(kind)


def _may_be_labels(kind: pa.DataType) -> bool:
    return types.is_integer(kind) or types.is_floating(kind) or types.is_large_string(kind)


def _holds_images(column: pa.ChunkedArray) -> bool:
    """Return whether any of the first rows is an image: one of them may be damaged."""
    rows = [row for row in encoded(column).to_pylist() if row]
    return any(_is_image(row["bytes"]) if row["bytes"] else str(row["path"]).lower().endswith(SUFFIXES) for row in rows)


def _is_image(content: bytes) -> bool:
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS):
            return True
    except Exception:  # the readers of the formats raise nearly anything
        return False


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Return the type that `plain` brings a column of this type to."""
    if isinstance(kind, pa.BaseExtensionType):
        return plain_type(kind.storage_type)
    if types.is_dictionary(kind):
        return plain_type(kind.value_type)
    if types.is_integer(kind):
        return pa.int64()
    if types.is_floating(kind) or types.is_decimal(kind):
        return pa.float64()
    if types.is_boolean(kind) or types.is_string(kind) or types.is_string_view(kind):
        return pa.large_string()
    if types.is_binary(kind) or types.is_binary_view(kind) or types.is_fixed_size_binary(kind):
        return pa.large_binary()
    if types.is_struct(kind):
        return pa.struct([(field.name, plain_type(field.type)) for field in kind])
    return kind


def plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the same values as int64, float64, large text or large bytes, or as structs of these.

    Files of one data set may differ in such types. Booleans become the texts `false` and `true`. Numbers above int64
    become its largest.
    """
    kind = plain_type(column.type)
    return pa.chunked_array([_plain_array(chunk, kind) for chunk in column.chunks], kind)


def _plain_array(values: pa.Array, kind: pa.DataType) -> pa.Array:
    if isinstance(values, pa.ExtensionArray):
        return _plain_array(values.storage, kind)
    if isinstance(values, pa.DictionaryArray):
        return _plain_array(values.dictionary_decode(), kind)
    if isinstance(values, pa.StructArray):
        parts = [_plain_array(part, field.type) for part, field in zip(values.flatten(), kind, strict=True)]
        return pa.StructArray.from_arrays(parts, fields=list(kind)) if parts else values
    if types.is_uint64(values.type):
        values = pc.min_element_wise(values, pa.scalar(LARGEST, pa.uint64()))
    return values.cast(kind) if values.type != kind and not types.is_nested(kind) else values


def encoded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column of images as structs of `bytes` and `path`, of which one is null."""
    kind = pa.struct([("bytes", pa.large_binary()), ("path", pa.large_string())])
    chunks = []
    for chunk in plain(column).chunks:
        parts = {"bytes": chunk}
        if types.is_struct(chunk.type):
            parts = {field.name: part for field, part in zip(chunk.type, chunk.flatten(), strict=True)}
        paths = parts.get("path")
        if paths is None or not types.is_large_string(paths.type):
            paths = pa.nulls(len(chunk), pa.large_string())
        chunks.append(pa.StructArray.from_arrays([parts["bytes"], paths], fields=list(kind)))
    return pa.chunked_array(chunks, kind)


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
