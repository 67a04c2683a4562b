"""Say why a network does not learn: `cnnlab doctor run=RUN`."""

import logging
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from cnnlab import config as configuration
from cnnlab.errors import RequestError
from cnnlab.runs.directory import RunDirectory, run_of
from cnnlab.runs.reading import read_run
from cnnlab.trust import PARTS_OF_A_RUN, check_trusted, find_targets
from cnnlab.waiting import tell

log = logging.getLogger("cnnlab.doctor")


def doctor(config: DictConfig) -> None:
    """Read a run, measure what is missing, print what is wrong, and write a record and a page."""
    settings = configuration.settings(config)
    run = _find_run(settings["run"])

    from cnnlab.doctor.diagnosis import diagnose
    from cnnlab.doctor.facts import Facts

    tell("Measuring")
    found = diagnose(Facts(read_run(run.path), _recorded_settings(run, settings)))
    for finding in found.findings:
        print(f"{finding.title} ({finding.confidence:.0%})\n  {finding.evidence}\n  {finding.advice}")
        print(f"  {finding.command}")
    if not found.findings:
        print("Nothing found.")
    for reason in found.not_measured:
        print(f"Not measured: {reason}")


def _find_run(name: Any) -> RunDirectory:
    if not isinstance(name, str) or (run := run_of(Path(name).expanduser())) is None:
        raise RequestError(f"run: there is no run in {name} (a folder with a summary.json)")
    return run


def _recorded_settings(run: RunDirectory, settings: dict[str, Any]) -> dict[str, Any] | None:
    """Return the settings of a run, which may name only functions that are trusted."""
    recorded = run.read_config()
    if recorded is not None:
        check_trusted(list(find_targets(recorded)), PARTS_OF_A_RUN, settings["trust"], run.path, "run")
    return recorded


main = configuration.make_command("doctor", doctor)
