"""Say what a record holds (summary.json), read it, and tell which of its values are impossible."""

import re
import reprlib
from pathlib import Path
from typing import Annotated, Any, Literal

from cnnlab.arguments import misfit
from cnnlab.limits import Share, Whole
from cnnlab.runs.plain import read_json, read_or_note

Amount = Annotated[float, "[0, 1e15)"]
Loss = Annotated[float, "(-1e15, 1e15)"]
# Keys of a record in their order, with what they hold. All are null until known.
RECORD: dict[str, Any] = {
    "status": Literal["running", "completed", "failed", "diverged", "interrupted"],
    **dict.fromkeys(("name", "model", "recipe", "data"), str),
    "classes": list[str],
    "images": dict,
    "protocol": Literal["holdout", "article"],
    **dict.fromkeys(("fold", "folds"), Whole),
    "fraction": Share,
    **dict.fromkeys(("seed", "parameters", "macs"), Whole),
    **dict.fromkeys(("lr", "epochs"), Amount),
    "steps": Whole,
    "plan": list[list[int]],  # of a budget of time
    **dict.fromkeys(("train_seconds", "total_seconds", "first_step_seconds", "images_per_second"), Amount),
    "warm_up": dict,
    "peak_memory_bytes": Whole,
    **{"val_accuracy": Share, "val_loss": Loss, "test_accuracy": Share, "test_loss": Loss, "test_accuracy_tta": Share},
    **dict.fromkeys(("val_balanced_accuracy", "val_macro_f1", "test_balanced_accuracy", "test_macro_f1"), Share),
    "test_largest_class": Share,
    "best_epoch": Whole,
    **dict.fromkeys(("device", "precision", "data_fingerprint", "data_revision"), str),
    "versions": dict,
    **dict.fromkeys(("git_commit", "command", "started_from", "error"), str),
}
SUMMARY_KEYS = tuple(RECORD)


def read_record(file: Path) -> tuple[dict[str, Any] | None, list[str]]:
    """Return the record in a summary.json, with null for impossible values, and what is wrong with it.

    A file that cannot be read at all gives None.
    """
    problems: list[str] = []
    record = read_or_note(read_json, file, problems)
    if record is None:
        return None, problems
    for key, value in record.items():
        if value is not None and (wanted := misfit(value, RECORD.get(key, Any))):
            problems.append(f"{file.name}: {key} is {reprlib.repr(value)}, not {wanted}")
            record[key] = None
    if record.get("device"):
        record["device"] = re.sub(r"(?<!\d)1 threads$", "1 thread", record["device"])  # as it was written before
    return record, problems
