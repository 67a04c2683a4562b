"""Say why a network does not learn: `cnnlab doctor run=RUN`."""

import contextlib
import logging
import shlex
import tempfile
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from cnnlab import config as configuration
from cnnlab.cpu import flush_denormals
from cnnlab.errors import Diverged, RequestError
from cnnlab.runs.directory import RunDirectory, check_output_folder, own_folder, run_of
from cnnlab.runs.processes import Processes, own_rank
from cnnlab.runs.reading import read_run
from cnnlab.trust import PARTS_OF_A_RUN, check_trusted, find_targets
from cnnlab.waiting import tell

EPOCHS, BATCHES = 5, 40  # of the training before the real one, which has 200 steps at most


def doctor(config: DictConfig) -> None:
    """Look at a run, or at a short training before the real one; print and write what is wrong."""
    settings = configuration.settings(config)
    with tempfile.TemporaryDirectory() if settings["run"] is None else contextlib.nullcontext() as temporary:
        if temporary is None:
            run = _find_run(settings["run"])
            recorded = _recorded_settings(run, settings)
        else:
            run = RunDirectory(temporary)
            recorded = {key: value for key, value in settings.items() if key not in ("run", "output", "trust")}
        folder = check_output_folder(
            settings["output"] or (run.path if temporary is None else own_folder(Path("doctor")))
        )
        if temporary is not None and recorded:
            recorded = _train_shortly(recorded, run)

        from cnnlab.doctor.diagnosis import diagnose
        from cnnlab.doctor.facts import Facts
        from cnnlab.doctor.report import report

        flush_denormals()
        tell("Measuring")
        facts = Facts(read_run(run.path), recorded, rehearsed=temporary is not None)
        report(diagnose(facts), facts, folder)


def _find_run(name: Any) -> RunDirectory:
    if not isinstance(name, str) or (run := run_of(Path(name).expanduser())) is None:
        raise RequestError(f"run: there is no run in {name} (a folder with a summary.json)")
    return run


def _recorded_settings(run: RunDirectory, settings: dict[str, Any]) -> dict[str, Any] | None:
    """Return the settings of a run, which may name only functions that are trusted; the images may have moved."""
    recorded = run.read_config()
    if recorded is not None:
        check_trusted(list(find_targets(recorded)), PARTS_OF_A_RUN, settings["trust"], run.path, "run")
        if "data.path" in configuration.command_line_keys() and isinstance(recorded.get("data"), dict):
            recorded["data"]["path"] = settings["data"]["path"]
    return recorded


def _train_shortly(settings: dict[str, Any], run: RunDirectory) -> dict[str, Any]:
    """Train some steps on a part of the images, with the whole schedule; return the settings."""
    from cnnlab.train import train_recorded

    names = configuration.chosen_groups()
    epochs = min(EPOCHS, settings["trainer"]["max_epochs"] or EPOCHS)  # null with a budget
    limits = {f"limit_{split}_batches": batches for split, batches in (("train", BATCHES), ("val", 2), ("test", 2))}
    trainer = settings["trainer"] | limits | {"max_epochs": epochs, "max_steps": -1}
    settings = settings | {"trainer": trainer, "budget": None}
    given = [word for word in configuration.command_line() if not word.startswith(("run=", "output=", "trust="))]
    known = {
        "model": configuration.model_name(str(names["model"]), settings["model"]),
        **{group: names[group] for group in ("recipe", "data")},
        "protocol": settings["protocol"],
        "seed": settings["seed"],
        "command": shlex.join(["cnnlab", "train", *given]),
    }
    logging.getLogger("cnnlab.train").setLevel(logging.WARNING)  # it would name the temporary folder
    with contextlib.suppress(Diverged), run.recording(settings, **known):  # the record tells of a divergence
        train_recorded(settings, run, None, Processes(own_rank()))
    return settings


main = configuration.make_command("doctor", doctor)
