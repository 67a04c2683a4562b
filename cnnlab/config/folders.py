"""Remember what is in a run directory before Hydra makes it, for requests that are refused."""

import contextlib
import logging
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from cnnlab.config.settings import output_directory
from cnnlab.runs.before import Before


class NoteFolders(Callback):
    """Note what there is before a command makes its directory. Hydra calls this, see conf/common.yaml."""

    before: Before | None = None

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Note what is in the run directory."""
        NoteFolders.before = None
        HydraConfig.instance().set_config(config)  # for resolvers of hydra.run.dir; Hydra itself sets it after this
        with contextlib.suppress(Exception):  # Hydra will meet the same error
            NoteFolders.before = Before(str(config.hydra.run.dir))


def remove_added_files() -> None:
    """Remove logs, locks and empty folders that a refused request has added, and log to no file any more."""
    for handler in [handler for handler in logging.root.handlers if type(handler) is logging.FileHandler]:
        logging.root.removeHandler(handler)
        handler.close()
    if NoteFolders.before is not None and HydraConfig.initialized():
        NoteFolders.before.remove_added(output_directory())
