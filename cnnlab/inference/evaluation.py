"""Read the keys of an evaluation, and write its files."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from cnnlab.data.splits import Protocol, Split
from cnnlab.inference.scoring import NetworkOutputs
from cnnlab.inference.trained import Precision
from cnnlab.runs.directory import RunDirectory, replacing
from cnnlab.training.tta import Tta


@dataclass(frozen=True)
class EvaluationOptions:
    """Hold keys of `cnnlab evaluate`; see conf/evaluate.yaml."""

    checkpoint: str
    split: Split
    protocol: Protocol | None
    tta: bool | Tta
    shift: int
    embeddings: bool
    device: str
    precision: Precision | None


def default_folder(run: RunDirectory | None, checkpoint: Path, split: str, other_data: str | None) -> Path:
    """Return `evaluation` in the run directory, or beside a checkpoint that belongs to no run.

    The name is extended for another checkpoint than that of the best epoch, another split than the test images, and
    other data (by their fingerprint), so that these results do not replace those of the run.
    """
    is_best = run is not None and checkpoint.name == run.best_checkpoint.name
    parts = ["evaluation"] if is_best else ["evaluation", checkpoint.stem]
    parts += [split] if split != "test" else []
    parts += [other_data[:14]] if other_data else []
    return (run.path if run else checkpoint.parent) / "_".join(parts)


def save_outputs(outputs: NetworkOutputs, labels: Tensor, folder: Path) -> None:
    """Write predictions.npz: logits and labels in the order of the data, as in a run directory."""
    arrays = {"logits": outputs.logits, "labels": labels, "tta_logits": outputs.tta_logits}
    with replacing(folder / "predictions.npz") as temporary, temporary.open("wb") as stream:
        np.savez(stream, **{name: array.numpy() for name, array in arrays.items() if array is not None})


def to_json(record: Mapping[str, Any]) -> str:
    """Return indented JSON with the innermost lists and objects on one line, so that a matrix has a line per row."""
    innermost = re.compile(r"([\[{])\n\s+([^\[\]{}]*?)\n\s+([\]}])")  # strings in JSON contain no line breaks
    text = json.dumps(record, indent=2)
    return innermost.sub(lambda match: match[1] + re.sub(r"\n\s+", " ", match[2]) + match[3], text) + "\n"
