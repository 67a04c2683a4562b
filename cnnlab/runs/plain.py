"""Write plain values as JSON."""

import json
import math
from collections.abc import Callable, Mapping
from typing import Any


def to_json(value: Any, indent: int | None = 2, default: Callable[[Any], Any] | None = None) -> str:
    """Return plain values as JSON. NaN and infinities become null, because JSON has no word for them.

    Args:
        value: dictionaries, lists and plain values.
        indent: spaces of each level, or None for a single line.
        default: returns a plain value for any other object.
    """
    return json.dumps(finite(value), indent=indent, default=default, allow_nan=False)


def finite(value: Any) -> Any:
    """Return plain values with None in place of numbers that are not finite."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    return [finite(item) for item in value] if isinstance(value, list | tuple) else value
