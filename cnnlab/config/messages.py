"""Explain in one line what is wrong with a configuration: the key, and the nearest valid choice."""

import math
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf

from cnnlab.config.help import read_all_keys
from cnnlab.config.paths import CONFIG_GROUPS, ROOT, list_names
from cnnlab.errors import RequestError
from cnnlab.words import did_you_mean, nearest

# Options of Hydra that make sense here. Others read a configuration from elsewhere, or unpickle one.
OPTIONS = {"--help", "-h", "--hydra-help", "--cfg", "-c", "--resolve", "--package", "-p", "--multirun", "-m"}
OPTIONS |= {"--config-dir", "-cd", "--info", "-i", "--shell-completion", "-sc"}
SWEEPING_COMMANDS = ("train",)  # commands that take -m


def check_keys(config: DictConfig, name: str) -> None:
    """Raise a RequestError for an unknown top-level key, which Hydra accepts from recipes and experiments."""
    known = _top_keys(name)
    for key in config:
        if key not in known:
            others = [other for other in dotted(config) if other.partition(".")[0] != key]
            raise RequestError(_unknown_key(str(key), [*others, *known], name))
    _check_finite(OmegaConf.to_container(config, resolve=False), "")


def _check_finite(value: Any, name: str) -> None:
    """Raise a RequestError for a number that is NaN or infinite, at any depth."""
    if isinstance(value, dict):
        for key, item in value.items():
            _check_finite(item, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list):
        for item in value:
            _check_finite(item, name)
    elif isinstance(value, float) and not math.isfinite(value):
        raise RequestError(f"{name} must be a finite number, got {value}")


def _top_keys(name: str) -> list[str]:
    """Return the keys and groups of a primary file and of the files that it extends."""
    return list(dict.fromkeys(key.partition(".")[0] for key in read_all_keys(ROOT / "conf" / f"{name}.yaml")))


def explain(error: BaseException, name: str) -> str:
    """Return one line for an error of Hydra or OmegaConf: the wrong key or choice, and the nearest valid one."""
    causes: list[BaseException] = [error]
    while cause := causes[-1].__cause__:
        causes.append(cause)
    text = "\n".join(str(cause) for cause in causes)
    for cause in causes:
        if isinstance(cause, OverrideParseException):
            return _not_parsed(str(cause.override), name)
        if isinstance(cause, MissingConfigException) and cause.missing_cfg_file:
            group, _, choice = cause.missing_cfg_file.partition("/")
            if group == "hydra":
                group, _, choice = cause.missing_cfg_file.rpartition("/")
            return _unknown_choice(group, choice, cause.options or [])
    match = re.search(r"append to your config use \+experiment=(\S+)", text)
    if match and "experiment" in _top_keys(name):  # Hydra knows no group in which nothing is loaded
        return _unknown_choice("experiment", match[1], [])
    pattern = (
        r"Could not (override|delete from config.) '([^']+)'|full_key: (\S+)\n.*not in struct|Key '([^']+)' is not in"
    )
    if match := re.search(pattern, text):
        key, keys = next(group for group in match.groups()[1:] if group), _all_keys(name)
        if key in keys and match[1] != "override":
            return f"{key} is null already"
        if children := [known for known in keys if known.startswith(f"{key}.")]:
            return f"{key} has no choices here; known: {', '.join(children)}"
        return _unknown_key(key, keys, name)
    if match := re.match(r"Ambiguous value for argument '([^=]+)=(.*)'", text):
        sweep = "-m tries one after the other; " if name in SWEEPING_COMMANDS else ""
        return f"{match[1]}={match[2]} has several values; {sweep}{match[1]}=[{match[2]}] is a list"
    if match := re.search(r"Missing mandatory value: \S+\s+full_key: (\S+)", text):
        return f"{match[1]} must be given: {match[1]}=..."
    # OmegaConf puts this before the message of an error that a resolver raises.
    line = re.sub(r"^\w+ raised while resolving interpolation: ", "", str(causes[-1]).partition("\n")[0])
    if "could not be converted" in line and (match := re.search(r"full_key: (\S+)", text)):
        line = f"{match[1]}: {line}"
    return " ".join(line.split()) or type(error).__name__


def _unknown_key(key: str, known: Iterable[str], name: str) -> str:
    command = name.partition("_")[0]
    return f"{key} is not a key{did_you_mean(key, known) or f'; cnnlab {command} --help lists them'}"


def _unknown_choice(group: str, choice: str, known: Sequence[str]) -> str:
    if group in (*CONFIG_GROUPS, "experiment"):  # Hydra does not always tell all
        known = list_names(group, Path.cwd())
    if group == "data" and "/" in choice:
        if "://" in choice:
            return f"data={choice} is not known; download the images, then give data=folder data.path=FOLDER"
        on_the_hub = re.fullmatch(r"[\w.-]+/[\w.-]+", choice) and not Path(choice).exists()
        key = "data.source" if on_the_hub else "data.path"
        return f"data={choice} is not known; did you mean data=folder {key}={choice}?"
    library, _, network = choice.partition("/")
    if group == "model" and library in ("timm", "torchvision"):
        return f"model={choice} is not known; did you mean model={library} model.name={network}?"
    return f"{group}={choice} is not known{did_you_mean(choice, known, f'{group}=')}"


def _not_parsed(argument: str, name: str) -> str:
    """Return why Hydra cannot read an argument, and the key that a value may belong to."""
    if re.match(r"[+~]*[A-Za-z_][\w/@-]*(\.[\w-]+)*=", argument):
        return f"{argument} cannot be read: a bracket or quote has no partner, or a text needs quotes ('...')"
    keys = [key for key in ("checkpoint", "runs") if key in _top_keys(name)] if Path(argument).exists() else []
    keys += [group for group in ("model", "data") if argument in list_names(group, Path.cwd())]
    example = f"{keys[0]}={argument}" if keys else "optimizer.lr=0.1" if name == "train" else ""
    return f"{argument} is not of the form key=value{f', such as {example}' if example else ''}"


def check_options(arguments: Sequence[str], name: str) -> None:
    """Raise a RequestError for what begins with a dash but is no option, such as `--lr`, or has a wrong value."""

    def refuse(message: str) -> NoReturn:
        raise RequestError(message)

    for argument in arguments:
        option = argument.partition("=")[0]
        if re.match(r"--?[A-Za-z]", option) and option not in OPTIONS:
            word = option.lstrip("-").replace("-", "_")
            near = nearest(word, [*_all_keys(name), *OPTIONS])
            hint = (
                f"; did you mean {near}{'=VALUE' * (near not in OPTIONS)}?" if near else "; keys are given as key=value"
            )
            raise RequestError(f"{option} is not an option{hint}")
    parser = get_args_parser()
    parser.error = refuse
    given = parser.parse_args(arguments)
    if sum(map(bool, (given.multirun, given.cfg, given.info, given.shell_completion))) > 1:
        raise RequestError("--cfg: it shows a single run; leave out -m and --info, and give single values")


def _all_keys(name: str) -> list[str]:
    """Return all keys of a command, dotted, with the choices of this command line."""
    selecting = (*CONFIG_GROUPS, "experiment")
    chosen = [arg for arg in sys.argv[1:] if arg.partition("=")[0] in selecting and "," not in arg]
    started = GlobalHydra.instance().is_initialized()  # the command composes further configurations itself
    with nullcontext() if started else hydra.initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        try:
            config = hydra.compose(name, overrides=chosen)
        except Exception:  # if a choice is wrong too, show the keys of the defaults
            config = hydra.compose(name)
    groups = {key for key in _top_keys(name) if key not in config and key != "hydra"}  # nothing is chosen in these
    keys = [key for key in dotted(config) if "._" not in key and key != "hydra"]
    return [*keys, *sorted(groups), "hydra.run.dir"]


def dotted(config: DictConfig, prefix: str = "") -> Iterator[str]:
    """Yield all keys of a configuration, those of nested configurations too, dotted."""
    for key in config:
        yield f"{prefix}{key}"
        child = config._get_node(key)
        if isinstance(child, DictConfig) and not child._is_none() and not child._is_missing():
            yield from dotted(child, f"{prefix}{key}.")
