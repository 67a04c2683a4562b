"""Write a trained network as a folder that the Hugging Face Hub takes as it is: weights, description, model card."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from cnnlab.errors import printable
from cnnlab.files import write_atomically
from cnnlab.inference.trained import TrainedNetwork
from cnnlab.intervals import wilson_interval
from cnnlab.runs.directory import run_of
from cnnlab.runs.hub import WEIGHTS_FILE
from cnnlab.runs.plain import to_json

Values = Mapping[str, Any]

CARD = """---
{front}---

# {name}

A network that tells {count} kinds of images apart: {classes}. Trained with cnnlab.

```python
from cnnlab import load

net = load("hf://OWNER/NAME")  # where this folder was uploaded to
print(net.predict("photo.jpg").top(3))
```

| | |
|---|---|
{table}

It says one of its {count} classes whatever it sees. How good it is on other images than those it was tested with is not
known.
"""


def write_hub_folder(folder: Path, weights: bytes, metadata: dict[str, Any], net: TrainedNetwork) -> tuple[Path, ...]:
    """Write `model.safetensors`, `config.json` and `README.md` into a folder, and return their paths.

    The card tells what the record of the run says. It names a license only if somebody adds one, and no path.
    """
    run = run_of(net.checkpoint)
    record = (run.read_summary() if run else None) or {}
    data = ((run.read_config() if run else None) or {}).get("data") or {}
    contents = {
        WEIGHTS_FILE: weights,
        "config.json": to_json({"library_name": "cnnlab", **metadata}) + "\n",
        "README.md": model_card(net, record, data),
    }
    folder.mkdir(exist_ok=True)
    for name, content in contents.items():
        write_atomically(folder / name, content)
    return tuple(folder / name for name in contents)


def model_card(net: TrainedNetwork, record: Values, data: Values) -> str:
    """Return the text of a model card, whose front matter is as the Hub reads it.

    Args:
        net: the network.
        record: of its run (summary.json); may be empty.
        data: the part `data` of the run's configuration; may be empty.
    """
    model = _word(record.get("model")) or _word(net.model["_target_"].rpartition(".")[2])
    images, named = (record.get("images") or {}).get("test"), _word(record.get("data")) or "unknown"
    source = data.get("source")
    on_hub = isinstance(source, str) and data.get("path") is None and re.fullmatch(r"[\w.-]+/[\w.-]+", source)
    front: dict[str, Any] = {
        "library_name": "cnnlab",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "cnnlab", model],
    }
    if on_hub:
        front["datasets"] = [source]
    named_figures = {"test accuracy": "test_accuracy", "with test-time augmentation": "test_accuracy_tta"}
    figures = {name: record[key] for name, key in named_figures.items() if record.get(key) is not None}
    told = {name: _told(accuracy, images) for name, accuracy in figures.items()}
    if told:
        metrics = [
            {"type": "accuracy", "value": round(accuracy, 6), "name": f"{name}: {told[name]}"}
            for name, accuracy in figures.items()
        ]
        dataset = {"name": named, "type": source if on_hub else named, "split": "test"}
        results = [{"task": {"type": "image-classification"}, "dataset": dataset, "metrics": metrics}]
        front |= {"metrics": ["accuracy"], "model-index": [{"name": f"{model}-{named}", "results": results}]}
    counts = record.get("images") or {}
    rows = {
        "network": f"{model}, {sum(p.numel() for p in net.network.parameters()):,} parameters",
        "images": f"RGB, {net.image_size} x {net.image_size} pixels, others are resized and cut",
        "trained on": f"{counts['train']:,} images of {named}" if counts.get("train") else None,
        "chosen by": f"the best epoch on {counts['val']:,} images" if counts.get("val") else None,
        "recipe": _word(record.get("recipe")),
        "epochs": record.get("epochs"),
        "seed": record.get("seed"),
        "computed on": _word(record.get("device")),
        **told,
        "fingerprint of the data": _word(net.data_fingerprint),
    }
    names = [str(_word(name)) for name in net.classes]
    return CARD.format(
        front=yaml.safe_dump(front, sort_keys=False, allow_unicode=True),
        name=f"{model} for {named}" if record else model,
        count=len(names),
        classes=", ".join(names[:20]) + (", ..." if len(names) > 20 else ""),
        table="\n".join(f"| {key} | {value} |" for key, value in rows.items() if value is not None),
    )


def _told(accuracy: float, images: int | None) -> str:
    """Say an accuracy with the number of images and its interval."""
    if not images:
        return f"{accuracy:.2%}, one run"
    interval = wilson_interval(round(accuracy * images), images)
    return f"{accuracy:.2%} of {images:,} images (95% interval {interval.low:.2%} to {interval.high:.2%}), one run"


def _word(text: Any) -> str | None:
    """Return a name of a stranger so that it stays a word in Markdown."""
    return re.sub(r"[|`<>\[\]*\n]", "-", printable(text)) if isinstance(text, str) else None
