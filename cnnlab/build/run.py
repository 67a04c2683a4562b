"""Makes the parts of a run from its settings (the composed configuration as plain values)."""

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from torch import Tensor, nn

from cnnlab.build.network import CHANNELS, Settings, check_fits
from cnnlab.data.datamodule import ImageDataModule
from cnnlab.errors import RequestError
from cnnlab.inspection.cost import Cost
from cnnlab.instantiate import build, check_arguments, explained, first_line
from cnnlab.training.classifier import Classifier
from cnnlab.training.optimizers import build_optimizer
from cnnlab.training.pool_first import pool_first
from cnnlab.training.precision import has_matrix_tiles
from cnnlab.training.side_by_side import side_by_side
from cnnlab.training.trainer import build_trainer, training_devices

if TYPE_CHECKING:
    from PIL.Image import Image


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


def initialize_from_data(network: nn.Module, data: ImageDataModule) -> None:
    """Shows training images to a network that wants to see some before its first step.

    Such a network has a method `initialize_from(images)`; it gets normalized images (N, C, H, W).
    """
    initialize = getattr(network, "initialize_from", None)
    if callable(initialize):
        initialize(data.sample())


def check_network(network: nn.Module, data: ImageDataModule) -> Cost:
    """What the network costs on the data's images; raises as `check_fits`, also for a size of the augmentation."""
    for _, size in data.augmentation.sizes if data.augmentation else ():
        try:
            check_fits(network, (CHANNELS, size, size), len(data.classes))
        except RequestError as error:
            raise RequestError(f"augmentation.sizes: {error}") from None
    return check_fits(network, (CHANNELS, data.image_size, data.image_size), len(data.classes))


def build_classifier(settings: Settings, network: nn.Module) -> Classifier:
    """The network, computing in the cheaper ways (`speed_up`), with its loss, optimizer and schedule.

    Each of these is tried out, so that a wrong value is found now.
    """
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
    speed_up(network)
    return Classifier(network, **parts, **others)


def speed_up(network: nn.Module) -> None:
    """Lets a network compute the same in cheaper ways, in place; its layers keep their places, names and weights."""
    pool_first(network)
    if has_matrix_tiles():
        side_by_side(network)


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


def build_pictures(loggers: list[Logger], data: ImageDataModule) -> list[Callback]:
    """What shows in TensorBoard what the network has learned, where that is a logger."""
    from cnnlab.training.tensorboard import LearnedSoFar, TensorBoard

    def draw_samples(positions: Tensor, probabilities: Tensor) -> "Image":
        return samples_picture(data.val.read(positions), data.val.labels[positions], probabilities, data.classes)

    boards = [logger for logger in loggers if isinstance(logger, TensorBoard)]
    if not boards:
        return []
    from cnnlab.reports.learned import confusion_picture, filters_picture, samples_picture

    shape = (CHANNELS, data.image_size, data.image_size)
    draw_confusions = functools.partial(confusion_picture, classes=data.classes)
    return [LearnedSoFar(board, shape, filters_picture, draw_samples, draw_confusions) for board in boards]


def build_lightning_trainer(
    settings: Settings,
    callbacks: list[Callback],
    loggers: list[Logger],
    directory: Path,
    started_from_outside: bool = False,
) -> L.Trainer:
    """The Trainer, after checking names and types of its arguments; see `cnnlab.training.trainer.build_trainer`."""
    options = settings["trainer"]
    ours = {"tf32", "compile", "profile", "max_epochs", *(["precision"] if options["precision"] == "auto" else [])}
    check_arguments(L.Trainer, {key: value for key, value in options.items() if key not in ours}, "trainer")
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
