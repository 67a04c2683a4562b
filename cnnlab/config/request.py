"""Check the settings of a command before anything is imported, looked up or written."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cnnlab.arguments import check_declared, check_node
from cnnlab.config.parts import SEVERAL
from cnnlab.config.paths import list_names
from cnnlab.errors import RequestError
from cnnlab.limits import check_fold
from cnnlab.training.options import check_trainer, read_budget
from cnnlab.words import did_you_mean, nearest

# Parts that need a `_target_`, with an example of one.
TARGETS = {
    "model": "cnnlab.models.lenet.LeNet5",
    "optimizer": "torch.optim.AdamW",
    "schedule": "cnnlab.training.schedules.cosine",
    "loss": "torch.nn.CrossEntropyLoss",
    "augmentation": "cnnlab.data.augment.Augmentation",
    "averaging": "cnnlab.training.averaging.AveragedWeights",
}
OPTIONAL = ("averaging",)  # may be null
CLASSIFIER = "cnnlab.training.classifier.Classifier"
# Single keys, and the function or class that takes an argument of this name.
SINGLE = {
    **dict.fromkeys(("protocol", "seed"), "cnnlab.data.datamodule.ImageDataModule"),
    **dict.fromkeys(
        ("tta", "bias_lr_factor", "decay_norms_and_biases", "schedule_interval", "layer_decay"), CLASSIFIER
    ),
    **dict.fromkeys(("select", "checkpoint_every"), "cnnlab.runs.recorder.Recorder"),
    "trust": "cnnlab.inference.trained.load",
    "freeze": "cnnlab.training.freezing.Freezing",
    "weights": "cnnlab.build.weights.read_start",
}
# Arguments that cnnlab itself fills in.
FILLED_IN = {
    "model": ("in_channels", "num_classes", "image_size"),
    "data": ("augmentation", "protocol", "seed", "device", "processes"),
    "optimizer": ("params",),
    "schedule": ("optimizer",),
    "logger": ("save_dir",),
}
NEEDED_OF_DATA = ("image_size", "batch_size", "eval_batch_size")  # keys that are read beside the data module
# What a run logs for callbacks and schedules to watch.
TRAINED = ("train/loss", "train/accuracy", "lr", "speed/images_per_second", "speed/epoch_seconds")
VALIDATED = ("val/loss", "val/accuracy", "val/balanced_accuracy", "val/macro_f1")
NEED_LOGGER = ("LearningRateMonitor", "DeviceStatsMonitor")  # callbacks of Lightning that fail without one


def check_settings(settings: Mapping[str, Any]) -> None:
    """Check every part of a command's settings: names, types and values, as far as sources tell them.

    Raises:
        RequestError: for the first that is wrong.
    """
    for key, example in TARGETS.items():
        left_out = key not in settings or (key in OPTIONAL and settings[key] is None)
        if not left_out and not _has_target(settings[key]):
            raise RequestError(f"{key} must have a _target_, such as {key}._target_={example}")
    check_name(settings.get("name"))
    for key in SINGLE if "trainer" in settings else ["trust"]:
        if key in settings:
            check_declared(SINGLE[key], {key: settings[key]})
    if "trainer" in settings:
        if not isinstance(settings["trainer"], Mapping):
            raise RequestError(f"trainer must hold keys such as trainer.max_epochs, got {settings['trainer']!r}")
        check_trainer(settings["trainer"])
        freeze, epochs = settings.get("freeze"), settings["trainer"]["max_epochs"]
        if read_budget(settings.get("budget")) is None and epochs is None:
            raise RequestError("trainer.max_epochs must be a number unless there is a budget=TIME, got null")
        if isinstance(freeze, int) and epochs is not None and freeze >= epochs:
            probe = "freeze=all trains the head alone"
            raise RequestError(f"freeze must be less than trainer.max_epochs, {epochs:g}, got {freeze}; {probe}")
    for key, part in settings.items():
        if key == "loss" and isinstance(part, Mapping) and part.get("weight") == "balanced":
            part = {**part, "weight": [1.0]}  # a list once the images are known
        if _has_target(part):
            check_node(part, key, FILLED_IN.get(key, ()))
        elif key in SEVERAL and part is not None:
            if not isinstance(part, Mapping):
                raise RequestError(f"{key} must hold parts by name, such as {key}.NAME._target_=CLASS, got {part!r}")
            for name, inner in part.items():
                if not _has_target(inner):
                    others = [other for other in part if _has_target(part[other])]
                    near = did_you_mean(str(name), others, f"{key}.") if nearest(str(name), others) else ""
                    shipped = f"{key}={name}, or " if name in list_names(key, Path.cwd()) else ""
                    raise RequestError(f"{key}.{name} must have a _target_: {shipped}{key}.{name}._target_=CLASS{near}")
                check_node(inner, f"{key}.{name}", FILLED_IN.get(key, ()))
    if isinstance(data := settings.get("data"), Mapping):
        missing = [key for key in NEEDED_OF_DATA if key not in data] if "trainer" in settings else []
        if missing:  # a class on the command line has none of the keys that files set
            raise RequestError(
                f"data.{missing[0]} is missing: data modules need it. A file conf/data/NAME.yaml with your _target_ "
                "and `defaults: [cifar10]` has all keys"
            )
        check_fold(data.get("fold"), data.get("folds"), settings.get("protocol"))
    if "callbacks" in settings:
        _check_watched(settings)


def check_name(name: Any) -> None:
    """Raise a RequestError if the folder of this name would not be below runs/."""
    parts = Path(str(name)).parts
    if name is not None and (not isinstance(name, str) or not parts or parts[0] == "/" or ".." in parts):
        raise RequestError(f"name must be a folder below runs/, got {name!r}; hydra.run.dir=DIR takes any folder")


def _has_target(part: Any) -> bool:
    return isinstance(part, Mapping) and "_target_" in part


def _check_watched(settings: Mapping[str, Any]) -> None:
    """Check that schedule and callbacks have what they need: a metric that is logged, and a logger."""
    callbacks = settings["callbacks"] or {}
    known = [*TRAINED, *(VALIDATED if settings["trainer"].get("limit_val_batches") != 0 else ())]
    schedule = str(settings["schedule"]["_target_"]).rpartition(".")[2]
    if "Plateau" in schedule and not set(VALIDATED) <= set(known):
        raise RequestError(f"schedule: {schedule} watches the validation, which trainer.limit_val_batches=0 leaves out")
    # Callbacks of the user may log more.
    may_log_more = any(not part["_target_"].startswith(("lightning.", "cnnlab.")) for part in callbacks.values())
    for name, part in callbacks.items():
        monitor = part.get("monitor")
        if monitor is not None and monitor not in known and not may_log_more:
            raise RequestError(f"callbacks.{name}.monitor: {monitor} is not logged{did_you_mean(monitor, known)}")
        if not settings["logger"] and part["_target_"].rpartition(".")[2] in NEED_LOGGER:
            raise RequestError(f"callbacks.{name} needs a logger, such as logger=tensorboard; got logger=none")
