"""Searches hyperparameters: `python -m cnnlab.tune search=optimizer model=lenet5 data=digits`."""

import json
import logging
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cnnlab import config as configuration
from cnnlab.data.cache import check_available
from cnnlab.data.sources import find_source
from cnnlab.errors import Incomplete, Interrupted, RequestError
from cnnlab.instantiate import check_arguments
from cnnlab.messages import explain
from cnnlab.places import ROOT
from cnnlab.runs.directory import write_atomically
from cnnlab.runs.jobs import slots
from cnnlab.runs.processes import own_place
from cnnlab.search.space import Parameter, Values, flat, overrides, read_space, starting_point, way_to
from cnnlab.sweep import written

if TYPE_CHECKING:
    from cnnlab.search.study import Options

log = logging.getLogger("cnnlab.tune")

# Keys that are not of the runs.
OWN = (
    *("search", "name", "trials", "n_jobs", "timeout", "storage"),
    *("sampler", "sampler_seed", "pruner", "startup_trials", "warmup_epochs"),
)
NAMED = ("model", "data", "recipe")


def tune(config: DictConfig) -> None:
    """Runs trials until the study has as many as it should, and leaves a record, figures and the best configuration."""
    settings = configuration.settings(config)
    space = _read_space(settings)
    options = _read_options(settings)
    command = TrialCommand(settings["name"], space)
    command.check()

    from cnnlab.reports.search import SearchProgress, print_study
    from cnnlab.reports.search_figures import draw_study
    from cnnlab.search.record import describe_study
    from cnnlab.search.study import SharedStudy
    from cnnlab.search.trials import Trials

    folder = configuration.output_directory()
    if folder.is_relative_to(Path.cwd()):
        folder = folder.relative_to(Path.cwd())
    start = command.compose({})
    plain = configuration.identity(start)
    chosen = configuration.choices()
    about = {"chosen": {group: chosen[group] for group in NAMED}, "search": settings["search"], "settings": plain}
    first = starting_point(space, flat(plain) | chosen)
    study = SharedStudy(folder, settings["storage"], space, about, options, first)
    trials = Trials(
        study,
        command.arguments,
        slots(settings["n_jobs"], _gpus(settings["n_jobs"])),
        _epochs(settings),
        settings["timeout"],
    )
    described = _describe_command(settings)
    log.info("%s", folder)
    progress, interrupted = SearchProgress(options.trials), False
    try:
        for job in trials.run():
            if job is not None:
                progress.show(job, *study.standing())
    except Interrupted:
        interrupted = True
    record = described | describe_study(study)
    write_atomically(folder / "tune.json", json.dumps(record, indent=2) + "\n")
    if record["best"]:
        draw_study(record, folder)
        command.write_best(record, folder / "experiment" / "best.yaml")
    print_study(record, folder)
    if interrupted:
        raise Interrupted("The search was interrupted; the same command goes on with it.")
    if not record["best"]:
        raise Incomplete(_without_result(record))


class TrialCommand:
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

    def arguments(self, values: Values, directory: Path) -> list[str]:
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
            group = parameter.kind == "choice" and parameter.key in (*configuration.GROUPS, "experiment")
            for value in parameter.values if group else parameter.values[:1]:
                try:
                    self.compose({**way_to(parameter, self.space), parameter.key: value})
                except (HydraException, OmegaConfBaseException) as error:
                    raise RequestError(f"search: {explain(error, 'tune')}") from None
        start = configuration.settings(self.compose({}))
        if start["protocol"] == "article":
            raise RequestError("protocol: a search would choose by the test images; leave it at holdout")
        if start["resume"] is not None:
            raise RequestError("resume: the same command goes on with a search by itself; leave it out")
        data = start["data"]
        check_available(find_source(data["source"], data["path"]), data["image_size"], data["cache"])
        for end in (0, -1):
            _check_parts(configuration.settings(self.compose(_values_at(self.space, end))))

    def write_best(self, record: dict[str, Any], file: Path) -> None:
        """Writes the configuration of the best trial as an experiment."""
        from cnnlab.search.experiment import render_experiment

        best = record["best"]
        values = dict(argument.split("=", 1) for argument in best["arguments"])
        own = [argument for key, argument in self.given if key not in values]
        composed = hydra.compose("train", [*own, *best["arguments"]], return_hydra_config=True)
        chosen = {group: composed.hydra.runtime.choices[group] for group in NAMED}
        plain = hydra.compose("train", [f"{group}={choice}" for group, choice in chosen.items()])
        comment = f"Trial {best['number']} of {file.parents[1].name}: val accuracy {best['value']:.2%}"
        file.parent.mkdir(exist_ok=True)
        wanted = configuration.identity(OmegaConf.masked_copy(composed, [str(key) for key in plain]))
        text = render_experiment(f"{self.name}_best", comment, chosen, configuration.identity(plain), wanted)
        write_atomically(file, text)


def _read_space(settings: dict[str, Any]) -> list[Parameter]:
    if settings.get("search") is None:
        known = {file.stem for place in (ROOT, Path()) for file in (place / "conf" / "search").glob("*.yaml")}
        raise RequestError(f"search=NAME must be given; known: {', '.join(sorted(known))}")
    if own_place().world_size:
        raise RequestError("tune starts the processes of its trials itself; leave torchrun or srun out")
    return read_space(settings["search"])


def _read_options(settings: dict[str, Any]) -> "Options":
    try:
        from cnnlab.search.study import Options
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("optuna", "sqlalchemy"):
            raise
        raise RequestError("tune needs a package: pip install 'cnnlab[tune]'") from None
    given = {key: settings[key] for key in Options.__annotations__}
    if given["warmup_epochs"] is None:
        given["warmup_epochs"] = int((_epochs(settings) or 0) // 4)
    check_arguments(Options, given)
    check_arguments(_limits, {key: settings[key] for key in ("n_jobs", "timeout", "storage", "name")})
    for key, least in {"trials": 1, "n_jobs": 1, "sampler_seed": 0, "startup_trials": 0, "warmup_epochs": 0}.items():
        if (settings | given)[key] < least:
            raise RequestError(f"{key} must be {least} or more, got {settings[key]}")
    if settings["timeout"] is not None and settings["timeout"] <= 0:
        raise RequestError(f"timeout must be above 0 seconds, got {settings['timeout']}")
    return Options(**given)


def _epochs(settings: dict[str, Any]) -> float | None:
    """How long a trial trains, where that is said in epochs."""
    epochs = settings["trainer"]["max_epochs"]
    return epochs if isinstance(epochs, int | float) and epochs > 0 else None


def _limits(n_jobs: int, timeout: float | None, storage: str | None, name: str) -> None:
    """Types of keys, for `check_arguments`."""


def _values_at(space: list[Parameter], end: int) -> Values:
    """The first (0) or last (-1) value of each entry that holds then."""
    values: Values = {}
    for parameter in space:
        if parameter.holds(values):
            values[parameter.key] = parameter.values[end]
    return values


def _check_parts(settings: dict[str, Any]) -> None:
    """Makes network, optimizer, schedule, loss, augmentation and callbacks, for their own messages."""
    from cnnlab import assembly, networks

    network = networks.build_network(settings["model"], 10, settings["data"]["image_size"])
    assembly.build_classifier(settings, network)
    assembly.build_callbacks(settings)


def _gpus(n_jobs: int) -> list[str]:
    if n_jobs == 1:
        return []
    from cnnlab.runs.environment import visible_gpus

    return visible_gpus()


def _describe_command(settings: dict[str, Any]) -> dict[str, Any]:
    from cnnlab.runs.environment import versions

    chosen = configuration.choices()
    return {
        "name": settings["name"],
        "command": shlex.join(["python", "-m", "cnnlab.tune", *configuration.command_line()]),
        **{group: chosen[group] for group in ("search", *NAMED)},
        **{key: settings[key] for key in ("protocol", "seed")},
        "versions": versions(),
    }


def _without_result(record: dict[str, Any]) -> str:
    failed = [trial for trial in record["trials"] if trial["state"] == "failed"]
    if not failed:
        return "No trial was completed."
    return f"No trial was completed; {len(failed)} failed, the last: {failed[-1]['reason']} ({failed[-1]['directory']})"


main = configuration.command("tune", tune)

if __name__ == "__main__":
    main()
