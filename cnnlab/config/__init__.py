"""The one door to Hydra: how a command is composed and started, and what it may ask about its configuration."""

from cnnlab.config.command import make_command
from cnnlab.config.compose import each_model, register_configs, sweep_folder
from cnnlab.config.paths import ROOT
from cnnlab.config.settings import (
    choices,
    command_line,
    data_settings,
    given_keys,
    identity,
    model_name,
    output_directory,
    settings,
    with_recorded,
)

__all__ = [
    "ROOT",
    "choices",
    "make_command",
    "command_line",
    "data_settings",
    "each_model",
    "given_keys",
    "identity",
    "model_name",
    "output_directory",
    "register_configs",
    "settings",
    "sweep_folder",
    "with_recorded",
]
