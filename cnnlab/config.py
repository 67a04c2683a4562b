"""The one door to Hydra: how a command is composed and started, and what it may ask about its configuration.

Importing this must stay cheap, because `--help` does it: torch and Lightning are imported inside the commands.
"""

import functools
import os
import re
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import ConfigCompositionException, HydraException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cnnlab import process
from cnnlab.errors import Incomplete, Interrupted, RequestError, SweepFailed
from cnnlab.messages import check_keys, explain
from cnnlab.places import GROUPS, ROOT
from cnnlab.runs.directory import RunDirectory, default_directory, discard_unused
from cnnlab.runs.processes import Processes, own_place
from cnnlab.runs.sweeps import sweep_directory
from cnnlab.sweep import alternatives, expand_seeds

SWEEPING = ("train",)  # commands that -m runs several times
# Keys whose values are files or names of files.
PATHS = (
    *("checkpoint", "images", "image", "output", "gallery", "runs", "resume", "name"),
    *("data.path", "data.cache", "hydra.run.dir", "hydra.sweep.dir"),
)
# Keys of data that a checkpoint has decided, or that change nothing of what a trained network answers.
OF_TRAINING = ("image_size", "batch_size", "mean", "std", "workers")
# What does not decide how a run comes out.
ASIDE = ("name", "resume", "logger")
# What a run that goes on may be told anew: how long and on what it runs, and where its images are.
OF_CONTINUING = (
    *("name", "resume", "logger", "callbacks"),
    *("trainer.max_epochs", "trainer.max_steps", "trainer.max_time"),
    *("trainer.accelerator", "trainer.devices", "trainer.num_nodes", "trainer.strategy"),
    *("trainer.compile", "trainer.tf32", "trainer.benchmark", "trainer.deterministic"),
    *("trainer.profile", "trainer.detect_anomaly", "trainer.enable_progress_bar", "trainer.num_sanity_val_steps"),
    *("data.path", "data.cache", "data.residence", "data.workers", "data.eval_batch_size"),
)


def command(name: str, task: Callable[..., Any], follow: Callable[..., None] | None = None) -> Callable[[], None]:
    """The program for a command: composes `conf/<name>.yaml` with the command line, runs the task, sets the exit code.

    Args:
        name: of the command and of its primary configuration.
        task: gets the composed configuration; what it returns is what a sweeper optimizes.
        follow: for a command that may run in several processes: what all but the first do, with the job that they are
            told (see `cnnlab.runs.processes`). The task then gets `processes` too.
    """

    def main() -> None:
        os.environ["HYDRA_FULL_ERROR"] = "1"  # errors are explained here, not by Hydra
        process.prepare()
        if str(Path.cwd()) not in sys.path:
            sys.path.append(str(Path.cwd()))  # a network of the user's own is found in the working directory
        if follow is None:
            sys.exit(_exit_code(name, task))
        processes = Processes(own_place())
        if not processes.leads:
            sys.exit(processes.follow(follow))
        try:
            code = _exit_code(name, functools.partial(task, processes=processes), processes)
        finally:
            processes.dismiss()
        sys.exit(code)

    return main


def _exit_code(name: str, task: Callable[[DictConfig], Any], processes: Processes | None = None) -> int:
    """0 done, 1 failed, 2 the request was wrong, 130 interrupted; says on stderr what went wrong."""
    failures: list[Exception] = []

    def job(config: DictConfig) -> Any:
        try:
            check_keys(config, name)
            return task(config)
        except Exception as error:  # the other jobs of a sweep go on
            if isinstance(error, RequestError | OmegaConfBaseException) and output_directory() != Path.cwd():
                discard_unused(output_directory())
            failures.append(error)
            return None

    try:
        register_configs(Path.cwd(), name)
        sys.argv[1:] = _arguments(sys.argv[1:], name)
        hydra.main(config_path=str(ROOT / "conf"), config_name=name, version_base="1.3")(job)()
    except (Interrupted, KeyboardInterrupt) as error:
        return _say(str(error) or "Interrupted.", 130)
    except Exception as error:
        failures.append(error)
    return min((_report(error, name) for error in failures), default=0)


def _report(error: Exception, name: str) -> int:
    """Says what went wrong, with a traceback where it was not the request; returns the exit code."""
    if isinstance(error, RequestError):
        return _say(str(error), 2)
    if isinstance(error, SweepFailed):
        return _say(str(error), error.code)
    if isinstance(error, HydraException | OmegaConfBaseException):
        return _say(explain(error, name), 2)
    if isinstance(error, Incomplete):
        return _say(str(error), 1)
    traceback.print_exception(error)
    return _say(f"The work failed: {type(error).__name__}: {error}", 1)


def _say(message: str, code: int) -> int:
    print(message, file=sys.stderr)
    return code


# --- what Hydra composes from ----------------------------------------------------------------------------------------


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
                listed = alternatives(_plain(sweep), _plain(seeds))
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
    return OmegaConf.create({"runs": str(Path("runs") / name), **(_plain(comparison) or {})})


def _run_directory(name: str | None, model: str, resume: str | None, *, _root_: DictConfig) -> str:
    """Where a run's files go, unless `hydra.run.dir` says it."""
    return str(default_directory(Path("runs") / (name or model), resume, lambda: identity(_root_)))


def _sweep_directory(name: str | None, *, _root_: DictConfig) -> str:
    """Where the run directories of a sweep go, unless `hydra.sweep.dir` says it."""
    return str(sweep_directory(sweep_folder(name), list(_root_.hydra.overrides.task)))


def sweep_folder(name: str | None) -> Path:
    """Where the sweeps of a name are."""
    return Path("runs") / (name or "sweep")


# --- what a task asks about its configuration ------------------------------------------------------------------------


def settings(config: DictConfig) -> dict[str, Any]:
    """A configuration as dictionaries, lists and plain values, with everything resolved and `data.path` absolute."""
    # One by one: to resolve Hydra's own part would ask for the run directory, which asks for this.
    values = {str(key): _plain(config[key]) for key in config if key != "hydra"}
    data = values.get("data")
    if isinstance(data, dict) and isinstance(data.get("path"), str):
        data["path"] = str(Path(data["path"]).expanduser().absolute())  # a run may be resumed from elsewhere
    return values


def identity(config: DictConfig) -> dict[str, Any]:
    """What of a configuration decides how a run comes out; two runs with the same identity are the same run."""
    return {key: value for key, value in settings(config).items() if key not in ASIDE}


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True, throw_on_missing=True) if OmegaConf.is_config(value) else value


def choices() -> dict[str, str | None]:
    """The name chosen in each group, such as {"model": "resnet18", "recipe": "fast", ...}."""
    chosen = HydraConfig.get().runtime.choices
    return {group: chosen.get(group) for group in (*GROUPS, "experiment")}


def model_name(choice: str, model: Mapping[str, Any] | DictConfig) -> str:
    """The choice; where it stands for a whole library, the network's own name with it: `timm/convnext_atto`.

    Args:
        choice: of the group `model`, or what this gave for it earlier, in the record of a run that is resumed.
        model: its configuration.
    """
    return f"{choice.partition('/')[0]}/{model['name']}" if "name" in model else choice


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


def _arguments(arguments: list[str], name: str) -> list[str]:
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


def output_directory() -> Path:
    """The run directory that Hydra made for this job."""
    return Path(HydraConfig.get().runtime.output_dir)


def command_line() -> list[str]:
    """The key=value arguments of this job."""
    return list(HydraConfig.get().overrides.task)


def given_keys() -> set[str]:
    """The keys that this job's command line gives values to."""
    return {argument.lstrip("+~").partition("=")[0] for argument in command_line()}


def with_recorded(config: DictConfig, recorded: Path) -> DictConfig:
    """The configuration of a run that is resumed: the recorded one, changed by this command line's own values.

    Where `trainer.max_epochs` or `max_steps` is another one, `lengthened` keeps those that the run had before: its
    schedule was not that of a run which was so long from the beginning, and it is not averaged with one.

    Args:
        config: as composed from this command line.
        recorded: the `config.yaml` of the run.

    Raises:
        RequestError: where the command line changes what the run has been trained with, such as its recipe or seed.
    """
    merged = OmegaConf.load(recorded)
    assert isinstance(merged, DictConfig)
    epochs, steps = (OmegaConf.select(merged, f"trainer.max_{length}") for length in ("epochs", "steps"))
    for override in command_line():
        key, _, _ = override.lstrip("+~").partition("=")
        if key == "trainer":  # the group comes with the epochs and the clipping of this command line's recipe
            raise RequestError(f"{override}: a resumed run takes single keys, such as trainer.accelerator=cpu")
        changed = key in GROUPS or OmegaConf.select(merged, key) != OmegaConf.select(config, key)
        if changed and not any(f"{key}.".startswith(f"{free}.") for free in OF_CONTINUING):
            raise RequestError(f"{override}: a resumed run keeps its own {key}; leave it out, or start a new run")
        if override.startswith("~"):
            parent, _, leaf = key.rpartition(".")
            OmegaConf.select(merged, parent).pop(leaf, None) if parent else merged.pop(leaf, None)
        else:
            OmegaConf.update(merged, key, OmegaConf.select(config, key), merge=False, force_add=True)
    if OmegaConf.select(merged, "trainer.max_epochs") != epochs:
        merged.lengthened = [*merged.get("lengthened", []), epochs]
    elif OmegaConf.select(merged, "trainer.max_steps") != steps:
        merged.lengthened = [*merged.get("lengthened", []), f"{steps} steps"]
    return merged


def data_settings(config: DictConfig, run: RunDirectory | None) -> dict[str, Any]:
    """The data that a trained network is shown: those of its run, changed by this command line's own values.

    Where the command line chooses `data=NAME`, or the run is not known, they are those of the command line alone. From
    a record nothing but plain values is taken, for it may be a stranger's: it cannot choose what is called with them.

    Args:
        config: as composed from this command line.
        run: the run that trained the network, where there is one.

    Returns:
        The keys of `data` less those that the checkpoint decides, or that are about training alone.

    Raises:
        RequestError: when the command line gives one of those.
    """
    own = settings(config)["data"]
    given = given_keys()
    for key in OF_TRAINING:
        if f"data.{key}" in given:
            near = "; data.eval_batch_size is how many images are computed at a time" if key == "batch_size" else ""
            raise RequestError(f"data.{key} is of the training, and nothing to choose here{near}")
    recorded = (run.read_config() or {}).get("data") if run else None
    if isinstance(recorded, dict) and "data" not in given:
        kept = [key for key, value in recorded.items() if key in own and not isinstance(value, dict)]
        own |= {key: recorded[key] for key in kept if f"data.{key}" not in given}
    return {key: value for key, value in own.items() if key not in (*OF_TRAINING, "_target_")}
