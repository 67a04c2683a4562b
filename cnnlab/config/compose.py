"""Prepare what Hydra composes a configuration from: the command line, experiments, and the user's own files."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, ListConfig, OmegaConf

from cnnlab.config.help import register_help
from cnnlab.config.messages import SWEEPING_COMMANDS, check_options
from cnnlab.config.parts import open_parts, own_names
from cnnlab.config.paths import CONFIG_GROUPS, ROOT, group_folder, list_names
from cnnlab.config.request import check_name, check_settings
from cnnlab.config.settings import chosen_groups, command_line, identity, plain, settings
from cnnlab.config.sweeps import REPEATS, check_number_of_jobs, expand_repeats, quoted, read_grids
from cnnlab.errors import RequestError
from cnnlab.runs.directory import checkpoint_file, default_directory
from cnnlab.runs.shipped import shipped_data, shipped_names
from cnnlab.runs.sweeps import sweep_directory

# Keys whose values are paths, names or sentences, in which Hydra's special characters are quoted.
PATH_KEYS = (
    *("checkpoint", "images", "image", "output", "gallery", "runs", "resume", "name", "weights", "claim"),
    *("data.path", "data.exclude", "data.cache", "hydra.run.dir", "hydra.sweep.dir"),
)


def register_configs(directory: Path, command: str = "", arguments: Sequence[str] = ()) -> None:
    """Tell Hydra of the chosen experiments, of the user's own `conf/<group>/*.yaml`, and of cnnlab's resolvers.

    Args:
        directory: the working directory; its `experiments/` and `conf/` extend the project's own.
        command: `compare` takes the comparison from an experiment, `train` the sweep, all others a single run.
        arguments: those of the command line, of which `experiment=NAME` is read.

    Raises:
        RequestError: if a file of the user has a name that the project uses, or is not YAML.
    """
    OmegaConf.register_new_resolver("run_dir", _run_directory, replace=True)
    OmegaConf.register_new_resolver("sweep_dir", _sweep_directory, replace=True)
    OmegaConf.register_new_resolver("study_dir", lambda name: str(sweep_folder(name)), replace=True)
    open_parts()
    register_help(directory)
    chosen = [argument for argument in arguments if argument.startswith("experiment=")]
    names = [name for argument in chosen for name in re.findall(r"[\w.-]+", argument.partition("=")[2])]
    for name in list_names("experiment", directory) if command == "tune" else names:  # a search may vary it
        _store_experiment(name, directory, command)
    for group in CONFIG_GROUPS:
        for file in sorted((directory / group_folder(group)).glob("*.yaml")):
            if _find_file(group, file.stem, directory) != ROOT / group_folder(group) / file.name:
                everywhere = re.match(
                    r"(#.*\n)*# @package _global_", file.read_text(encoding="utf-8", errors="replace")
                )
                package = "_global_" if everywhere else group
                ConfigStore.instance().store(file.stem, _load(file), group=group, package=package)


def _find_file(group: str, name: str, directory: Path) -> Path | None:
    """Return the file of a choice, in the project or else in the working directory."""
    shipped, own = (root / group_folder(group) / f"{name}.yaml" for root in (ROOT, directory))
    if shipped.is_file() and own.is_file() and shipped.read_bytes() != own.read_bytes():
        raise RequestError(f"{own}: rename this file; cnnlab has one of the same name")
    return next((file for file in (shipped, own) if file.is_file()), None)


def _load(file: Path) -> DictConfig:
    try:
        node = OmegaConf.load(file)
    except Exception as error:  # PyYAML and OmegaConf raise many types
        raise RequestError(f"{file} is not readable YAML ({' '.join(str(error).split())})") from None
    if not isinstance(node, DictConfig):
        raise RequestError(f"{file} must hold keys and values")
    return node


def _store_experiment(name: str, directory: Path, command: str) -> None:
    """Tell Hydra of an experiment and of those that it extends. Hydra itself reports an unknown name."""
    if (file := _find_file("experiment", name, directory)) is None:
        return
    node = _load(file)
    for extended in node.get("defaults", []):
        if isinstance(extended, str) and extended not in ("_self_", name):
            _store_experiment(extended, directory, command)
    node.setdefault("name", name)
    sweep, seeds, folds, comparison = (node.pop(key, None) for key in ("sweep", "seeds", "folds", "comparison"))
    if command == "compare":
        if comparison is not None and not isinstance(comparison, DictConfig):
            raise RequestError(f"{file}: comparison must hold keys and values")
        node = OmegaConf.create({"runs": str(Path("runs") / node.name), **(plain(comparison) or {})})
    elif command in SWEEPING_COMMANDS and any(part is not None for part in (sweep, seeds, folds)):
        try:
            grids = read_grids(plain(sweep), plain(seeds), plain(folds))
        except RequestError as error:
            raise RequestError(f"{file}: {error}") from None
        OmegaConf.update(node, "hydra", {"mode": "MULTIRUN", "sweeper": {"grids": grids}})
    ConfigStore.instance().store(name, node, group="experiment", package="_global_")


def _run_directory(name: str | None, model: str, resume: str | None, *, _root_: DictConfig) -> str:
    """Return the default of `hydra.run.dir`."""
    check_name(name)
    if not isinstance(resume, str | None):
        raise RequestError(f"resume takes one run directory or checkpoint, got {resume}")
    model = own_names(_root_.hydra.overrides.task).get("model", model)
    return str(default_directory(Path("runs") / (name or model), resume, lambda: identity(_root_)))


def _sweep_directory(name: str | None, *, _root_: DictConfig) -> str:
    """Return the default of `hydra.sweep.dir`."""
    return str(sweep_directory(sweep_folder(name), list(_root_.hydra.overrides.task)))


def sweep_folder(name: str | None) -> Path:
    """Return the folder that holds the sweeps of this name."""
    check_name(name)
    return Path("runs") / (name or "sweep")


def each_model(config: DictConfig) -> dict[str, dict[str, Any]]:
    """Return the settings of each network of `models=[...]`, or of `model=`, by name.

    The other arguments of the command line, such as `model.width=0.5`, apply to every network.

    Raises:
        RequestError: if `models` is not a list of names, or a network lacks an option.
    """
    names = config.get("models")
    if names is None:
        return {str(chosen_groups()["model"]): settings(config)["model"]}
    if not isinstance(names, ListConfig) or not names or not all(isinstance(name, str) for name in names):
        raise RequestError("models must be a list of names, such as models=[lenet5,resnet18]")
    others = [arg for arg in command_line() if arg.partition("=")[0] not in ("model", "models")]
    networks = {}
    for name in names:
        composed = hydra.compose(HydraConfig.get().job.config_name, [*others, f"model={name}"])
        networks[name] = settings(composed)["model"]
        try:
            check_settings({"model": networks[name]})
        except RequestError as error:
            raise RequestError(f"{error} ({name}, which is one of models)") from None
    return networks


def hydra_arguments(arguments: list[str], name: str) -> list[str]:
    """Return the command line in the form that Hydra takes.

    `seeds=5` and `folds=5` become a sweep. `models=[a,b]` adds `model=a`, so that Hydra accepts the options of
    networks. `checkpoint=lenet5-digits` adds `data=digits`, unless other data are given. For `compare`,
    `experiment=NAME` becomes `runs=runs/NAME` if there is no such experiment.

    Raises:
        RequestError: if `-m` is given to a command without sweeps, a range is impossible, or two arguments contradict
            each other.
    """
    arguments = sorted(arguments, key=lambda argument: bool(re.match("[^-].*=", argument)))  # options come first
    check_options(arguments, name)
    if {"-sc", "--shell-completion"} & set(arguments):
        if not {"query=bash", "query=fish"} & set(arguments):
            raise RequestError("-sc takes query=bash or query=fish, for the shell; docs/first-steps.md says how")
        if not re.match(r"\S+\s", os.environ.get("COMP_LINE", "")):  # what is typed so far
            os.environ["COMP_LINE"] = f"cnnlab {name} "
    if name not in SWEEPING_COMMANDS and {"-m", "--multirun"} & set(arguments):
        raise RequestError(f"-m: cnnlab {name} does not sweep; only {', '.join(SWEEPING_COMMANDS)} does")
    if name == "compare":
        known = "|".join(map(re.escape, list_names("experiment", Path.cwd())))
        arguments = [re.sub(rf"^experiment=(?!({known})$)(.+)", r"runs=runs/\2", argument) for argument in arguments]
        if len([argument for argument in arguments if argument.startswith("runs=")]) > 1:
            raise RequestError("runs: give either runs= or experiment=, once; runs=[FOLDER,FOLDER] takes several")
    sweeps = any(argument in ("-m", "--multirun") or argument.partition("=")[0] in REPEATS for argument in arguments)
    if name == "tune" and (folds := [argument for argument in arguments if argument.startswith("folds=")]):
        fold = f"data.{folds[0]} data.fold=1 scores it on the first fold"
        raise RequestError(f"{folds[0]}: every trial of a search is one run; {fold}, and train takes {folds[0]}")
    for argument in arguments:
        _check_argument(argument, name, sweeps)
    listed = [match[1] for arg in arguments if (match := re.match(r"models=\[\s*['\"]?([\w.-]+)", arg))]
    for model in listed:
        _check_argument(f"model={model}", name, sweeps=False)
    if listed and any(arg.startswith("model=") for arg in arguments):
        raise RequestError("models: give either models= or model=")
    arguments = [_quoted(argument) for argument in arguments]
    if ranges := [argument for argument in arguments if re.match(r"[^-].*=.*\brange\(", argument)]:
        check_number_of_jobs(OverridesParser.create().parse_overrides(ranges))  # Hydra would list all values
    if name in SWEEPING_COMMANDS:
        return expand_repeats(arguments)
    return [*arguments, f"model={listed[0]}"] if listed else [*arguments, *_own_data(arguments, name)]


def _own_data(arguments: Sequence[str], name: str) -> list[str]:
    """Return the choice of data for a network that comes with cnnlab, if the command has images and none are chosen."""
    checkpoints = [argument.partition("=")[2] for argument in arguments if argument.startswith("checkpoint=")]
    chosen = any(argument.startswith(("data=", "data.path=", "data.source=")) for argument in arguments)
    if name not in ("audit", "evaluate", "predict", "visualize") or chosen or len(checkpoints) != 1:
        return []
    if checkpoints[0] not in shipped_names():
        return []
    data = shipped_data(checkpoint_file(checkpoints[0]))  # a file of the user may have this name
    return [f"data={data}"] if data else []


def _check_argument(argument: str, name: str, sweeps: bool) -> None:
    """Raise a RequestError for an argument that Hydra would answer with an error of its own, or misunderstand."""
    group, _, value = argument.partition("=")
    bare = group.lstrip("+~")
    if name in ("train", "tune") and re.search("[\udc80-\udcff]", argument):  # how Python reads such bytes
        raise RequestError(f"{argument}: records hold UTF-8 alone; rename the file, or give it a link")
    if argument and not bare:
        raise RequestError(f"{argument} is not of the form key=value")
    if bare != group and bare in (*CONFIG_GROUPS, "experiment"):
        typed = f"{bare}={value}" if value and group[0] == "+" else f"{bare}=NAME"
        raise RequestError(f"{argument}: a choice is replaced, neither added nor left out: {typed}")
    if group == "resume" and value != "auto" and sweeps:
        raise RequestError(f"{argument}: a run is resumed alone; to continue a sweep, start it again")
    takes_one = group in CONFIG_GROUPS and group not in ("logger", "callbacks")  # Hydra would merge several
    if takes_one and re.match(r"\[" if name in SWEEPING_COMMANDS else r"\[|\w+,", value):
        models = "; models=[NAME,NAME] takes several" if group == "model" else ""
        several = f"; -m {group}=NAME,NAME tries several" if name in SWEEPING_COMMANDS else models
        raise RequestError(f"{argument}: {group} takes one name{several}")
    if group in CONFIG_GROUPS and re.fullmatch(r"null|None|true|false|[+-]?[\d.][\d.e+-]*", value):
        known = ", ".join(list_names(group, Path.cwd()))
        raise RequestError(f"{argument}: {group} takes a name; known: {known}")


def _quoted(argument: str) -> str:
    """Quote a path that has special characters of Hydra, such as `images=IMG (1).jpg`."""
    key, _, value = argument.partition("=")
    is_number = key in ("name", "resume") and re.fullmatch(r"[+-]?[\d.]+", value)  # it is meant as a name
    is_plain = re.fullmatch(r"[\w./*?+@%: -]*", value, re.ASCII) and not is_number
    plain = is_plain or re.match(r"\[.*\]$|['\"]", value) or "${" in value
    if key not in PATH_KEYS or plain or (key in ("name", "weights") and "," in value):  # a sweep
        return argument
    return f"{key}={quoted(value)}"
