"""Explains in one line what is wrong with a configuration, where Hydra would take ten: the key, and what would do."""

import re
import sys
from collections.abc import Iterator
from contextlib import nullcontext

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf

from cnnlab.config.paths import GROUPS, ROOT
from cnnlab.errors import RequestError
from cnnlab.instantiate import did_you_mean


def check_keys(config: DictConfig, name: str) -> None:
    """Top-level keys beside those of the primary file: recipes and experiments are merged without Hydra's own check."""
    known = _top_keys(name)
    for key in config:
        if key not in known:
            raise RequestError(f"{key} is not a key{did_you_mean(str(key), known)}")


def _top_keys(name: str) -> list[str]:
    """Keys and groups of a primary file, with those of the files that it starts from."""
    primary = OmegaConf.load(ROOT / "conf" / f"{name}.yaml")
    assert isinstance(primary, DictConfig)
    keys = [str(key) for key in primary if key != "defaults"]
    for entry in primary.get("defaults", []):
        if isinstance(entry, DictConfig):
            keys.append(str(next(iter(entry))).removeprefix("override "))
        elif entry != "_self_":
            keys += _top_keys(entry)
    return keys


def explain(error: BaseException, name: str) -> str:
    """One line for an error of Hydra or OmegaConf: the key or choice that is wrong, and the nearest that is right."""
    causes: list[BaseException] = [error]
    while cause := causes[-1].__cause__:
        causes.append(cause)
    text = "\n".join(str(cause) for cause in causes)
    for cause in causes:
        if isinstance(cause, OverrideParseException):
            return f"{cause.override} is not of the form key=value ({' '.join(cause.message.split())})"
        if isinstance(cause, MissingConfigException) and cause.missing_cfg_file:
            group, _, choice = cause.missing_cfg_file.rpartition("/")
            return f"{group}={choice} is not known{did_you_mean(choice, cause.options or [], f'{group}=')}"
    if match := re.search(
        r"Could not override '([^']+)'|full_key: (\S+)\n.*not in struct|Key '([^']+)' is not in", text
    ):
        key = next(group for group in match.groups() if group)
        if children := [known for known in _all_keys(name) if known.startswith(f"{key}.")]:
            return f"{key} has no choices here; known: {', '.join(children)}"
        return f"{key} is not a key{did_you_mean(key, _all_keys(name))}"
    if match := re.search(r"Missing mandatory value: \S+\s+full_key: (\S+)", text):
        return f"{match[1]} must be given: {match[1]}=..."
    return " ".join(str(causes[-1]).partition("\n")[0].split()) or type(error).__name__


def _all_keys(name: str) -> list[str]:
    """Every key that a command knows with the choices of this command line, dotted."""
    selecting = (*GROUPS, "experiment")
    chosen = [arg for arg in sys.argv[1:] if arg.partition("=")[0] in selecting and "," not in arg]
    started = GlobalHydra.instance().is_initialized()  # by the command itself, which composes something else
    with nullcontext() if started else hydra.initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        try:
            config = hydra.compose(name, overrides=chosen)
        except Exception:  # one of the choices is wrong itself; the keys of the default ones will do
            config = hydra.compose(name)
    return [*dotted(config), "experiment", "hydra.run.dir"]


def dotted(config: DictConfig, prefix: str = "") -> Iterator[str]:
    """The keys of a configuration and of all that it holds, dotted."""
    for key in config:
        yield f"{prefix}{key}"
        child = config._get_node(key)
        if isinstance(child, DictConfig) and not child._is_none() and not child._is_missing():
            yield from dotted(child, f"{prefix}{key}.")
