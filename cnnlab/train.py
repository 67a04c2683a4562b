"""Trains a network and leaves a record: `python -m cnnlab.train model=resnet18`."""

import inspect
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from cnnlab import config as configuration
from cnnlab.data.cache import check_available
from cnnlab.data.sources import find_source
from cnnlab.errors import RequestError
from cnnlab.instantiate import build, check_arguments, explained, import_target
from cnnlab.runs.directory import RunDirectory
from cnnlab.runs.resume import find_checkpoint, recorded_run

if TYPE_CHECKING:
    import lightning as L
    from torch import nn

    from cnnlab.data.datamodule import ImageDataModule
    from cnnlab.training.classifier import Classifier

log = logging.getLogger("cnnlab.train")

CHANNELS = 3  # images are brought to RGB


def train(config: DictConfig) -> float | None:
    """Trains one network as the configuration says; returns the validation accuracy, which a search maximizes."""
    run = RunDirectory(configuration.output_directory())
    names: dict[str, Any] = configuration.choices()
    if recorded := recorded_run(config.resume):
        config = configuration.with_recorded(config, recorded.config_file)
        names = recorded.read_summary() or names
    checkpoint = find_checkpoint(run, config.resume, configuration.identity(config))
    if checkpoint and (run.read_summary() or {}).get("status") == "completed" and config.resume == "auto":
        log.info("The run in %s is complete.", run.path)
        return (run.read_summary() or {})["val_accuracy"]
    known = {
        "name": config.name or names["model"],
        **{group: names[group] for group in ("model", "recipe", "data")},
        "protocol": config.protocol,
        "seed": config.seed,
        "command": " ".join(["python -m cnnlab.train", *configuration.command_line()]),
    }
    settings = configuration.plain(config)
    with run.recording(settings, **known):
        _check_images(settings["data"])  # before anything slow is imported
        _train(settings, run, checkpoint)
    from cnnlab.reports.terminal import print_summary

    print_summary(run.summary, run.path)
    return run.summary["val_accuracy"]


def _train(settings: dict[str, Any], run: RunDirectory, checkpoint_file: Path | None) -> None:
    """Builds the parts, trains, tests the best epoch, and completes the record."""
    import lightning as L

    from cnnlab.analysis.cost import measure_cost
    from cnnlab.runs.checkpoint import check_fits, read_checkpoint
    from cnnlab.runs.environment import device_name, git_commit, versions
    from cnnlab.runs.recorder import Recorder
    from cnnlab.training.interruption import StopRequest
    from cnnlab.training.progress import Progress
    from cnnlab.training.trainer import build_trainer, compile_network

    stop = StopRequest()
    with stop.listening():
        check_arguments(L.seed_everything, {"seed": settings["seed"]})
        with explained("seed"):
            L.seed_everything(settings["seed"], verbose=False)
        data = _build_data(settings)
        network = _build_network(settings["model"], len(data.classes))
        with explained("model"):
            cost = measure_cost(network, (CHANNELS, data.image_size, data.image_size))
            if cost.outputs != len(data.classes):
                raise ValueError(f"the network names {cost.outputs} classes, the data have {len(data.classes)}")
        if checkpoint_file:
            check_fits(read_checkpoint(checkpoint_file), network, checkpoint_file)
        classifier = _build_classifier(settings, network)
        about = {
            "model": settings["model"],
            "classes": list(data.classes),
            "mean": data.mean.tolist(),
            "std": data.std.tolist(),
            "image_size": data.image_size,
            "channels": CHANNELS,
            "data_fingerprint": data.fingerprint,
        }
        options = dict(settings["trainer"])
        compile_mode = options.pop("compile")
        callbacks = [
            Progress(bar=options["enable_progress_bar"]),
            *([build(settings["averaging"], "averaging")] if settings["averaging"] else []),
            *(build(part, f"callbacks.{name}") for name, part in (settings["callbacks"] or {}).items()),
            Recorder(run, about, stop),
        ]
        check_arguments(
            L.Trainer, {k: v for k, v in options.items() if k != "tf32" and (k, v) != ("precision", "auto")}, "trainer"
        )
        with explained("trainer", settings["trainer"]):
            trainer = build_trainer(options, callbacks, _build_loggers(settings, run), run.path)
            compile_network(network, compile_mode)
        run.update_summary(
            parameters=cost.parameters,
            macs=cost.macs,
            device=device_name(trainer.strategy.root_device),
            precision=str(trainer.precision),
            data_fingerprint=data.fingerprint,
            versions=versions(),
            git_commit=git_commit(configuration.PACKAGE) or git_commit(Path.cwd()),
        )
        log.info("%s", run.path)
        with stop.waiting():
            trainer.fit(classifier, datamodule=data, ckpt_path=checkpoint_file, weights_only=True)
        _test(classifier, trainer, data, run)
        _log_outcome(trainer, settings, run)


def _check_images(data: dict[str, Any]) -> None:
    check_available(find_source(data.get("source"), data.get("path")), data.get("image_size", 32), data.get("cache"))


def _build_data(settings: dict[str, Any]) -> "ImageDataModule":
    augmentation = build(settings["augmentation"], "augmentation")
    about_run = {"protocol": settings["protocol"], "seed": settings["seed"]}
    return build(settings["data"], "data", augmentation=augmentation, **about_run)


def _build_network(model: dict[str, Any], classes: int) -> "nn.Module":
    """The network, told how many channels and classes there are as far as it wants to know."""
    import torch

    wanted = inspect.signature(import_target(model.get("_target_"), "model")).parameters
    known = {"in_channels": CHANNELS, "num_classes": classes}
    network = build(model, "model", **{name: value for name, value in known.items() if name in wanted})
    if not isinstance(network, torch.nn.Module):
        raise RequestError(f"model._target_: {model['_target_']} does not make a torch.nn.Module")
    return network.to(memory_format=torch.channels_last)


def _build_classifier(settings: dict[str, Any], network: "nn.Module") -> "Classifier":
    import torch

    from cnnlab.training.classifier import Classifier
    from cnnlab.training.optimizers import parameter_groups

    parts = {key: build(settings[key], key) for key in ("optimizer", "schedule", "loss")}
    # Values out of range are found now, and not when the training starts.
    decay_all = settings["decay_norms_and_biases"]
    with explained("optimizer", settings["optimizer"]):
        optimizer = parts["optimizer"](parameter_groups(network, decay_all))
    with explained("schedule", settings["schedule"]):
        parts["schedule"](optimizer, 10)
    try:
        parts["loss"](torch.zeros(1, 2), torch.zeros(1, dtype=torch.long))
    except (RuntimeError, ValueError) as error:
        raise RequestError(f"loss: {error}") from None
    return Classifier(network, **parts, decay_norms_and_biases=decay_all)


def _build_loggers(settings: dict[str, Any], run: RunDirectory) -> list[Any]:
    loggers = []
    for name, part in (settings["logger"] or {}).items():
        try:
            loggers.append(build(part, f"logger.{name}", save_dir=str(run.path)))
        except ModuleNotFoundError:
            raise RequestError(f"logger={name} needs a package: pip install 'cnnlab[{name}]'") from None
    return loggers


def _test(classifier: "Classifier", trainer: "L.Trainer", data: "ImageDataModule", run: RunDirectory) -> None:
    """Scores the test images with the best epoch's weights."""
    import numpy as np
    import torch

    from cnnlab.runs.checkpoint import read_checkpoint

    classifier.load_state_dict(read_checkpoint(run.best_checkpoint)["state_dict"])
    figures = trainer.test(classifier, datamodule=data, verbose=False)[0]
    logits, labels = (torch.cat(parts).numpy() for parts in zip(*classifier.test_outputs, strict=True))
    np.savez(run.predictions_file, logits=logits, labels=labels)
    run.update_summary(test_accuracy=figures["test/accuracy"], test_loss=figures["test/loss"])


def _log_outcome(trainer: "L.Trainer", settings: dict[str, Any], run: RunDirectory) -> None:
    """Hands configuration and final figures to the loggers, so that their dashboards can compare runs."""
    from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger

    names = ("val_accuracy", "val_loss", "test_accuracy", "test_loss", "train_seconds", "images_per_second")
    figures = {f"final/{name}": run.summary[name] for name in names if run.summary[name] is not None}
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.log_hyperparams(settings, figures)
        else:
            logger.log_hyperparams(settings)
            logger.log_metrics(figures, step=trainer.global_step)
        logger.finalize("success")
        if isinstance(logger, WandbLogger):
            logger.experiment.finish()  # or the next run of this process would go on in it


main = configuration.command("train", train)

if __name__ == "__main__":
    main()
