"""Read the record of a run, and tell which of its values are impossible."""

import math
import re
import reprlib
from pathlib import Path
from typing import Any

from cnnlab.arguments import fits
from cnnlab.runs.plain import read_json

FRACTIONS = ("val_accuracy", "test_accuracy", "test_accuracy_tta")
COUNTS = ("seed", "parameters", "macs", "steps", "best_epoch", "peak_memory_bytes")
NUMBERS = ("lr", "epochs", "train_seconds", "total_seconds", "images_per_second")
LARGEST = 1e15  # of a number
LOSSES = ("val_loss", "test_loss")
TEXTS = (
    *("name", "model", "recipe", "data", "device", "precision", "data_fingerprint", "data_revision"),
    *("git_commit", "command", "error"),
)
KINDS = {"classes": list[str], "images": dict, "versions": dict}
CHOICES = {
    "status": ("running", "completed", "failed", "diverged", "interrupted"),
    "protocol": ("holdout", "article"),
}


def read_record(file: Path) -> tuple[dict[str, Any] | None, list[str]]:
    """Return the record in a summary.json, with null for impossible values, and what is wrong with it.

    A file that cannot be read at all gives None.
    """
    try:
        record = read_json(file)
    except FileNotFoundError:
        return None, [f"{file.name} is missing"]
    except (OSError, ValueError) as error:
        return None, [f"{file.name} cannot be read ({error})"]
    problems = []
    for key, value in record.items():
        if value is not None and (wrong := _objection(key, value)):
            problems.append(f"{file.name}: {key} is {reprlib.repr(value)}, which is {wrong}")
            record[key] = None
    if record.get("device"):
        record["device"] = re.sub(r"(?<!\d)1 threads$", "1 thread", record["device"])  # as it was written before
    return record, problems


def _objection(key: str, value: Any) -> str | None:
    """Return why a record cannot have a value, or None if it can."""
    is_number = type(value) in (int, float) and math.isfinite(value)
    if key in (*FRACTIONS, *COUNTS, *NUMBERS, *LOSSES) and not is_number:
        return "not a number"
    if key in FRACTIONS and not 0 <= value <= 1:
        return "not between 0 and 1"
    if key in COUNTS and (type(value) is not int or value < 0):
        return "not a whole number of 0 or more"
    if key in NUMBERS and not 0 <= value < LARGEST:
        return f"not between 0 and {LARGEST:g}"
    if key in CHOICES and value not in CHOICES[key]:
        return f"none of {', '.join(CHOICES[key])}"
    if key in TEXTS and not isinstance(value, str):
        return "not a text"
    if key in KINDS and not fits(value, KINDS[key]):
        return f"not a {KINDS[key].__name__}"
    return None
