"""Makes the parts of a run from its settings (the composed configuration as plain values)."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from torch import nn

from cnnlab.analysis.cost import Cost, measure_cost
from cnnlab.analysis.layers import LayerTable, tabulate
from cnnlab.data.datamodule import ImageDataModule
from cnnlab.errors import RequestError
from cnnlab.instantiate import build, check_arguments, explained, first_line, import_target
from cnnlab.training.classifier import Classifier
from cnnlab.training.optimizers import build_optimizer
from cnnlab.training.trainer import build_trainer, training_devices

Settings = Mapping[str, Any]

CHANNELS = 3  # images are brought to RGB


def seed_everything(seed: Any) -> None:
    """Seeds the generators of Python, numpy and torch: initial weights and dropout come from them.

    Raises:
        RequestError: when it is not a whole number that numpy takes.
    """
    check_arguments(L.seed_everything, {"seed": seed})
    with explained("seed"):
        L.seed_everything(seed, verbose=False)


def build_data(settings: Settings) -> ImageDataModule:
    """The images, split by the protocol, for the device of the training."""
    augmentation = build(settings["augmentation"], "augmentation")
    with explained("trainer", settings["trainer"]):
        devices = training_devices(settings["trainer"])
    about_run = {"protocol": settings["protocol"], "seed": settings["seed"]}
    about_run |= {"device": str(devices[0]), "processes": len(devices)}
    return build(settings["data"], "data", augmentation=augmentation, **about_run)


def build_network(model: Settings, classes: int, image_size: int = 32, channels: int = CHANNELS) -> nn.Module:
    """The network, told of the images and the classes what its arguments want to know.

    Args:
        model: `_target_` and options.
        classes: given as `num_classes`.
        image_size: height and width in pixels, given as `image_size`.
        channels: of the images, given as `in_channels`.

    Raises:
        RequestError: when it cannot be made.
    """
    wanted = inspect.signature(import_target(model.get("_target_"), "model")).parameters
    known = {"in_channels": channels, "num_classes": classes, "image_size": image_size}
    network = build(model, "model", **{name: value for name, value in known.items() if name in wanted})
    if not isinstance(network, nn.Module):
        raise RequestError(f"model._target_: {model['_target_']} does not make a torch.nn.Module")
    return network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def initialize_from_data(network: nn.Module, data: ImageDataModule) -> None:
    """Shows training images to a network that wants to see some before its first step.

    Such a network has a method `initialize_from(images)`; it gets normalized images (N, C, H, W).
    """
    initialize = getattr(network, "initialize_from", None)
    if callable(initialize):
        initialize(data.sample())


def check_network(network: nn.Module, data: ImageDataModule) -> Cost:
    """What the network costs on the data's images.

    Raises:
        RequestError: when images of that size do not fit it, or it names another number of classes.
    """
    return check_fits(network, (CHANNELS, data.image_size, data.image_size), len(data.classes))


def check_fits(network: nn.Module, image_shape: tuple[int, int, int], classes: int) -> Cost:
    """What the network costs on images (C, H, W) of so many classes; raises as `check_network`."""
    with explained("model"):
        cost = measure_cost(network, image_shape)
        if cost.outputs != classes:
            raise ValueError(f"the network names {cost.outputs} classes, the data have {classes}")
    return cost


@dataclass(frozen=True)
class DescribedImages:
    """Images that need not exist, to describe a network for.

    Attributes:
        image_size: pixels a side.
        channels: 3 for colour.
        classes: that they belong to.
    """

    image_size: int
    channels: int
    classes: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.channels, self.image_size, self.image_size


def described_images(data: Any) -> DescribedImages:
    """The images that `data.*` speaks of.

    Raises:
        RequestError: for a value that is no whole number above zero.
    """
    if not isinstance(data, Mapping):
        raise RequestError("data must be data.image_size, data.channels and data.classes: nothing is loaded here")
    check_arguments(DescribedImages, data, "data")
    for key, value in data.items():
        if value < 1:
            raise RequestError(f"data.{key} must be 1 or more, got {value}")
    return DescribedImages(**data)


def tabulate_network(model: Settings, images: DescribedImages) -> LayerTable:
    """The layers of a network, which is made without its weights where that works.

    Raises:
        RequestError: when it cannot be made, or the images do not fit it.
    """

    def make() -> nn.Module:
        return build_network(model, images.classes, images.image_size, images.channels)

    try:
        with torch.device("meta"):
            network = make()
        table = tabulate(network, images.shape)
    except Exception:  # it computes with values; where the request is wrong, that is found again, and explained
        network = make()
        check_fits(network, images.shape, images.classes)
        return tabulate(network, images.shape)
    check_fits(network, images.shape, images.classes)
    return table


def build_classifier(settings: Settings, network: nn.Module) -> Classifier:
    """The network with its loss, optimizer and schedule, each tried out, so that a wrong value is found now."""
    parts = {key: build(settings[key], key) for key in ("optimizer", "schedule", "loss")}
    others = {key: settings[key] for key in ("decay_norms_and_biases", "bias_lr_factor", "tta")}
    check_arguments(Classifier, others)
    with explained("optimizer", settings["optimizer"]):
        optimizer = build_optimizer(
            parts["optimizer"], network, others["decay_norms_and_biases"], others["bias_lr_factor"]
        )
    with explained("schedule", settings["schedule"]):
        parts["schedule"](optimizer, 10)
    _try_loss(parts["loss"], torch.zeros(1, dtype=torch.long), "loss")
    if build(settings["augmentation"], "augmentation").mixes:
        _try_loss(
            parts["loss"], torch.full((1, 2), 0.5), "loss (augmentation.mixup and cutmix make labels probabilities)"
        )
    return Classifier(network, **parts, **others)


def _try_loss(loss: nn.Module, labels: torch.Tensor, key: str) -> None:
    try:
        loss(torch.zeros(1, 2), labels)
    except (RuntimeError, ValueError, IndexError) as error:
        raise RequestError(f"{key}: {first_line(error)}") from None


def build_callbacks(settings: Settings) -> list[Callback]:
    """What the configuration asks for beside training: averaging, early stopping and the like."""
    averaging = [build(settings["averaging"], "averaging")] if settings["averaging"] else []
    others = [build(part, f"callbacks.{name}") for name, part in (settings["callbacks"] or {}).items()]
    return averaging + others


def build_loggers(settings: Settings, directory: Path) -> list[Logger]:
    """Where figures go beside the run directory.

    Raises:
        RequestError: when a logger's package is not installed.
    """
    loggers = []
    for name, part in (settings["logger"] or {}).items():
        try:
            loggers.append(build(part, f"logger.{name}", save_dir=str(directory)))
        except ModuleNotFoundError:
            raise RequestError(f"logger={name} needs a package: pip install 'cnnlab[{name}]'") from None
    return loggers


def build_lightning_trainer(
    settings: Settings, callbacks: list[Callback], directory: Path, started_from_outside: bool = False
) -> L.Trainer:
    """The Trainer, after checking names and types of its arguments; see `cnnlab.training.trainer.build_trainer`."""
    options = settings["trainer"]
    ours = {"tf32", "compile", "profile", "max_epochs", *(["precision"] if options["precision"] == "auto" else [])}
    check_arguments(L.Trainer, {key: value for key, value in options.items() if key not in ours}, "trainer")
    loggers = build_loggers(settings, directory)
    with explained("trainer", options):
        trainer = build_trainer(options, callbacks, loggers, directory, started_from_outside)
    for key in ("batch_size", "eval_batch_size"):
        if (images := settings["data"][key]) < trainer.world_size:
            raise RequestError(f"data.{key} must be at least the number of devices, {trainer.world_size}, got {images}")
    return trainer


def checkpoint_metadata(settings: Settings, data: ImageDataModule) -> dict[str, Any]:
    """What predicting needs beside the weights, as plain values."""
    return {
        "model": settings["model"],
        "classes": list(data.classes),
        "mean": data.mean.tolist(),
        "std": data.std.tolist(),
        "image_size": data.image_size,
        "channels": CHANNELS,
        "data_fingerprint": data.fingerprint,
    }
