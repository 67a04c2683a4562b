"""The configurations of a search: what the command line gives, with the values of a trial in place of its own."""

import sys
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cnnlab import config as configuration
from cnnlab.config.messages import explain
from cnnlab.config.paths import GROUPS
from cnnlab.config.sweeps import written
from cnnlab.data.cache import check_available
from cnnlab.data.sources import find_source
from cnnlab.errors import RequestError
from cnnlab.search.experiment import render_experiment
from cnnlab.search.space import Parameter, Values, overrides, way_to

# Keys that are not of the runs.
OWN = (
    *("search", "name", "trials", "n_jobs", "timeout", "storage"),
    *("sampler", "sampler_seed", "pruner", "startup_trials", "warmup_epochs"),
)
NAMED = ("model", "data", "recipe")
# Keys that decide by which images, and with which luck, a trial is judged: their best value would be the easiest test.
OF_JUDGING = (
    *("protocol", "seed", "data", "data.source", "data.path", "data.classes", "data.holdout"),
    *("trainer.limit_val_batches", "trainer.check_val_every_n_epoch"),
)


class Variants:
    """From a trial's values to the command that trains with them, and to its configuration.

    Args:
        name: of the study.
        space: what is varied.

    Raises:
        RequestError: for an argument that trials cannot have.
    """

    def __init__(self, name: str, space: list[Parameter]):
        self.name, self.space = name, space
        self.given: list[tuple[str, str]] = []
        for argument in configuration.command_line():
            key = argument.lstrip("+").partition("=")[0]
            if argument.startswith("~"):
                raise RequestError(f"{argument}: a search takes key=value alone")
            if key not in OWN:
                self.given.append((key, argument))

    def overrides(self, values: Values) -> list[str]:
        """The key=value arguments of a run: the command line's own, and the values instead of theirs."""
        own = [argument for key, argument in self.given if key not in values]
        return [*own, f"name={written(self.name)}", *overrides(values)]

    def command(self, values: Values, directory: Path) -> list[str]:
        """The command that trains."""
        command = [sys.executable, "-m", "cnnlab.train"]
        for source in HydraConfig.get().runtime.config_sources:
            if source.provider == "command-line":
                command += ["--config-dir", source.path]
        return [*command, *self.overrides(values), "hydra.mode=RUN", f"hydra.run.dir={written(str(directory))}"]

    def compose(self, values: Values) -> DictConfig:
        """The configuration of a run, without Hydra's part."""
        return hydra.compose("train", self.overrides(values))

    def check(self) -> None:
        """Composes each entry of the space, and makes the parts of two configurations, before anything is trained.

        Raises:
            RequestError: for a key, a choice or a value that cannot be, or images that are not there.
        """
        for parameter in self.space:
            if parameter.key in ("name", "resume"):
                raise RequestError(f"search: {parameter.key} is nothing to search")
            if parameter.key in OF_JUDGING:
                raise RequestError(
                    f"search: {parameter.key} decides how trials are judged; it must be the same for all"
                )
            group = parameter.kind == "choice" and parameter.key in (*GROUPS, "experiment")
            for value in parameter.values if group else parameter.values[:1]:
                try:
                    _check_protocol(self.compose({**way_to(parameter, self.space), parameter.key: value}))
                except (HydraException, OmegaConfBaseException) as error:
                    raise RequestError(f"search: {explain(error, 'tune')}") from None
        start = configuration.settings(self.compose({}))
        if start["resume"] is not None:
            raise RequestError("resume: the same command goes on with a search by itself; leave it out")
        data = start["data"]
        check_available(find_source(data["source"], data["path"]), data["image_size"], data["cache"])
        for end in (0, -1):
            _check_parts(configuration.settings(self.compose(_values_at(self.space, end))))

    def as_experiment(self, trial: dict[str, Any]) -> str:
        """The configuration of a trial, as tune.json describes it, as the text of an experiment's file."""
        searched = {argument.partition("=")[0] for argument in trial["arguments"]}
        own = [argument for key, argument in self.given if key not in searched]
        composed = hydra.compose("train", [*own, *trial["arguments"]], return_hydra_config=True)
        chosen = {group: composed.hydra.runtime.choices[group] for group in NAMED}
        plain = hydra.compose("train", [f"{group}={choice}" for group, choice in chosen.items()])
        wanted = configuration.identity(OmegaConf.masked_copy(composed, [str(key) for key in plain]))
        comment = f"Trial {trial['number']} of {self.name}: val accuracy {trial['value']:.2%}"
        return render_experiment(f"{self.name}_best", comment, chosen, configuration.identity(plain), wanted)


def _check_protocol(config: DictConfig) -> None:
    if config.protocol == "article":
        raise RequestError("protocol: article would have a search choose by the test images; give protocol=holdout")


def _values_at(space: list[Parameter], end: int) -> Values:
    """The first (0) or last (-1) value of each entry that holds then."""
    values: Values = {}
    for parameter in space:
        if parameter.holds(values):
            values[parameter.key] = parameter.values[end]
    return values


def _check_parts(settings: dict[str, Any]) -> None:
    """Makes network, optimizer, schedule, loss, augmentation and callbacks, for their own messages."""
    from cnnlab.build.network import build_network
    from cnnlab.build.run import build_callbacks, build_classifier

    build_classifier(settings, build_network(settings["model"], 10, settings["data"]["image_size"]))
    build_callbacks(settings)
