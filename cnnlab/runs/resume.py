"""What a run goes on from."""

import logging
from pathlib import Path
from typing import Any

from cnnlab.errors import RequestError
from cnnlab.runs.directory import RunDirectory, run_of

log = logging.getLogger(__name__)


def recorded_run(resume: str | None) -> RunDirectory | None:
    """The run that `resume=PATH` names, where it has a record.

    Raises:
        RequestError: when there is nothing at the path.
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
    """The checkpoint to go on from, or None to start at the beginning.

    Args:
        run: the directory that will be written to.
        resume: None, `auto`, a run directory or a checkpoint.
        identity: what of the configuration decides how the run comes out.

    Raises:
        RequestError: when the directory holds a run and it is not asked to go on, or a run of another configuration.
    """
    if resume not in (None, "auto"):
        path = Path(resume).expanduser()
        return path if path.is_file() else RunDirectory(path).last_checkpoint
    recorded = run.read_config()
    if recorded is None:
        if resume == "auto":
            log.info("There is no unfinished run of this configuration: a new one starts.")
        return None
    if resume is None:
        raise RequestError(f"hydra.run.dir: {run.path} holds a run already; resume=auto goes on with it")
    for key, value in identity.items():
        if recorded.get(key) != value:
            raise RequestError(f"resume=auto: the run in {run.path} was started with another {key}")
    return run.last_checkpoint if run.last_checkpoint.exists() else None
