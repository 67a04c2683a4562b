"""The best configuration of a search as an experiment's file."""

from collections.abc import Mapping
from typing import Any

import yaml


def render_experiment(
    name: str, comment: str, chosen: Mapping[str, str], plain: Mapping[str, Any], wanted: Mapping[str, Any]
) -> str:
    """The text of a file that `cnnlab train experiment=...` composes to a configuration.

    Args:
        name: of the experiment.
        comment: a line that says where it comes from.
        chosen: what is chosen in groups, such as {"model": "lenet5"}.
        plain: the configuration of these choices alone.
        wanted: the configuration that is to come out; what differs from `plain` is written down.
    """
    file = {"defaults": [{f"override /{group}": choice} for group, choice in chosen.items()], "name": name}
    file |= {key: value for key, value in _changes(plain, wanted).items() if key != "name"}
    return f"# @package _global_\n# {comment}\n{yaml.safe_dump(file, sort_keys=False)}"


def _changes(plain: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """What of `wanted` is not in `plain`, nested as there."""
    changes = {}
    for key, value in wanted.items():
        before = plain.get(key)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            if inner := _changes(before, value):
                changes[key] = inner
        elif key not in plain or value != before or type(value) is not type(before):
            changes[key] = value
    return changes
