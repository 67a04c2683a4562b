"""Say why a network does not learn: `cnnlab doctor run=RUN`."""

import logging
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from cnnlab import config as configuration
from cnnlab.errors import RequestError
from cnnlab.runs.directory import RunDirectory, check_output_folder, run_of
from cnnlab.runs.reading import read_run
from cnnlab.trust import PARTS_OF_A_RUN, check_trusted, find_targets
from cnnlab.waiting import tell

log = logging.getLogger("cnnlab.doctor")


def doctor(config: DictConfig) -> None:
    """Read a run, measure what is missing, print what is wrong, and write a record and a page."""
    settings = configuration.settings(config)
    run = _find_run(settings["run"])
    folder = check_output_folder(settings["output"] or run.path)

    from cnnlab.doctor.diagnosis import diagnose
    from cnnlab.doctor.facts import Facts
    from cnnlab.doctor.report import report

    tell("Measuring")
    facts = Facts(read_run(run.path), _recorded_settings(run, settings))
    report(diagnose(facts), facts, folder)


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
