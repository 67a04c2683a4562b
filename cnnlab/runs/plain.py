"""Read and write plain values: JSON and YAML, which may be damaged or a stranger's."""

import json
import math
import reprlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

from cnnlab.instantiate import first_line

T = TypeVar("T")

MOST_BYTES, MOST_BYTES_OF_YAML, MOST_DEPTH, MOST_VALUES = 1 << 24, 1 << 22, 30, 1 << 21  # of a file that is read
YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the one in C is ten times as fast


def to_json(value: Any, indent: int | None = 2, default: Callable[[Any], Any] | None = None) -> str:
    """Return dictionaries, lists and plain values as JSON, in a single line if `indent` is None.

    NaN and infinities become null, because JSON has no word for them. `default` returns a plain value for any other
    object.
    """
    return json.dumps(finite(value), indent=indent, default=default, allow_nan=False)


def finite(value: Any) -> Any:
    """Return plain values with None in place of numbers that are not finite."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    return [finite(item) for item in value] if isinstance(value, list | tuple) else value


def read_text(file: Path, most: int = MOST_BYTES) -> str:
    """Return the text of a file, without a byte-order mark.

    Raises:
        FileNotFoundError, OSError: if it is missing or cannot be read.
        ValueError: if it is a folder or a device, very large, or not UTF-8.
    """
    if file.exists() and not file.is_file():
        raise ValueError("it is not a file")
    if file.stat().st_size > most:
        raise ValueError(f"it has more than {most:,} bytes")
    return file.read_text(encoding="utf-8-sig")


def read_json(file: Path) -> dict[str, Any]:
    """Return the object in a JSON file; errors as in `read_text`, and a ValueError if it holds anything else."""
    try:
        value = json.loads(read_text(file))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return _checked(value)


def read_yaml(file: Path) -> dict[str, Any]:
    """Return the mapping in a YAML file; errors as in `read_json`. References (`*name`) are refused."""
    text = read_text(file, MOST_BYTES_OF_YAML)
    try:
        # A few references can stand for themselves, or for more values than fit into memory.
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, YAML_LOADER)):
            raise ValueError("it holds references")
        return _checked(yaml.load(text, YAML_LOADER))
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(" ".join(str(error).split())) from None


def read_or_note(read: Callable[[Path], T], file: Path, problems: list[str], expected: bool = True) -> T | None:
    """Return what a function reads from a file; None, and a problem, if it is missing or damaged."""
    try:
        return read(file)
    except FileNotFoundError:
        if expected:
            problems.append(f"{file.name} is missing")
    except Exception as error:  # numpy and zipfile raise nearly anything for damaged files
        problems.append(f"{file.name} cannot be read ({first_line(error)})")
    return None


def _checked(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("it does not hold keys and values")
    check_plain(value, MOST_DEPTH)
    return value


def check_plain(value: Any, depth: int) -> int:
    """Return how many values there are in plain values, at all depths.

    Raises:
        ValueError: for a value that is not plain or cannot be written, and for too many or too deeply nested ones. Few
            lists that hold each other many times over stand for more values than can be gone through.
    """
    number = 1
    if isinstance(value, dict | list):
        if depth == 0:
            raise ValueError("it is nested too deeply")
        for part in (*value, *value.values()) if isinstance(value, dict) else value:
            number += check_plain(part, depth - 1)
            if number > MOST_VALUES:
                raise ValueError(f"it holds more than {MOST_VALUES:,} values")
    elif isinstance(value, str):
        value.encode()  # half a surrogate pair cannot be written
    elif isinstance(value, int) and abs(value) >= 1 << 64:
        raise ValueError("it holds a whole number of more than 64 bits")
    elif value is not None and not isinstance(value, int | float):
        raise ValueError(f"it holds {reprlib.repr(value)}, which is no plain value")
    return number
