"""Compose and start commands with Hydra, and read their configurations."""

from cnnlab.config.command import make_command
from cnnlab.config.compose import each_model, register_configs, sweep_folder
from cnnlab.config.paths import ROOT
from cnnlab.config.request import check_settings
from cnnlab.config.settings import (
    chosen_groups,
    command_line,
    command_line_keys,
    data_settings,
    identity,
    model_name,
    output_directory,
    plain,
    resumed_config,
    settings,
)

__all__ = [
    "ROOT",
    "check_settings",
    "chosen_groups",
    "make_command",
    "command_line",
    "data_settings",
    "each_model",
    "command_line_keys",
    "identity",
    "model_name",
    "output_directory",
    "plain",
    "register_configs",
    "settings",
    "sweep_folder",
    "resumed_config",
]
