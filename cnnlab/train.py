"""Train a network and leave a record: `cnnlab train model=resnet18`."""

import functools
import logging
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from cnnlab import config as configuration
from cnnlab.config.paths import PACKAGE
from cnnlab.cpu import flush_denormals
from cnnlab.display import suggest_next
from cnnlab.errors import Diverged, Interrupted
from cnnlab.files import decide_once, from_here, write_arrays
from cnnlab.runs.directory import RunDirectory, checkpoint_file
from cnnlab.runs.processes import Processes, own_rank
from cnnlab.runs.resume import check_length, find_checkpoint, recorded_run
from cnnlab.runs.sweeps import shared_folder
from cnnlab.trust import PARTS_OF_A_RUN, check_loggers, check_trusted, find_targets
from cnnlab.waiting import tell

if TYPE_CHECKING:
    import lightning as L

    from cnnlab.data.datamodule import ImageDataModule
    from cnnlab.training.classifier import Classifier
    from cnnlab.training.tensorboard import TensorBoard

log = logging.getLogger("cnnlab.train")

NEAR_CHANCE = 0.02  # test accuracy beyond that of always answering the largest class


def train(config: DictConfig, processes: Processes | None = None, warm: dict[str, Any] | None = None) -> float | None:
    """Train one network, and return the validation accuracy for sweepers.

    `warm` is for what a process keeps that trains several networks after a warm-up.
    """
    run = RunDirectory(configuration.output_directory())
    names: dict[str, Any] = configuration.chosen_groups()
    own_targets, trust = list(find_targets(OmegaConf.to_container(config))), configuration.plain(config.trust)
    if recorded := recorded_run(config.resume):
        config = configuration.resumed_config(config, recorded)
        if "logger" not in configuration.command_line_keys():
            check_loggers(configuration.plain(config.logger), recorded.path)
        foreign = [name for name in find_targets(configuration.settings(config)) if name not in own_targets]
        check_trusted(foreign, PARTS_OF_A_RUN, trust, recorded.path, "resume")
        elsewhere = run.path.resolve() != recorded.path.resolve()
        check_length(configuration.settings(config)["trainer"], recorded, elsewhere)
        configuration.check_settings(configuration.settings(config))
        names = recorded.read_summary() or names
    checkpoint = find_checkpoint(run, config.resume, configuration.identity(config))
    earlier = run.read_summary() or {}
    if config.resume == "auto" and earlier.get("status") == "completed":
        log.info("The run in %s is complete.", run.path)
        return earlier["val_accuracy"]
    if config.resume == "auto" and earlier.get("status") == "diverged":  # it would diverge again
        raise Diverged(f"{earlier['error']}; the run in {run.path} is not tried again")
    known = {
        "name": config.name or names["model"],
        "model": configuration.model_name(names["model"], config.model),
        **{group: names[group] for group in ("recipe", "data")},
        **{key: config.data.get(key) for key in ("fold", "folds", "fraction")},
        "protocol": config.protocol,
        "seed": config.seed,
        "command": shlex.join(["cnnlab", "train", *configuration.command_line()]),
    }
    settings = configuration.settings(config)
    settings.pop("trust", None)
    if settings.get("weights") and not checkpoint:
        checkpoint_file(settings["weights"], "weights")
    ask_doctor = shlex.join(["cnnlab", "doctor", f"run={from_here(run.path)}"])
    try:
        with run.recording(settings, **known):
            from cnnlab.data.cache import check_available

            check_available(settings["data"])  # before anything slow is imported
            train_recorded(settings, run, checkpoint, processes or Processes(own_rank()), warm)
    except Diverged as error:
        error.add_note(ask_doctor)
        raise
    from cnnlab.reports.terminal import print_summary

    print_summary(run.summary, run.path)
    if run.summary["test_accuracy"] <= run.summary["test_largest_class"] + NEAR_CHANCE:
        suggest_next(ask_doctor, always=True)
    elif HydraConfig.get().mode is RunMode.RUN:  # not after each job of a sweep
        suggest_next(shlex.join(["cnnlab", "evaluate", f"checkpoint={from_here(run.path)}"]))
    return run.summary["val_accuracy"]


def follow(processes: Processes, settings: dict[str, Any], directory: str, checkpoint: str | None) -> None:
    """Train as a follower: with a share of every batch, and without printing."""
    train_recorded(settings, RunDirectory(directory, writes=False), Path(checkpoint) if checkpoint else None, processes)


def train_recorded(
    settings: dict[str, Any],
    run: RunDirectory,
    checkpoint_file: Path | None,
    processes: Processes,
    warm: dict[str, Any] | None = None,
) -> None:
    """Build the parts, train, test the best epoch, and complete the record."""
    from cnnlab.build.advice import advise
    from cnnlab.build.run import build_data, build_parts, checkpoint_metadata, seed_everything, try_parts
    from cnnlab.build.warm_up import warm_up
    from cnnlab.build.weights import read_start
    from cnnlab.runs import checkpoint as checkpoints
    from cnnlab.runs.environment import git_commit, versions
    from cnnlab.runs.recorder import Recorder
    from cnnlab.training.interruption import StopRequest
    from cnnlab.training.trainer import refused_by_lightning

    flush_denormals()
    tell("Preparing the training")
    interrupted = Interrupted(f"Interrupted while it stood still. To continue: resume={run.path}")
    stop = StopRequest(not processes.leads, lambda: processes.end_at_once(interrupted, 130, run.record_end))
    with stop.listening():
        try_parts(settings)
        checkpoint, about = None, {}
        if checkpoint_file:  # before images are decoded, which may take minutes
            checkpoint = checkpoints.read_checkpoint(checkpoint_file)
            about = checkpoints.read_description(checkpoint, checkpoint_file, "resume")
        start = None
        if not checkpoint_file:
            start = read_start(settings.get("weights"), settings["model"], settings["data"]["image_size"])
        precision, model = _choose_precision(settings["trainer"], run, checkpoint), settings["model"]
        chosen = {"trainer": settings["trainer"] | {"precision": precision}}
        if warm is not None:
            started = time.perf_counter()
            without = {"model": checkpoints.without_other_weights(model)}
            run.update_summary(warm_up=warm_up(settings | chosen | without, warm))
            run.started += time.perf_counter() - started  # it is not counted
        chosen["model"] = checkpoints.without_other_weights(model) if checkpoint else model
        seed_everything(settings["seed"])
        data = build_data(settings)
        if checkpoint_file:
            checkpoints.check_images(about, data.classes, data.fingerprint, checkpoint_file)
            data.normalize_by(about["mean"], about["std"])  # a sample drawn today may give slightly different values
        about_run = checkpoint_metadata(settings, data) | {"precision": precision}
        saving = {key: settings[key] for key in ("select", "checkpoint_every") if key in settings}  # older records
        cost, classifier, trainer = build_parts(
            settings | chosen,
            data,
            run.path,
            [Recorder(run, about_run, stop, **saving)],
            bar=settings["trainer"]["enable_progress_bar"] and processes.leads,
            initialize=checkpoint is None,
            start=start,
            started_from_outside=processes.rank.world_size is not None,
        )
        if checkpoint and checkpoint_file:
            checkpoints.check_weights_match(checkpoint, classifier.network, checkpoint_file)
        precision = str(trainer.precision)
        run.update_summary(
            parameters=cost.parameters,
            macs=cost.macs,
            precision=precision,
            data_fingerprint=data.fingerprint,
            data_revision=data.data.findings.revision,
            classes=list(data.classes),
            images={**data.counts, "ignored": dict(data.findings.ignored)},
            versions=versions(),
            git_commit=git_commit(PACKAGE) or git_commit(Path.cwd()),
        )
        log.info("%s", from_here(run.path))
        if start:
            run.update_summary(started_from=start.note)
            log.info("%s", start.note)
        for line in (data.findings.about(data.classes, data.counts), *advise(settings, data)):
            log.info("%s", line)
        # The followers use the values that the leader has chosen for `auto`.
        chosen = {"data": data.decided(settings["data"]), "trainer": settings["trainer"] | {"precision": precision}}
        job = {
            "settings": settings | chosen,
            "directory": str(run.path.absolute()),
            "checkpoint": str(checkpoint_file.absolute()) if checkpoint_file else None,
        }
        with processes.running_job(trainer.num_devices, trainer.num_nodes, job, run.record_end):
            with stop.waiting(), refused_by_lightning(trainer):
                trainer.fit(classifier, datamodule=data, ckpt_path=checkpoint_file, weights_only=True)
            run.begin()  # of a complete run, Lightning starts no training
            _test(classifier, trainer, data, run)
            if processes.leads:
                if data.folds:
                    _keep_held_out(run, data, settings, trainer)
                _log_outcome(trainer, settings, run, data)


def _choose_precision(options: dict[str, Any], run: RunDirectory, checkpoint: dict[str, Any] | None) -> Any:
    """Return the number format of a run, for the settings of the Trainer and the checkpoint that it is resumed from.

    With `auto`, a resumed run keeps the one that it was trained with, and the jobs of a sweep share one. The choice may
    depend on a measurement, which varies from process to process.
    """
    from cnnlab.training.precision import FORMATS, auto_precision
    from cnnlab.training.trainer import training_devices

    if options["precision"] != "auto":
        return options["precision"]
    if checkpoint:
        recorded = checkpoint["cnnlab"].get("precision") or run.summary["precision"]
        if recorded in FORMATS:
            return recorded
    devices = training_devices(options)
    decide, folder = functools.partial(auto_precision, *map(str, devices)), shared_folder(run.path)
    shared = decide_once(folder / f".precision-{devices[0].type}", decide) if folder else decide()
    return shared if shared in FORMATS else decide()


def _test(classifier: "Classifier", trainer: "L.Trainer", data: "ImageDataModule", run: RunDirectory) -> None:
    """Score the test images with the weights of the best epoch."""
    import numpy as np
    import torch

    from cnnlab.runs.checkpoint import read_checkpoint

    if run.writes:  # the other processes receive the same weights before the test
        classifier.load_state_dict(read_checkpoint(run.best_checkpoint)["state_dict"])
    figures = trainer.test(classifier, datamodule=data, verbose=False)[0]
    if not run.writes:
        return
    logits, labels = (torch.cat(parts).numpy() for parts in zip(*classifier.test_outputs, strict=True))
    write_arrays(run.predictions_file, logits=logits, labels=labels)
    run.update_summary(
        test_accuracy=figures["test/accuracy"],
        test_loss=figures["test/loss"],
        test_accuracy_tta=figures.get("test_tta/accuracy"),
        test_balanced_accuracy=figures["test/balanced_accuracy"],
        test_macro_f1=figures["test/macro_f1"],
        test_largest_class=float(np.bincount(labels).max() / len(labels)),
    )


def _keep_held_out(run: RunDirectory, data: "ImageDataModule", settings: dict[str, Any], trainer: "L.Trainer") -> None:
    """Write the outputs for the images of the fold, with the weights of the best epoch, and their positions."""
    from cnnlab.data.splits import held_out_positions
    from cnnlab.inference.scoring import run_network
    from cnnlab.inference.trained import load

    assert data.fold is not None and data.folds is not None
    precision = "bf16-mixed" if "bf16" in str(trainer.precision) else "32-true"
    device, trust = str(trainer.strategy.root_device), settings["model"]["_target_"]
    logits = run_network(load(run.best_checkpoint, device, precision, trust), data.val, data.eval_batch_size).logits
    positions = held_out_positions(data.data.train.labels, data.fold, data.folds)
    write_arrays(run.held_out_file, logits=logits.numpy(), labels=data.val.labels.numpy(), positions=positions.numpy())


def _log_outcome(trainer: "L.Trainer", settings: dict[str, Any], run: RunDirectory, data: "ImageDataModule") -> None:
    """Pass configuration and final figures to the loggers, so that their dashboards can compare runs."""
    from lightning.pytorch.loggers import WandbLogger

    from cnnlab.runs.outcome import TAGS, final_figures, readable_settings
    from cnnlab.training.tensorboard import TensorBoard

    figures = final_figures(run.summary)
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoard):
            if logger.embeddings:
                _log_embeddings(logger, data, run, settings, str(trainer.strategy.root_device))
            results = {name: figures[tag] for name, tag in TAGS.items() if tag in figures}
            logger.log_outcome(readable_settings(settings, run.summary), results, trainer.current_epoch)
        else:
            logger.log_hyperparams(settings)
            logger.log_metrics(figures, step=trainer.global_step)
        logger.finalize("success")
        if isinstance(logger, WandbLogger):
            logger.experiment.finish()  # or the next run of this process would continue it


def _log_embeddings(
    logger: "TensorBoard", data: "ImageDataModule", run: RunDirectory, settings: dict[str, Any], device: str
) -> None:
    """Show TensorBoard's projector the features of some test images, spread evenly over all."""
    import torch

    from cnnlab.inference.embedding_report import add_to_projector
    from cnnlab.inference.scoring import run_network
    from cnnlab.inference.trained import load

    positions = torch.linspace(0, len(data.test) - 1, min(logger.embeddings, len(data.test)), dtype=torch.float64)
    images = data.test.take(positions.long())
    net = load(run.best_checkpoint, device, trust=settings["model"]["_target_"])
    outputs = run_network(net, images, data.eval_batch_size, embeddings=True)
    assert outputs.features is not None
    named = [[data.classes[n] for n in numbers.tolist()] for numbers in (images.labels, outputs.logits.argmax(dim=1))]
    add_to_projector(logger.experiment, outputs.features, images.pixels, *named)


main = configuration.make_command("train", train, follow)

if __name__ == "__main__":
    main()
