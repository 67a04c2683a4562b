"""Compose and start commands with Hydra, and read their configurations."""

from cnnlab.config.command import make_command as make_command
from cnnlab.config.compose import each_model as each_model
from cnnlab.config.compose import register_configs as register_configs
from cnnlab.config.compose import sweep_folder as sweep_folder
from cnnlab.config.paths import ROOT as ROOT
from cnnlab.config.request import check_settings as check_settings
from cnnlab.config.settings import chosen_groups as chosen_groups
from cnnlab.config.settings import command_line as command_line
from cnnlab.config.settings import command_line_keys as command_line_keys
from cnnlab.config.settings import data_settings as data_settings
from cnnlab.config.settings import identity as identity
from cnnlab.config.settings import model_name as model_name
from cnnlab.config.settings import output_directory as output_directory
from cnnlab.config.settings import plain as plain
from cnnlab.config.settings import resumed_config as resumed_config
from cnnlab.config.settings import settings as settings
