"""Decide which functions a stranger's checkpoint or run may name, before anything is imported.

A checkpoint names the class of its network, and a run directory the functions that make all parts of the run. Files
from strangers may name what cnnlab ships, what the user's own `conf/` and `experiments/` in the working directory name,
and what the user allows by `trust=`. A module inside the run directory is never imported.
"""

import importlib.machinery
import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from cnnlab.declarations import defining_module
from cnnlab.errors import RequestError
from cnnlab.instantiate import import_target

Trusted = str | list[str] | None  # modules, or full names of classes and functions

ENVIRONMENT = "CNNLAB_TRUST"  # variable with further trusted names, separated by commas
NETWORKS = (r"cnnlab\.models\.\w+\.\w+", r"cnnlab\.libraries\.(timm|torchvision)_network")
PARTS_OF_A_RUN = (
    *NETWORKS,
    r"cnnlab\.data\.augment\.Augmentation",
    r"cnnlab\.data\.datamodule\.ImageDataModule",
    r"cnnlab\.training\.(averaging\.AveragedWeights|lr_finder\.LearningRateFinder|muon\.Muon|tensorboard\.TensorBoard)",
    r"cnnlab\.training\.schedules\.\w+",
    r"torch\.(nn|nn\.modules\.loss|optim|optim\.lr_scheduler)\.\w+",
    r"timm\.(loss|optim|scheduler)\.\w+",
    r"torchvision\.transforms\.v2\.\w+",
    r"lightning\.pytorch\.callbacks\.(?!\w*Checkpoint|\w*Writer)\w+",  # these write where their arguments say
    r"lightning\.pytorch\.loggers\.\w+",
)
LOCAL_LOGGERS = ("cnnlab.training.tensorboard.TensorBoard",)  # that write into the run directory alone


def check_trusted(targets: Iterable[Any], known: Iterable[str], trust: Trusted, file: Path, key: str) -> None:
    """Check the functions (values of `_target_`) that a run directory or checkpoint names.

    Names that match the `known` patterns (`NETWORKS` or `PARTS_OF_A_RUN`) need no trust. The user trusts the names in
    `trust` and `CNNLAB_TRUST`, with all that is below them. Messages begin with the key that names the file.

    Raises:
        RequestError: if a name is not trusted or cannot be imported, or leads to another module's function.
    """
    targets, run = list(targets), _run_directory(file)
    given, own = _trusted_names(trust), _own_targets(run)
    for target in targets:
        if not isinstance(target, str) or not re.fullmatch(r"[^\W\d]\w*([.:]\w+)+", target):
            raise RequestError(f"{key}: {file} is not loaded: {target!r} is not the name of a class or function")
        is_known = any(re.fullmatch(pattern, target) for pattern in known)
        if not (is_known or target in own or any(_is_below(target, name) for name in given)):
            top = re.split("[.:]", target)[0]
            raise RequestError(
                f"{key}: {file} is not loaded: it names {target}, which may run any code; trust={top} allows it"
            )
        _check_place(target, run, key)
    for target in targets:
        if target not in (*own, *given):
            packages = [name for name in given if _is_below(target, name)] or [target.rpartition(".")[0]]
            # A module gives access to those that it imports: mynet.os.system.
            module = defining_module(target) or str(getattr(import_target(target, key), "__module__", ""))
            if not any(_is_below(module, package) for package in packages):
                raise RequestError(f"{key}: {file} is not loaded: {target} is defined in another module, {module}")


def check_loggers(loggers: Any, run: Path) -> None:
    """Check that the recorded loggers of a run send its figures to no server.

    Raises:
        RequestError: if one might.
    """
    if others := [name for name in find_targets(loggers) if name not in LOCAL_LOGGERS]:
        raise RequestError(
            f"resume: {run} is not loaded: it logs with {others[0]}, which may send its figures to a server; "
            "logger=NAME chooses a logger"
        )


def find_targets(value: Any) -> Iterator[Any]:
    """Yield all values of `_target_` in a configuration of dictionaries and lists."""
    if isinstance(value, dict):
        if "_target_" in value:
            yield value["_target_"]
        value = list(value.values())
    if isinstance(value, list | tuple):
        for part in value:
            yield from find_targets(part)


def _trusted_names(trust: Trusted) -> list[str]:
    names = [trust] if isinstance(trust, str) else trust or []
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) and name for name in names):
        raise RequestError(f"trust must be the name of a module or a list of names, got {trust!r}")
    return [*names, *re.findall(r"[^\s,]+", os.environ.get(ENVIRONMENT, ""))]


def _own_targets(run: Path | None) -> set[str]:
    """Return the names in the user's own configuration files, unless the working directory belongs to the run."""
    here = Path.cwd()
    if run and here.is_relative_to(run):
        return set()
    files = [file for pattern in ("conf/*.yaml", "conf/*/*.yaml", "experiments/*.yaml") for file in here.glob(pattern)]
    texts = [file.read_text(encoding="utf-8", errors="replace") for file in files]
    return {name for text in texts for name in re.findall(r"_target_['\"]?\s*:\s*['\"]?([\w.:]+)", text)}


def _run_directory(file: Path) -> Path | None:
    """Return the run directory that a path is or is in; None for a checkpoint elsewhere."""
    path = file.expanduser().resolve()
    if path.is_dir():
        return path
    return path.parent.parent if path.parent.name == "checkpoints" else None


def _check_place(target: str, run: Path | None, key: str) -> None:
    """Refuse a name that Python would look up inside the run directory."""
    module = re.split("[.:]", target)[0]
    if run is None or module in sys.modules:
        return
    found = importlib.machinery.PathFinder.find_spec(module, [*sys.path, str(Path.cwd())])
    places = [found.origin, *(found.submodule_search_locations or [])] if found else []
    if any(place and Path(place).resolve().is_relative_to(run) for place in places):
        raise RequestError(f"{key}: {run} is not loaded: the module {module} is inside this run directory")


def _is_below(name: str, parent: str) -> bool:
    return name == parent or name.startswith((f"{parent}.", f"{parent}:"))
