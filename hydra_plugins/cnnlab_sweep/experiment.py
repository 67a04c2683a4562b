"""The runs that an experiment asks for, and what has become of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
from hydra.core.override_parser.overrides_parser import OverridesParser

from cnnlab.config import ROOT, identity, register_configs, settings, sweep_folder
from cnnlab.config.sweeps import expand_seeds
from cnnlab.errors import RequestError
from cnnlab.runs.directory import RunDirectory
from cnnlab.runs.sweeps import RecordedRuns, job_names
from hydra_plugins.cnnlab_sweep.sweeper import combinations

ELSEWHERE = ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir", "resume", "name")


@dataclass(frozen=True)
class PlannedRun:
    """One run that is asked for.

    Attributes:
        name: what tells it from the others.
        arguments: its own, key by key.
        run: where it is, or None if it was never started.
        status: of its record, or `not started`.
    """

    name: str
    arguments: dict[str, str]
    run: RunDirectory | None
    status: str

    @property
    def complete(self) -> bool:
        """Whether it has come to its end."""
        return self.status == "completed"


@dataclass(frozen=True)
class Plan:
    """The runs that a command asks for.

    Attributes:
        runs: one after the other.
        sweeps: whether they are a sweep, which goes on by itself when it is started again.
    """

    runs: list[PlannedRun]
    sweeps: bool

    @property
    def complete(self) -> list[Path]:
        """The directories of those that are."""
        return [run.run.path for run in self.runs if run.complete and run.run]


def plan_of(experiment: str, arguments: Sequence[str]) -> Plan:
    """What `cnnlab train experiment=NAME ...` runs, one after the other.

    Args:
        experiment: its name.
        arguments: others of the command line, key=value.

    Raises:
        RequestError: for an argument that would put the runs elsewhere.
    """
    for argument in arguments:
        if argument.partition("=")[0] in ELSEWHERE:
            raise RequestError(f"{argument}: runs of an experiment are found in runs/{experiment}, by themselves")
    register_configs(Path.cwd(), "train")
    chosen, given = f"experiment={experiment}", expand_seeds(arguments)
    own = [argument for argument in given if argument != "--multirun"]
    with hydra.initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        alternatives = list(hydra.compose("train", [chosen], return_hydra_config=True).hydra.sweeper.alternatives)
        jobs = combinations(alternatives, own, OverridesParser.create())
        composed = [hydra.compose("train", [chosen, *job]) for job in jobs]
    folder = sweep_folder(composed[0].name)
    records = [*folder.glob("*/summary.json"), *folder.glob("*/*/summary.json")]
    recorded = RecordedRuns(sorted(record.parent for record in records))
    found = [recorded.find(identity(config)) or (None, "not started") for config in composed]
    parts = [{key: value for key, _, value in (argument.partition("=") for argument in job)} for job in jobs]
    runs = [PlannedRun(name, its, *where) for name, its, where in zip(job_names(jobs), parts, found, strict=True)]
    return Plan(runs, sweeps=bool(alternatives) or len(own) < len(given))


def asked_of(experiment: str) -> dict[str, Any]:
    """The keys of `cnnlab compare`, as the experiment's `comparison:` gives them."""
    register_configs(Path.cwd(), "compare")
    with hydra.initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return settings(hydra.compose("compare", [f"experiment={experiment}"]))
