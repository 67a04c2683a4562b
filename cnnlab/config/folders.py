"""Make the run directory, and remember what was in it before, for requests that are refused."""

import contextlib
import logging
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, flag_override

from cnnlab.config.settings import output_directory
from cnnlab.runs.before import Before
from cnnlab.runs.directory import claim_directory


class NoteFolders(Callback):
    """Make the directory of a command, and note what there was before. Hydra calls this, see conf/common.yaml."""

    before: Before | None = None

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Note what is in the run directory, and make it."""
        NoteFolders.before = None
        HydraConfig.instance().set_config(config)  # for resolvers of hydra.run.dir; Hydra itself sets it after this
        with contextlib.suppress(Exception):  # Hydra will meet the same error
            path = claim_directory(lambda: _noted(config))
            with flag_override(config.hydra, "readonly", False):
                config.hydra.run.dir = path


def _noted(config: DictConfig) -> str:
    """Return the run directory, and note what is in it."""
    path = str(config.hydra.run.dir)
    NoteFolders.before = Before(path)
    return path


def remove_added_files() -> None:
    """Remove logs, locks and empty folders that a refused request has added, and log to no file any more."""
    for handler in [handler for handler in logging.root.handlers if type(handler) is logging.FileHandler]:
        logging.root.removeHandler(handler)
        handler.close()
    if NoteFolders.before is not None and HydraConfig.initialized():
        NoteFolders.before.remove_added(output_directory())
