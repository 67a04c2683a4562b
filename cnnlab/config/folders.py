"""Make the run directory, and remember what was in it before, for requests that are refused."""

import contextlib
import logging
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, flag_override

from cnnlab.config.settings import output_directory
from cnnlab.runs.before import Before


class NoteFolders(Callback):
    """Make the directory of a command, and note what there was before. Hydra calls this, see conf/common.yaml."""

    before: Before | None = None

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Note what is in the run directory, and make it."""
        NoteFolders.before = None
        HydraConfig.instance().set_config(config)  # for resolvers of hydra.run.dir; Hydra itself sets it after this
        with contextlib.suppress(Exception):  # Hydra will meet the same error
            make_directory(config.hydra.run)


def make_directory(settings: DictConfig) -> None:
    """Make `settings.dir` and set it to that path; commands that start in the same second each get their own."""
    path = str(settings.dir)
    while True:
        NoteFolders.before = Before(path)
        try:
            Path(path).mkdir(parents=True)
            break
        except FileExistsError:
            # By default it is a path that did not exist yet. If it does now, another process was faster.
            other = str(settings.dir)
            if other == path:  # it was given, or is that of a run to continue
                break
            path = other
    with flag_override(settings, "readonly", False):
        settings.dir = path


def remove_added_files() -> None:
    """Remove logs, locks and empty folders that a refused request has added, and log to no file any more."""
    for handler in [handler for handler in logging.root.handlers if type(handler) is logging.FileHandler]:
        logging.root.removeHandler(handler)
        handler.close()
    if NoteFolders.before is not None and HydraConfig.initialized():
        NoteFolders.before.remove_added(output_directory())
