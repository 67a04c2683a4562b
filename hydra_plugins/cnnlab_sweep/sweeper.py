"""The sweeper `alternatives`: every combination of the command line, within each entry of an experiment's `sweep:`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobStatus
from omegaconf import DictConfig

from cnnlab.config.sweeps import written
from cnnlab.errors import RequestError
from cnnlab.runs.directory import discard_unused
from cnnlab.runs.processes import own_rank
from cnnlab.runs.sweeps import SWEEP_FILE


class AlternativesSweeper(BasicSweeper):
    """Hydra's own sweeper, where an experiment can hold several sweeps.

    Args:
        alternatives: of `cnnlab.config.sweeps.alternatives`; what the command line gives wins over them.
    """

    def __init__(self, alternatives: list[dict[str, str]]):
        super().__init__(max_batch_size=None)
        self.alternatives = alternatives

    def sweep(self, arguments: list[str]) -> Any:
        """Launches all jobs in one batch.

        Raises:
            RequestError: when torchrun or srun have started several processes.
            SweepFailed: when a job was not completed.
        """
        assert self.config is not None and self.launcher is not None and self.hydra_context is not None
        if own_rank().world_size:
            raise RequestError("-m: a sweep starts the processes of its runs itself; leave torchrun or srun out")
        directory = self._fix_directory(self.config)
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        try:
            returns = self.launcher.launch(combinations(self.alternatives, arguments, parser), initial_job_idx=0)
        finally:
            discard_unused(directory)
        for job in returns:
            if job.status == JobStatus.FAILED:
                raise job._return_value  # its property would print the error, and the caller does
        return [returns]

    @staticmethod
    def _fix_directory(config: DictConfig) -> Path:
        """Decides on the sweep's directory, which depends on what is on disk: for the launcher and for all jobs.

        A new one is made at once, so that a sweep which starts in the same second takes another.
        """
        directory, earlier = str(config.hydra.sweep.dir), None
        while directory != earlier and not (Path(directory) / SWEEP_FILE).exists():
            try:
                Path(directory).mkdir(parents=True)
                break
            except FileExistsError:  # taken, or given as hydra.sweep.dir
                directory, earlier = str(config.hydra.sweep.dir), directory
        config.hydra.sweep.dir = directory
        config.hydra.overrides.hydra.append(f"hydra.sweep.dir={written(directory)}")
        return Path(directory)


def combinations(
    alternatives: Sequence[Mapping[str, str]], arguments: Sequence[str], parser: OverridesParser
) -> list[list[str]]:
    """The key=value arguments of every job, each once.

    Args:
        alternatives: of `cnnlab.config.sweeps.alternatives`.
        arguments: of the command line, which win over them.
        parser: reads both.
    """
    jobs: list[list[str]] = []
    for alternative in alternatives or [{}]:
        given = [f"{key}={values}" for key, values in alternative.items()]
        every = BasicSweeper.split_arguments(parser.parse_overrides([*given, *arguments]), None)[0]
        for job in every:
            if job not in jobs:
                jobs.append(job)
    return jobs


@dataclass
class AlternativesSweeperConf:
    """What `hydra.sweeper` holds."""

    _target_: str = "hydra_plugins.cnnlab_sweep.sweeper.AlternativesSweeper"
    alternatives: list[dict[str, str]] = field(default_factory=list)


ConfigStore.instance().store(group="hydra/sweeper", name="alternatives", node=AlternativesSweeperConf)
