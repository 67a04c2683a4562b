"""List the runs of an experiment, each with its status."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
from hydra.core.override_parser.overrides_parser import OverridesParser

from cnnlab.config import ROOT, identity, register_configs, settings, sweep_folder
from cnnlab.config.sweeps import expand_repeats
from cnnlab.errors import RequestError
from cnnlab.runs.directory import RunDirectory
from hydra_plugins.cnnlab_sweep.planning import RecordedRuns, job_names
from hydra_plugins.cnnlab_sweep.sweeper import combinations

# Keys that would put the runs into another folder.
MOVING_KEYS = ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir", "resume", "name")


@dataclass(frozen=True)
class PlannedRun:
    """Hold one run of an experiment.

    Attributes:
        name: the values that distinguish it from the other runs.
        arguments: its own arguments, as {key: value}.
        settings: the settings that affect its result.
        run: its directory, or None if it was never started.
        status: the status in its record, or `not started`.
    """

    name: str
    arguments: dict[str, str]
    settings: dict[str, Any]
    run: RunDirectory | None
    status: str

    @property
    def complete(self) -> bool:
        """Return True if the run has finished."""
        return self.status == "completed"


@dataclass(frozen=True)
class Plan:
    """Hold the runs of an experiment.

    Attributes:
        runs: in the order in which they are started.
        sweeps: True if they are a sweep, which resumes by itself when it is started again.
    """

    runs: list[PlannedRun]
    sweeps: bool

    @property
    def complete(self) -> list[Path]:
        """Return the directories of the completed runs."""
        return [run.run.path for run in self.runs if run.complete and run.run]


def plan_experiment(experiment: str, arguments: Sequence[str]) -> Plan:
    """List the runs that `cnnlab train experiment=NAME ...` starts.

    Args:
        experiment: name of the experiment.
        arguments: further arguments of the command line, as key=value.

    Raises:
        RequestError: if an argument would put the runs into another folder.
    """
    for argument in arguments:
        if argument.partition("=")[0] in MOVING_KEYS:
            raise RequestError(f"{argument}: leave it out; the runs of an experiment are in runs/{experiment}")
    chosen, given = f"experiment={experiment}", expand_repeats(arguments)
    register_configs(Path.cwd(), "train", [chosen, *given])
    own = [argument for argument in given if argument != "--multirun"]
    with hydra.initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        grids = list(hydra.compose("train", [chosen], return_hydra_config=True).hydra.sweeper.grids)
        jobs = combinations(grids, own, OverridesParser.create())
        composed = [hydra.compose("train", [chosen, *job]) for job in jobs]
    folder = sweep_folder(composed[0].name)
    records = [*folder.glob("*/summary.json"), *folder.glob("*/*/summary.json")]
    recorded = RecordedRuns(sorted(record.parent for record in records))
    runs = []
    for name, job, config in zip(job_names(jobs), jobs, composed, strict=True):
        parts = {key: value for key, _, value in (argument.partition("=") for argument in job)}
        wanted = identity(config)
        runs.append(PlannedRun(name, parts, wanted, *(recorded.find(wanted) or (None, "not started"))))
    return Plan(runs, sweeps=bool(grids) or len(own) < len(given))


def comparison_settings(experiment: str) -> dict[str, Any]:
    """Return the settings of `cnnlab compare experiment=NAME`."""
    register_configs(Path.cwd(), "compare", [f"experiment={experiment}"])
    with hydra.initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return settings(hydra.compose("compare", [f"experiment={experiment}"]))
