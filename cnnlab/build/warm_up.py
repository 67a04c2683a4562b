"""Warm a process up before it trains several runs: libraries are loaded, kernels chosen, and code is compiled."""

import logging
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from cnnlab.build.network import Settings
from cnnlab.build.run import build_data, build_parts, seed_everything
from cnnlab.errors import RequestError
from cnnlab.training.trainer import refused_by_lightning, training_devices
from cnnlab.waiting import tell


class EndAfter(Callback):
    """End the training after some epochs, though the schedule is that of a longer one."""

    def __init__(self, epochs: int):
        self.epochs = epochs

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop if all are done."""
        trainer.should_stop |= trainer.current_epoch + 1 >= self.epochs


def warm_up(settings: Settings, warm: dict[str, Any]) -> dict[str, Any]:
    """Train and test a network that is dropped afterwards, unless this process was warmed up for such a run before.

    The training has an epoch, or one for each size of its images; so every shape of a batch has been seen.

    Args:
        settings: of the run.
        warm: holds what is known of the last warm-up of this process, and is updated.

    Returns:
        What the record of the run says about it: `epochs`, `steps` and `seconds` of the warm-up, and `runs_before`, the
        number of runs of this process since then.

    Raises:
        RequestError: if the run has several devices: their processes are started anew for each run.
    """
    if (number := len(training_devices(settings["trainer"]))) > 1:
        raise RequestError(f"hydra/launcher=in_process trains on one device, got trainer.devices={number}")
    known = {**settings, "seed": None, "data": {**settings["data"], "fold": None}}
    if warm.get("settings") == known:
        warm["runs_before"] += 1
    else:
        tell("Warming up")
        started = time.perf_counter()
        logging.disable(logging.INFO)
        try:
            done = _train_shortly(settings)
        finally:
            logging.disable(logging.NOTSET)
        seconds = round(time.perf_counter() - started, 3)
        warm |= {"settings": known, "runs_before": 0, "about": {**done, "seconds": seconds}}
    return {**warm["about"], "runs_before": warm["runs_before"]}


def _train_shortly(settings: Settings) -> dict[str, int]:
    """Train and test, and return the epochs and steps."""
    sizes = [size for _, size in settings["augmentation"].get("sizes") or []]
    short: Mapping[str, Any] = {
        **settings,
        "augmentation": {**settings["augmentation"], **({"sizes": list(enumerate(sizes))} if sizes else {})},
        "trainer": {**settings["trainer"], "profile": False, "min_epochs": None, "min_steps": None},
        **{"callbacks": {}, "logger": {}, "freeze": None, "budget": None},
    }
    end = EndAfter(len(sizes) or 1)
    with tempfile.TemporaryDirectory() as folder:
        seed_everything(settings["seed"])
        data = build_data(short)
        _, classifier, trainer = build_parts(short, data, Path(folder), [end])
        with refused_by_lightning(trainer):
            trainer.fit(classifier, datamodule=data)
        trainer.test(classifier, datamodule=data, verbose=False)
    return {"epochs": end.epochs, "steps": trainer.global_step}
