"""Make the parts of a run from its settings (the composed configuration as plain values)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from torch import nn

from cnnlab.arguments import check_arguments
from cnnlab.build.network import CHANNELS, Settings, build_knowing, build_network, check_image_shape
from cnnlab.build.rehearsal import rehearse
from cnnlab.build.weights import StartingWeights
from cnnlab.data.datamodule import ImageDataModule
from cnnlab.errors import RequestError
from cnnlab.inspection.cost import Cost
from cnnlab.instantiate import build, explained
from cnnlab.training.classifier import Classifier
from cnnlab.training.compiled import CompiledStep, compile_network
from cnnlab.training.freezing import Freezing
from cnnlab.training.layer_order import head_names
from cnnlab.training.losses import balanced_weights, tried_loss
from cnnlab.training.optimizers import build_optimizer
from cnnlab.training.options import check_trainer, read_budget
from cnnlab.training.pool_first import pool_first
from cnnlab.training.precision import has_matrix_tiles
from cnnlab.training.progress import Progress
from cnnlab.training.scheduling import check_schedule
from cnnlab.training.side_by_side import side_by_side
from cnnlab.training.trainer import build_trainer, training_devices


def build_parts(
    settings: Settings,
    data: ImageDataModule,
    directory: Path,
    more_callbacks: Sequence[Callback],
    *,
    bar: bool = False,
    initialize: bool = True,
    start: StartingWeights | None = None,
    started_from_outside: bool = False,
) -> tuple[Cost, Classifier, L.Trainer]:
    """Make everything that a training needs beside its images, and count the network's parameters and multiplications.

    Args:
        settings: the settings of the run.
        data: the images, from `build_data`.
        directory: for files of loggers and callbacks.
        more_callbacks: called after the configured ones.
        bar: whether to show a progress bar.
        start: weights that a new run starts from.
        initialize: whether to show the network images before its first step; False for a run that is resumed.
        started_from_outside: whether torchrun or Slurm have started the processes.

    Raises:
        RequestError: if a setting is wrong.
    """
    check_batches(settings["trainer"], data.batches())
    network = build_network(settings["model"], len(data.classes), data.image_size)
    cost = check_network(network, data)
    if initialize:
        initialize_from_data(network, data)
    if start:
        start.load(network, data.classes)
    classifier = build_classifier(settings, network, data.class_counts)
    loggers = build_loggers(settings, directory)
    with explained("freeze"):
        freezing = [Freezing(freeze, classifier.head)] if (freeze := settings.get("freeze")) else []
    callbacks = [Progress(bar), *build_callbacks(settings), *freezing, *build_pictures(loggers, data), *more_callbacks]
    trainer = build_lightning_trainer(settings, callbacks, loggers, directory, started_from_outside)
    mixes = data.augmentation is not None and data.augmentation.mixes
    rehearse(classifier, trainer, (CHANNELS, data.image_size, data.image_size), len(data.classes), mixes)
    mode = settings["trainer"]["compile"]
    compile_network(network, mode, data.whole_batches(trainer.world_size))
    if settings["trainer"].get("compile_step"):
        size = min(data.batch_size, len(data.train))
        classifier.compiled_step = CompiledStep(network, classifier.logits_and_loss, mode, size)
    return cost, classifier, trainer


def seed_everything(seed: Any) -> None:
    """Seed the generators of Python, numpy and torch, or raise a RequestError for a seed that numpy does not accept."""
    check_arguments(L.seed_everything, {"seed": seed})
    with explained("seed"):
        L.seed_everything(seed, verbose=False)


def try_parts(settings: Settings) -> None:
    """Make and drop the parts that need neither images nor network, to find wrong values before images are read."""
    build_callbacks(settings)
    options = settings["optimizer"]
    with explained("optimizer", options, Exception):
        build({**options, "_partial_": True}, "optimizer")([nn.Parameter(torch.zeros(1))])
    with explained("trainer", settings["trainer"]):
        training_devices(settings["trainer"])


def build_data(settings: Settings) -> ImageDataModule:
    """Load the images, split by the protocol, for the device of the training."""
    augmentation = build(settings["augmentation"], "augmentation")
    with explained("trainer", settings["trainer"]):
        devices = training_devices(settings["trainer"])
    about_run = {"protocol": settings["protocol"], "seed": settings["seed"], "device": str(devices[0])}
    return build(settings["data"], "data", augmentation=augmentation, processes=len(devices), **about_run)


def check_batches(options: Settings, batches: Mapping[str, int]) -> None:
    """Check the Trainer's limits against the number of batches of each split.

    Raises:
        RequestError: if a fraction is less than one batch, or validation would come after the last batch.
    """
    for split, count in batches.items():
        key = f"limit_{split}_batches"
        limit = options.get(key)
        if isinstance(limit, float) and 0 < limit < 1 and int(limit * count) == 0:
            raise RequestError(f"trainer.{key}: {limit} of {count} batches is less than one; {1 / count:.2g} is one")
    interval = options.get("val_check_interval")
    if type(interval) is int and options.get("check_val_every_n_epoch") and interval > batches["train"]:
        raise RequestError(f"trainer.val_check_interval must be at most {batches['train']} batches, got {interval}")


def initialize_from_data(network: nn.Module, data: ImageDataModule) -> None:
    """Show normalized training images (N, C, H, W) to a network with a method `initialize_from(images)`."""
    if callable(initialize := getattr(network, "initialize_from", None)):
        initialize(data.sample())


def check_network(network: nn.Module, data: ImageDataModule) -> Cost:
    """Check that a network accepts the images, in all sizes of the augmentation too, and return its cost on one."""
    for _, size in data.augmentation.sizes if data.augmentation else ():
        try:
            check_image_shape(network, (CHANNELS, int(size), int(size)), len(data.classes))
        except RequestError as error:
            raise RequestError(f"augmentation.sizes: {error}") from None
    return check_image_shape(network, (CHANNELS, data.image_size, data.image_size), len(data.classes))


def build_classifier(settings: Settings, network: nn.Module, counts: Sequence[int]) -> Classifier:
    """Make the LightningModule: the network with faster layers, its loss, optimizer and schedule.

    Each of them is tried out, so that a wrong value raises a RequestError now. `counts` are the numbers of training
    images by class, which `loss.weight=balanced` needs.
    """
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise RequestError("model: the network has no weights to train")
    optimizer = build({**settings["optimizer"], "_partial_": True}, "optimizer")
    schedule = build(_waiting(settings["schedule"]), "schedule")
    options = {key: settings[key] for key in ("decay_norms_and_biases", "bias_lr_factor", "tta")}
    options |= {key: settings.get(key) for key in ("schedule_interval", "layer_decay")}  # earlier versions had none
    check_arguments(Classifier, options)
    with explained("optimizer", settings["optimizer"], Exception):
        head = head_names(network, len(counts))
        rates = {key: options[key] for key in ("decay_norms_and_biases", "bias_lr_factor", "layer_decay")}
        trial = build_optimizer(optimizer, network, **rates, head=head)
    check_schedule(schedule, trial, interval=options["schedule_interval"])
    mixes = build(settings["augmentation"], "augmentation").mixes
    wanted = settings["loss"]
    if wanted.get("weight") == "balanced":
        wanted = {**wanted, "weight": balanced_weights(counts)}
    with explained("loss", wanted, Exception):
        loss = tried_loss(build_knowing(wanted, "loss", num_classes=len(counts)), len(counts), mixes)
    use_faster_layers(network)
    return Classifier(network, optimizer, schedule, loss, **options, head=head)


def _waiting(schedule: Any) -> Any:
    """Mark a scheduler, and those that it is made of, as waiting for the optimizer."""
    if not isinstance(schedule, Mapping):
        return schedule
    parts = schedule.get("schedulers")
    inner = {"schedulers": [_waiting(part) for part in parts]} if isinstance(parts, list) else {}
    return {**schedule, **inner, "_partial_": True}


def use_faster_layers(network: nn.Module) -> None:
    """Replace layers by faster ones that compute the same, in place; names and weights stay."""
    pool_first(network)
    if has_matrix_tiles():
        side_by_side(network)


def build_callbacks(settings: Settings) -> list[Callback]:
    """Make the configured callbacks: averaging, early stopping and the like."""
    averaging = [build(settings["averaging"], "averaging")] if settings["averaging"] else []
    return averaging + [build(part, f"callbacks.{name}") for name, part in (settings["callbacks"] or {}).items()]


def build_loggers(settings: Settings, directory: Path) -> list[Logger]:
    """Make the configured loggers, or raise a RequestError if the package of one is not installed."""
    loggers = []
    for name, part in (settings["logger"] or {}).items():
        try:
            loggers.append(build(part, f"logger.{name}", save_dir=str(directory)))
        except ModuleNotFoundError:
            raise RequestError(f"logger={name} needs a package: pip install 'cnnlab[{name}]'") from None
    return loggers


def build_pictures(loggers: list[Logger], data: ImageDataModule) -> list[Callback]:
    """Make the callback that draws filters, predictions and confusions, if TensorBoard is among the loggers."""
    from cnnlab.training.tensorboard import TensorBoard

    boards = [logger for logger in loggers if isinstance(logger, TensorBoard)]
    if not boards:
        return []
    from cnnlab.build.learned import LearnedSoFar  # what draws takes long to import

    return [LearnedSoFar(board, data) for board in boards]


def build_lightning_trainer(
    settings: Settings,
    callbacks: list[Callback],
    loggers: list[Logger],
    directory: Path,
    started_from_outside: bool = False,
) -> L.Trainer:
    """Make the Trainer (see `cnnlab.training.trainer.build_trainer`) after checking its arguments."""
    options = settings["trainer"]
    check_trainer(options)
    with explained("trainer", options):
        budget = read_budget(settings.get("budget"))
        trainer = build_trainer(options, callbacks, loggers, directory, started_from_outside, budget)
    for key in ("batch_size", "eval_batch_size"):
        if (images := settings["data"][key]) < trainer.world_size:
            raise RequestError(f"data.{key} must be at least the number of devices, {trainer.world_size}, got {images}")
    return trainer


def checkpoint_metadata(settings: Settings, data: ImageDataModule) -> dict[str, Any]:
    """Return what a checkpoint must hold beside the weights to be used for predictions, as plain values."""
    return {
        "model": settings["model"],
        "classes": list(data.classes),
        "mean": data.mean.tolist(),
        "std": data.std.tolist(),
        "image_size": data.image_size,
        "channels": CHANNELS,
        "data_fingerprint": data.fingerprint,
    }
