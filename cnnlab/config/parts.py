"""Let the command line set every option of a part, as its function declares them, and replace whole parts.

Hydra itself accepts only keys that a YAML file holds. So `optimizer.eps=1e-6` would need a `+`, and with another
`optimizer._target_` the recipe's options of the former class would stay.
"""

import dataclasses
import re
from collections.abc import Callable, Iterable

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import DictConfig, OmegaConf

from cnnlab.errors import RequestError

SINGLE = ("model", "data", "optimizer", "schedule", "loss", "augmentation", "averaging")  # parts with one `_target_`
SEVERAL = ("callbacks", "logger")  # parts that hold others by name
PARTS = (*SINGLE, *SEVERAL, "trainer")

_apply: Callable[[list[Override], DictConfig], None] = ConfigLoaderImpl._apply_overrides_to_config


def open_parts() -> None:
    """Have Hydra apply the arguments of every command line in this way."""
    ConfigLoaderImpl._apply_overrides_to_config = staticmethod(apply_overrides)


def apply_overrides(overrides: list[Override], cfg: DictConfig) -> None:
    """Apply arguments to a composed configuration: empty the parts that they replace, and accept new keys in parts."""
    replaced = replaced_parts(overrides)
    for part in replaced:
        OmegaConf.update(cfg, part, {}, merge=False, force_add=True)
    opened = [
        dataclasses.replace(override, type=OverrideType.FORCE_ADD)
        if _part(override) in (*cfg, *SEVERAL) and not override.is_delete()
        else override
        for override in overrides
        if not (override.is_delete() and _part(override) in replaced)  # such options are gone already
    ]
    _apply(opened, cfg)


def replaced_parts(overrides: Iterable[Override]) -> list[str]:
    """Return the parts that arguments replace: with another `_target_`, or as a whole."""
    found = []
    for override in overrides:
        if not (part := _part(override)) or override.is_delete():
            continue
        value = override.value()
        if isinstance(value, list) and override.key_or_group in (*SINGLE, "trainer"):
            raise RequestError(f"{override.input_line}: {part} holds keys, such as {part}.KEY=VALUE")
        names_target = override.key_or_group == f"{part}._target_" or (isinstance(value, dict) and "_target_" in value)
        if names_target if part in SINGLE else isinstance(value, dict) and override.key_or_group == part in SEVERAL:
            found.append(part)
    return list(dict.fromkeys(found))


def _part(override: Override) -> str | None:
    part = override.key_or_group.partition(".")[0]
    return part if part in PARTS else None


def own_names(arguments: Iterable[str]) -> dict[str, str]:
    """Return names for the parts whose class the arguments name, such as {"model": "Net"} for mynet.Net, by group."""
    form = re.compile(r"\+*(\w+)(?:\._target_=|=\{.*?_target_:\s*)['\"]?([\w.:]+)", re.DOTALL)
    matches = [match for argument in arguments if (match := form.match(argument))]
    return {match[1]: re.split("[.:]", match[2])[-1] for match in matches}
