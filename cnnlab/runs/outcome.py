"""Prepare settings and results of a run for dashboards, which show runs side by side."""

from collections.abc import Mapping
from typing import Any

RESULTS = (
    *("test_accuracy", "val_accuracy", "train_seconds", "images_per_second", "parameters"),
    *("test_loss", "val_loss", "best_epoch", "macs", "test_balanced_accuracy", "test_macro_f1"),
)
TAGS = {name: f"final/{name}" for name in RESULTS}
# Settings that decide the result: whole groups, some keys of other groups, and single keys.
WHOLE_GROUPS = ("model", "optimizer", "schedule", "loss", "augmentation", "averaging")
GROUP_KEYS = {
    "data": ("batch_size", "image_size", "holdout", "sampling", "fold", "folds", "fraction"),
    "trainer": (
        *("max_epochs", "max_steps", "precision", "compile", "gradient_clip_val"),
        *("accumulate_grad_batches", "devices", "sync_batchnorm"),
    ),
}
SINGLE_KEYS = (
    "schedule_interval",
    "decay_norms_and_biases",
    "bias_lr_factor",
    "layer_decay",
    "freeze",
    "tta",
    "select",
)
# Columns that a dashboard shows first.
FIRST_COLUMNS = (
    *("model", "recipe", "data", "protocol", "seed", "optimizer", "optimizer.lr", "data.batch_size"),
    *("trainer.max_epochs", "optimizer.weight_decay"),
)


def final_figures(summary: Mapping[str, Any]) -> dict[str, float]:
    """Return the known results in a record (summary.json) by tag."""
    return {tag: float(summary[name]) for name, tag in TAGS.items() if summary.get(name) is not None}


def readable_settings(settings: Mapping[str, Any], summary: Mapping[str, Any]) -> dict[str, str | float | bool]:
    """Return settings of a run and its record (summary.json) by dotted key, the most important first.

    A group is represented by the last part of its target: `optimizer` is `SGD`. Paths, lists, options of printing and
    empty values are left out.
    """
    flat: dict[str, Any] = {}
    for group in WHOLE_GROUPS:
        for key, value in (settings.get(group) or {}).items():
            if key == "_target_":
                flat[group] = str(value).rpartition(".")[2]
            elif key != "_partial_":
                flat[f"{group}.{key}"] = value
    for group, keys in GROUP_KEYS.items():
        flat |= {f"{group}.{key}": settings.get(group, {}).get(key) for key in keys}
    flat |= {key: settings.get(key) for key in SINGLE_KEYS}
    flat |= {key: summary.get(key) for key in ("model", "recipe", "data", "protocol", "seed", "precision", "device")}
    flat = {key: value for key, value in flat.items() if isinstance(value, bool | int | float | str)}
    return {key: flat[key] for key in (*(key for key in FIRST_COLUMNS if key in flat), *flat)}
