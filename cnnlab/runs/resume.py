"""Find the run and the checkpoint that `resume=` names, and check that the run can continue from it."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cnnlab.errors import RequestError
from cnnlab.limits import read_seconds
from cnnlab.runs.archive import check_archive
from cnnlab.runs.directory import RunDirectory, differing_key, run_of

log = logging.getLogger(__name__)

# Options of timm's networks that say where their weights come from, or where they are kept.
OTHER_WEIGHTS = ("checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")


def recorded_run(resume: str | None) -> RunDirectory | None:
    """Return the run that `resume=PATH` names, or None if it has no record.

    Raises:
        RequestError: if the path does not exist, or is a folder without a record or a readable configuration.
    """
    if resume in (None, "auto"):
        return None
    path = Path(resume).expanduser()
    if not path.exists():
        raise RequestError(f"resume: {path} does not exist; resume=auto finds the last unfinished run")
    run = run_of(path)
    if run is None and path.is_dir():
        raise RequestError(f"resume: {path} is not a run directory (it has no summary.json)")
    if run is not None:
        if run.read_summary() is None:
            raise RequestError(f"resume: {run.summary_file} is damaged")
        if not isinstance((run.read_config() or {}).get("trainer"), dict):
            raise RequestError(f"resume: {run.config_file} is missing or damaged")
        inside = run.path.resolve()
        for link in (file for file in run.path.rglob("*") if file.is_symlink()):
            if not link.resolve().is_relative_to(inside):  # what the run writes there would replace other files
                raise RequestError(f"resume: {link} is a link to a place outside of the run")
    return run


def check_length(options: Mapping[str, Any], run: RunDirectory, elsewhere: bool = False) -> None:
    """Check that the settings of the Trainer do not ask a resumed run for less than it has done.

    Raises:
        RequestError: if it has more epochs, steps or seconds than a limit that was not its own before; or if nothing is
            left to do of a run that continues in another directory.
    """
    done, before = run.read_summary() or {}, (run.read_config() or {}).get("trainer") or {}
    # The record rounds a part of an epoch. Duration compares the steps exactly.
    limits = {
        "max_epochs": (options.get("max_epochs"), _number(done.get("epochs")) // 1, "epochs"),
        "max_steps": (options.get("max_steps"), _number(done.get("steps")), "steps"),
        "max_time": (read_seconds(options.get("max_time")), _number(done.get("train_seconds")), "seconds"),
    }
    if elsewhere and done.get("status") == "completed" and all(options.get(key) == before.get(key) for key in limits):
        raise RequestError(f"resume: the run in {run.path} is complete; trainer.max_epochs=N makes it longer")
    for key, (limit, trained, unit) in limits.items():
        is_changed = options.get(key) != before.get(key) and not (key == "max_steps" and limit == -1)
        if is_changed and isinstance(limit, int | float) and limit < trained:
            raise RequestError(
                f"trainer.{key}={options[key]}: the run has trained {trained:g} {unit}, and cannot be made shorter"
            )


def _has_not_begun(run: RunDirectory) -> bool:
    """Check that a run was ended before its first checkpoint, and that its beginning reads no weights of strangers.

    Pretrained weights are those that timm or torchvision publishes under the name of the network.
    """
    model = (run.read_config() or {}).get("model") or {}
    return not (run.read_summary() or {}).get("steps") and not any(model.get(key) for key in OTHER_WEIGHTS)


def _number(value: Any) -> float:
    return value if isinstance(value, int | float) else 0.0


def find_checkpoint(run: RunDirectory, resume: str | None, identity: dict[str, Any]) -> Path | None:
    """Return the checkpoint from which a run continues in its directory, or None to start at the beginning.

    `resume` is None, `auto`, a run directory or a checkpoint. `identity` is the part of the configuration that decides
    the result.

    Raises:
        RequestError: if the directory holds a run and `resume` is None, or another run; if there is no checkpoint.
    """
    if resume not in (None, "auto"):
        path = Path(resume).expanduser()
        resumed = run_of(path)
        if run_of(run.path) and (resumed is None or resumed.path.resolve() != run.path.resolve()):
            raise RequestError(f"hydra.run.dir: {run.path} holds another run")
        checkpoint = path if path.is_file() else RunDirectory(path).last_checkpoint
        if resumed and resumed.path == path and not checkpoint.exists() and _has_not_begun(resumed):
            return None
        if not checkpoint.is_file():
            raise RequestError(f"resume: there is no checkpoint {checkpoint}")
        check_archive(checkpoint, "resume")  # before images are looked for; the rest is checked when it is read
        return checkpoint
    recorded = run.read_config()
    if recorded is None:
        if damaged := [file for file in (run.config_file, run.summary_file) if file.exists()]:
            raise RequestError(f"hydra.run.dir: {run.path} holds a damaged run (see {damaged[0].name})")
        if resume == "auto":
            log.info("There is no unfinished run of this configuration, so a new one starts.")
        return None
    if resume is None:
        raise RequestError(f"hydra.run.dir: {run.path} holds a run already; resume=auto continues it")
    if key := differing_key(recorded, identity):
        raise RequestError(f"resume=auto: the run in {run.path} was started with another {key}")
    return run.last_checkpoint if run.last_checkpoint.exists() else None
