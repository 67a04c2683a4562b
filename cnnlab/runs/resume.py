"""Find the run and the checkpoint that `resume=` names."""

import logging
from pathlib import Path
from typing import Any

from cnnlab.errors import RequestError
from cnnlab.runs.directory import RunDirectory, run_of

log = logging.getLogger(__name__)


def recorded_run(resume: str | None) -> RunDirectory | None:
    """Return the run that `resume=PATH` names, or None if it has no record.

    Raises:
        RequestError: if the path does not exist, or is a folder without a record.
    """
    if resume in (None, "auto"):
        return None
    path = Path(resume).expanduser()
    if not path.exists():
        raise RequestError(f"resume: {path} does not exist; resume=auto finds the last unfinished run")
    run = run_of(path)
    if run is None and path.is_dir():
        raise RequestError(f"resume: {path} is not a run directory (it has no summary.json)")
    return run


def find_checkpoint(run: RunDirectory, resume: str | None, identity: dict[str, Any]) -> Path | None:
    """Return the checkpoint to continue from, or None to start at the beginning.

    Args:
        run: run directory that will be written to.
        resume: None, `auto`, a run directory or a checkpoint.
        identity: part of the configuration that decides the result.

    Raises:
        RequestError: if the directory holds a run and `resume` is None, or a run of another configuration.
    """
    if resume not in (None, "auto"):
        path = Path(resume).expanduser()
        return path if path.is_file() else RunDirectory(path).last_checkpoint
    recorded = run.read_config()
    if recorded is None:
        if resume == "auto":
            log.info("There is no unfinished run of this configuration, so a new one starts.")
        return None
    if resume is None:
        raise RequestError(f"hydra.run.dir: {run.path} holds a run already; resume=auto continues it")
    for key, value in identity.items():
        if recorded.get(key) != value:
            raise RequestError(f"resume=auto: the run in {run.path} was started with another {key}")
    return run.last_checkpoint if run.last_checkpoint.exists() else None
