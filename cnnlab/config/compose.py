"""Tell Hydra what a configuration is composed from: the command line, experiments, and files of the user's own."""

import re
import sys
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import ConfigCompositionException
from omegaconf import DictConfig, ListConfig, OmegaConf

from cnnlab.config.paths import GROUPS, ROOT
from cnnlab.config.settings import choices, command_line, identity, plain, settings
from cnnlab.config.sweeps import alternatives, expand_seeds
from cnnlab.errors import RequestError
from cnnlab.runs.directory import default_directory
from cnnlab.runs.sweeps import sweep_directory

SWEEPING = ("train",)  # commands that -m runs several times
# Keys whose values are files or names of files.
PATHS = (
    *("checkpoint", "images", "image", "output", "gallery", "runs", "resume", "name"),
    *("data.path", "data.cache", "hydra.run.dir", "hydra.sweep.dir"),
)


def register_configs(directory: Path, command: str = "") -> None:
    """Makes `experiment=NAME` and the working directory's own `conf/<group>/*.yaml` known to Hydra.

    Args:
        directory: the working directory; its `experiments/` and `conf/` are read beside the project's own.
        command: takes of an experiment what is its own: `compare` the comparison, `train` the sweep, others one run.

    Raises:
        RequestError: where a file there has the name of one that the project ships, or is not YAML.
    """
    OmegaConf.register_new_resolver("run_dir", _run_directory, replace=True)
    OmegaConf.register_new_resolver("sweep_dir", _sweep_directory, replace=True)
    OmegaConf.register_new_resolver("choices", lambda group: _names(group, directory), replace=True)
    for file in sorted((ROOT / "experiments").glob("*.yaml")):
        _store(file, "experiment", command)
    for file in _own_files(directory / "experiments", ROOT / "experiments"):
        _store(file, "experiment", command)
    for group in GROUPS:
        for file in _own_files(directory / "conf" / group, ROOT / "conf" / group):
            _store(file, group)


def _names(group: str, directory: Path) -> str:
    """What can be chosen in a group, for the help of a command."""
    below = Path("experiments") if group == "experiment" else Path("conf") / group
    folders = (ROOT / below, directory / below)
    return ", ".join(sorted({file.stem for folder in folders for file in folder.glob("*.yaml")}))


def _own_files(folder: Path, shipped: Path) -> list[Path]:
    """The folder's YAML files, less those that are the shipped ones themselves."""
    own = []
    for file in sorted(folder.glob("*.yaml")):
        original = shipped / file.name
        if not original.exists():
            own.append(file)
        elif original.read_bytes() != file.read_bytes():
            raise RequestError(f"{file}: cnnlab ships one of that name; give yours another")
    return own


def _store(file: Path, group: str, command: str = "") -> None:
    if group == "experiment" and _only_listed():
        ConfigStore.instance().store(file.stem, {}, group=group, package="_global_")
        return
    try:
        node = OmegaConf.load(file)
    except Exception as error:  # the YAML parser has many
        raise RequestError(f"{file} is not readable YAML ({' '.join(str(error).split())})") from None
    if not isinstance(node, DictConfig):
        raise RequestError(f"{file} must hold keys and values")
    if group == "experiment":
        node.setdefault("name", file.stem)
        sweep, seeds, comparison = (node.pop(key, None) for key in ("sweep", "seeds", "comparison"))
        if command == "compare":
            node = _comparison(file, node.name, comparison)
        elif command in SWEEPING and (sweep is not None or seeds is not None):
            try:
                listed = alternatives(plain(sweep), plain(seeds))
            except RequestError as error:
                raise RequestError(f"{file}: {error}") from None
            OmegaConf.update(node, "hydra", {"mode": "MULTIRUN", "sweeper": {"alternatives": listed}})
    everywhere = group == "experiment" or re.match(r"(#.*\n)*# @package _global_", file.read_text())
    ConfigStore.instance().store(file.stem, node, group=group, package="_global_" if everywhere else group)


def _only_listed() -> bool:
    """Whether the help lists experiments and uses none: Hydra copies all that is stored for every line of the list."""
    helps = {"--help", "-h"} & set(sys.argv[1:])
    return bool(helps) and not any(argument.startswith("experiment=") for argument in sys.argv[1:])


def _comparison(file: Path, name: str, comparison: Any) -> DictConfig:
    """What `compare` takes from an experiment: its runs, and what it asks of them."""
    if comparison is not None and not isinstance(comparison, DictConfig):
        raise RequestError(f"{file}: comparison must hold keys and values")
    return OmegaConf.create({"runs": str(Path("runs") / name), **(plain(comparison) or {})})


def _run_directory(name: str | None, model: str, resume: str | None, *, _root_: DictConfig) -> str:
    """Where a run's files go, unless `hydra.run.dir` says it."""
    return str(default_directory(Path("runs") / (name or model), resume, lambda: identity(_root_)))


def _sweep_directory(name: str | None, *, _root_: DictConfig) -> str:
    """Where the run directories of a sweep go, unless `hydra.sweep.dir` says it."""
    return str(sweep_directory(sweep_folder(name), list(_root_.hydra.overrides.task)))


def sweep_folder(name: str | None) -> Path:
    """Where the sweeps of a name are."""
    return Path("runs") / (name or "sweep")


def each_model(config: DictConfig) -> dict[str, dict[str, Any]]:
    """The networks that are asked for, by name: that of `model=`, or each of `models=[...]` with the other arguments.

    Raises:
        RequestError: when `models` is no list of names, `model` is one, or a network has no option of that name.
    """
    names = config.get("models")
    if names is None:
        if (name := choices()["model"]) is None:  # Hydra would merge several into one
            raise RequestError("model takes one name; models=[NAME,NAME] takes several")
        return {name: settings(config)["model"]}
    if not isinstance(names, ListConfig) or not names or not all(isinstance(name, str) for name in names):
        raise RequestError("models must be a list of names, such as models=[lenet5,resnet18]")
    others = [arg for arg in command_line() if arg.partition("=")[0] not in ("model", "models")]
    networks = {}
    for name in names:
        try:
            composed = hydra.compose(HydraConfig.get().job.config_name, [*others, f"model={name}"])
        except ConfigCompositionException as error:
            if match := re.search(r"Could not override '(model\.[^']+)'", str(error)):
                raise RequestError(f"{match[1]} is not a key of {name}, one of models") from None
            raise
        networks[name] = settings(composed)["model"]
    return networks


def hydra_arguments(arguments: list[str], name: str) -> list[str]:
    """The command line as Hydra gets it.

    `seeds=5` sweeps. `models=[a,b]` chooses `model=a` too, for `model.KEY=VALUE` to be checked by. For `compare`,
    `experiment=NAME` stands for `runs=runs/NAME` where no file has that name.

    Raises:
        RequestError: when `models` and `model` are given, a sweep is asked of a command that has none, or runs twice.
    """
    if name not in SWEEPING and {"-m", "--multirun"} & set(arguments):
        raise RequestError(f"-m: cnnlab.{name} does not sweep; only {', '.join(SWEEPING)} does")
    if {"-m", "--multirun"} & set(arguments) and {"-c", "--cfg"} & {part.partition("=")[0] for part in arguments}:
        raise RequestError("--cfg: a sweep has a configuration for each job; leave -m out, and give each key one value")
    if name == "compare":
        files = _names("experiment", Path.cwd()).split(", ")
        arguments = [re.sub(rf"^experiment=(?!({'|'.join(files)})$)(.+)", r"runs=runs/\2", arg) for arg in arguments]
        if len([argument for argument in arguments if argument.startswith("runs=")]) > 1:
            raise RequestError("runs: give runs= or experiment=, once; runs=[FOLDER,FOLDER] takes several")
    for argument in arguments:
        group, _, value = argument.partition("=")
        if group in GROUPS and value in ("null", "None"):
            raise RequestError(f"{argument}: {group} takes a name; known: {_names(group, Path.cwd())}")
    listed = [match[1] for arg in arguments if (match := re.match(r"models=\[\s*['\"]?([\w.-]+)", arg))]
    if listed and any(arg.startswith("model=") for arg in arguments):
        raise RequestError("models: give either models= or model=")
    arguments = [_quoted(argument) for argument in arguments]
    if name in SWEEPING:
        # Hydra takes the flag before all keys only.
        return sorted(expand_seeds(arguments), key=lambda argument: argument not in ("-m", "--multirun"))
    return [f"model={listed[0]}", *arguments] if listed else arguments  # in front of options, such as --cfg job


def _quoted(argument: str) -> str:
    """A path with letters that mean something to Hydra, such as `images=IMG (1).jpg`, as Hydra takes it."""
    key, _, value = argument.partition("=")
    plain = re.fullmatch(r"[\w./*?+@%: -]*", value, re.ASCII) or re.match(r"\[.*\]$|['\"]", value) or "${" in value
    if key not in PATHS or plain or (key == "name" and "," in value):  # a sweep over names
        return argument
    escaped = re.sub(r"(\\*)('|$)", lambda match: match[1] * 2 + match[2].replace("'", r"\'"), value)
    return f"{key}='{escaped}'"
