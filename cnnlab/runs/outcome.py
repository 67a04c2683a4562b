"""What a run chose and how it came out, as dashboards show it side by side with others."""

from collections.abc import Mapping
from typing import Any

FIGURES = (
    *("test_accuracy", "val_accuracy", "train_seconds", "images_per_second", "parameters"),
    *("test_loss", "val_loss", "best_epoch", "macs"),
)
TAGS = {name: f"final/{name}" for name in FIGURES}
# Groups of settings, and keys of others, that decide how a run comes out.
GROUPS = ("model", "optimizer", "schedule", "loss", "augmentation", "averaging")
KEYS = {
    "data": ("batch_size", "image_size", "holdout"),
    "trainer": (
        *("max_epochs", "max_steps", "precision", "compile", "gradient_clip_val"),
        *("accumulate_grad_batches", "devices", "sync_batchnorm"),
    ),
}
ALONE = ("decay_norms_and_biases", "bias_lr_factor", "tta")
# What is looked at first.
FIRST = (
    *("model", "recipe", "data", "protocol", "seed", "optimizer", "optimizer.lr", "data.batch_size"),
    *("trainer.max_epochs", "optimizer.weight_decay"),
)


def final_figures(summary: Mapping[str, Any]) -> dict[str, float]:
    """The figures of a record that compare runs, by tag, less those that are not known.

    Args:
        summary: as summary.json has it.
    """
    return {tag: float(summary[name]) for name, tag in TAGS.items() if summary.get(name) is not None}


def readable_settings(settings: Mapping[str, Any], summary: Mapping[str, Any]) -> dict[str, str | float | bool]:
    """What was chosen, by dotted key, the most telling first: names, texts and numbers.

    A group goes by the last part of the name of what it makes: `optimizer` is `SGD`. Left out are places, lists, how
    much is printed, and what is not set.

    Args:
        settings: the composed configuration.
        summary: as summary.json has it.
    """
    flat: dict[str, Any] = {}
    for group in GROUPS:
        for key, value in (settings.get(group) or {}).items():
            if key == "_target_":
                flat[group] = str(value).rpartition(".")[2]
            elif key != "_partial_":
                flat[f"{group}.{key}"] = value
    for group, keys in KEYS.items():
        flat |= {f"{group}.{key}": settings.get(group, {}).get(key) for key in keys}
    flat |= {key: settings.get(key) for key in ALONE}
    flat |= {key: summary.get(key) for key in ("model", "recipe", "data", "protocol", "seed", "precision", "device")}
    flat = {key: value for key, value in flat.items() if isinstance(value, bool | int | float | str)}
    return {key: flat[key] for key in (*(key for key in FIRST if key in flat), *flat)}
