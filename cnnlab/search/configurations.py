"""Compose the configurations of a search: the command line's, with a trial's values in place of its own."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cnnlab import config as configuration
from cnnlab.config.messages import explain
from cnnlab.config.paths import CONFIG_GROUPS
from cnnlab.config.settings import LENGTHS
from cnnlab.config.sweeps import to_override
from cnnlab.data.cache import check_available
from cnnlab.errors import RequestError
from cnnlab.search.score import Score
from cnnlab.search.space import Parameter, Values, overrides, parent_values

# Keys of `cnnlab tune` that its trials, which are runs of `cnnlab train`, do not have.
TUNE_KEYS = (
    *("search", "name", "trials", "n_jobs", "timeout", "storage"),
    *("sampler", "sampler_seed", "pruner", "startup_trials", "warmup_epochs", "objective", "seeds_per_trial"),
)
GROUPS_OF_A_STUDY = ("model", "data", "recipe")  # recorded with the study, and named in the best experiment
# Keys that decide on which images, and with how much luck, a trial is scored: the best value would be the easiest test.
KEYS_OF_SCORING = (
    *("protocol", "seed", "data", "data.source", "data.path", "data.config", "data.classes", "data.holdout"),
    *("data.fold", "data.folds", "data.image_column", "data.label_column", "select"),
    *("trainer.limit_val_batches", "trainer.check_val_every_n_epoch"),
)


class TrialConfigurations:
    """Turn the values of a trial into the command that trains with them, and into its configuration.

    Raises:
        RequestError: for an argument of the command line that trials cannot have.
    """

    def __init__(self, name: str, space: list[Parameter]):
        self.name, self.space = name, space
        given = [(argument.lstrip("+").partition("=")[0], argument) for argument in configuration.command_line()]
        if removed := [argument for _, argument in given if argument.startswith("~")]:
            raise RequestError(f"{removed[0]}: a search takes only key=value")
        self.given = [(key, argument) for key, argument in given if key not in TUNE_KEYS]

    def overrides(self, values: Values) -> list[str]:
        """Return the key=value arguments of a run: the command line's, with the trial's values replacing them."""
        own = [argument for key, argument in self.given if key not in values]
        return [*own, f"name={to_override(self.name)}", *overrides(values)]

    def command(self, values: Values, directory: Path) -> list[str]:
        """Return the command that trains with these values in a directory."""
        command = [sys.executable, "-m", "cnnlab.train"]
        for source in HydraConfig.get().runtime.config_sources:
            if source.provider == "command-line":
                command += ["--config-dir", source.path]
        return [*command, *self.overrides(values), "hydra.mode=RUN", f"hydra.run.dir={to_override(str(directory))}"]

    def compose(self, values: Values) -> DictConfig:
        """Compose the configuration of a run, without Hydra's own section."""
        return hydra.compose("train", self.overrides(values))

    def check(self) -> None:
        """Compose each entry of the space, and build the parts of two configurations, before anything is trained.

        Raises:
            RequestError: for a wrong key, choice or value, or if the images cannot be found.
        """
        for parameter in self.space:
            if parameter.key in ("name", "resume"):
                raise RequestError(f"search: {parameter.key} cannot be searched")
            if parameter.key in KEYS_OF_SCORING:
                problem = "decides how trials are scored; it must be the same for all"
                raise RequestError(f"search: {parameter.key} {problem}")
            is_group = parameter.kind == "choice" and parameter.key in (*CONFIG_GROUPS, "experiment")
            for value in parameter.values if is_group else parameter.values[:1]:
                config = self._checked({**parent_values(parameter, self.space), parameter.key: value})
                if config.protocol == "article":
                    problem = "with article, a search would choose by the test images; use protocol=holdout"
                    raise RequestError(f"protocol: {problem}")
        start = configuration.settings(self.compose({}))
        if start["resume"] is not None:
            raise RequestError("resume: leave it out; the same command resumes a search by itself")
        ends = [self._checked(_values_at(self.space, end)) for end in (0, -1)]
        check_available(start["data"])
        for end in ends:
            _check_parts(configuration.settings(end))

    def _checked(self, values: Values) -> DictConfig:
        """Compose the configuration of a run, and check what its source files tell."""
        try:
            config = self.compose(values)
            if config.budget is not None and (length := sorted({f"trainer.{key}" for key in LENGTHS} & set(values))):
                raise RequestError(f"{length[0]}: the budget decides how long a trial is")
            configuration.check_settings(configuration.settings(config))
        except (HydraException, OmegaConfBaseException) as error:
            raise RequestError(f"search: {explain(error, 'tune')}") from None
        except RequestError as error:
            raise RequestError(f"search: {error}") from None
        return config

    def as_experiment(self, name: str, trial: Mapping[str, Any], scores: Sequence[Score]) -> str:
        """Return the text of a file for `cnnlab train experiment=...` that repeats a trial of tune.json.

        `name` is that of its runs.
        """
        searched = {argument.partition("=")[0] for argument in trial["arguments"]}
        own = [argument for key, argument in self.given if key not in searched]
        composed = hydra.compose("train", [*own, *trial["arguments"]], return_hydra_config=True)
        chosen = {group: composed.hydra.runtime.choices[group] for group in GROUPS_OF_A_STUDY}
        plain = hydra.compose("train", [f"{group}={choice}" for group, choice in chosen.items()])
        wanted = configuration.identity(OmegaConf.masked_copy(composed, [str(key) for key in plain]))
        file: dict[str, Any] = {"defaults": [{f"override /{group}": choice} for group, choice in chosen.items()]}
        file["name"] = name
        file |= {key: value for key, value in _changes(configuration.identity(plain), wanted).items() if key != "name"}
        figures = ", ".join(f"{score.name} {score.of(trial)}" for score in scores)
        comment = f"Trial {trial['number']} of {self.name}: {figures}"
        return f"# @package _global_\n# {comment}\n{yaml.safe_dump(file, sort_keys=False)}"


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of `after` that differ from `before` in value or type, nested as there."""
    changes = {}
    for key, value in after.items():
        old = before.get(key)
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            if inner := _changes(old, value):
                changes[key] = inner
        elif key not in before or value != old or type(value) is not type(old):
            changes[key] = value
    return changes


def _values_at(space: list[Parameter], end: int) -> Values:
    """Return the first (0) or last (-1) value of every entry whose conditions these values meet."""
    values: Values = {}
    for parameter in space:
        if parameter.holds(values):
            values[parameter.key] = parameter.values[end]
    return values


def _check_parts(settings: dict[str, Any]) -> None:
    """Build network, optimizer, schedule, loss, augmentation and callbacks, to see their own error messages early."""
    from cnnlab.build.network import build_network
    from cnnlab.build.run import build_callbacks, build_classifier

    weights = settings["loss"].get("weight")
    classes = len(weights) if isinstance(weights, list) else 10  # the data are not read yet
    network = build_network(settings["model"], classes, settings["data"]["image_size"])
    build_classifier(settings, network, [1] * classes)
    build_callbacks(settings)
