"""Run every combination of values, for each grid of an experiment's `sweep:` (hydra/sweeper=grids)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobStatus
from omegaconf import DictConfig

from cnnlab.config.folders import NoteFolders
from cnnlab.config.sweeps import check_number_of_jobs, to_override
from cnnlab.errors import RequestError
from cnnlab.runs.before import Before
from cnnlab.runs.directory import claim_directory
from cnnlab.runs.processes import own_rank


class GridsSweeper(BasicSweeper):
    """Extend Hydra's own sweeper to experiments with several grids.

    Args:
        grids: as `cnnlab.config.sweeps.read_grids` returns them; the command line overrides them.
    """

    def __init__(self, grids: list[dict[str, str]]):
        super().__init__(max_batch_size=None)
        self.grids = grids

    def sweep(self, arguments: list[str]) -> Any:
        """Launch all jobs in one batch.

        Raises:
            RequestError: if torchrun or srun started several processes.
            SweepFailed: if a job did not complete.
        """
        assert self.config is not None and self.launcher is not None and self.hydra_context is not None
        if own_rank().world_size:
            raise RequestError("-m: a sweep starts the processes of its runs itself; leave torchrun or srun out")
        before = Before(str(self.config.hydra.sweep.dir))
        directory = self._fix_directory(self.config)
        NoteFolders.before = Before(directory)  # for jobs that run in this process
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        try:
            returns = self.launcher.launch(combinations(self.grids, arguments, parser), initial_job_idx=0)
        finally:
            before.remove_added(directory)
        for job in returns:
            if job.status == JobStatus.FAILED:
                raise job._return_value  # the property `return_value` would print the error, which the caller does
        return [returns]

    @staticmethod
    def _fix_directory(config: DictConfig) -> Path:
        """Return the sweep's directory, and fix it in the configuration for the launcher and all jobs."""
        directory = claim_directory(lambda: str(config.hydra.sweep.dir))
        config.hydra.sweep.dir = directory
        config.hydra.overrides.hydra.append(f"hydra.sweep.dir={to_override(directory)}")
        return Path(directory)


def combinations(
    grids: Sequence[Mapping[str, str]], arguments: Sequence[str], parser: OverridesParser
) -> list[list[str]]:
    """Return the key=value arguments of every job. A combination that appears twice is run once.

    Args:
        grids: as `cnnlab.config.sweeps.read_grids` returns them.
        arguments: of the command line; they override the grids.
        parser: reads both.

    Raises:
        RequestError: if there are more than `MOST_JOBS` combinations.
    """
    jobs: dict[tuple[str, ...], None] = {}
    for grid in grids or [{}]:
        given = [f"{key}={values}" for key, values in grid.items()]
        overrides = parser.parse_overrides([*given, *arguments])
        check_number_of_jobs(overrides)
        for job in BasicSweeper.split_arguments(overrides, None)[0]:
            jobs[tuple(job)] = None
    return [list(job) for job in jobs]


@dataclass
class GridsSweeperConf:
    """Hold the keys of `hydra.sweeper`."""

    _target_: str = "hydra_plugins.cnnlab_sweep.sweeper.GridsSweeper"
    grids: list[dict[str, str]] = field(default_factory=list)


ConfigStore.instance().store(group="hydra/sweeper", name="grids", node=GridsSweeperConf)
