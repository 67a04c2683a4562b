"""Searches hyperparameters: `python -m cnnlab.tune search=optimizer model=lenet5 data=digits`."""

import json
import logging
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from cnnlab import config as configuration
from cnnlab.config.paths import ROOT
from cnnlab.errors import Incomplete, Interrupted, RequestError
from cnnlab.instantiate import check_arguments
from cnnlab.runs.directory import write_atomically
from cnnlab.runs.jobs import slots
from cnnlab.runs.processes import own_rank
from cnnlab.search.configurations import NAMED, Variants
from cnnlab.search.space import Parameter, flat, read_space, starting_point

if TYPE_CHECKING:
    from cnnlab.search.study import Options

log = logging.getLogger("cnnlab.tune")


def tune(config: DictConfig) -> None:
    """Runs trials until the study has as many as it should, and leaves a record, figures and the best configuration."""
    settings = configuration.settings(config)
    space = _read_space(settings)
    options = _read_options(settings)
    variants = Variants(settings["name"], space)
    variants.check()

    from cnnlab.search.figures import draw_study
    from cnnlab.search.record import describe_study
    from cnnlab.search.study import SharedStudy
    from cnnlab.search.terminal import SearchProgress, print_study
    from cnnlab.search.trials import Trials

    folder = configuration.output_directory()
    if folder.is_relative_to(Path.cwd()):
        folder = folder.relative_to(Path.cwd())
    start = variants.compose({})
    plain = configuration.identity(start)
    chosen = configuration.choices()
    about = {"chosen": {group: chosen[group] for group in NAMED}, "search": settings["search"], "settings": plain}
    first = starting_point(space, flat(plain) | chosen)
    study = SharedStudy(folder, settings["storage"], space, about, options, first)
    trials = Trials(
        study,
        variants.command,
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
        (folder / "experiment").mkdir(exist_ok=True)
        write_atomically(folder / "experiment" / "best.yaml", variants.as_experiment(record["best"]))
    print_study(record, folder)
    if interrupted:
        raise Interrupted("The search was interrupted; the same command goes on with it.")
    if not record["best"]:
        raise Incomplete(_without_result(record, folder))


def _read_space(settings: dict[str, Any]) -> list[Parameter]:
    if settings.get("search") is None:
        known = {file.stem for place in (ROOT, Path()) for file in (place / "conf" / "search").glob("*.yaml")}
        raise RequestError(f"search=NAME must be given; known: {', '.join(sorted(known))}")
    if own_rank().world_size:
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


def _without_result(record: dict[str, Any], folder: Path) -> str:
    failed = [trial for trial in record["trials"] if trial["state"] == "failed"]
    if not failed:
        return "No trial was completed."
    last, place = failed[-1], folder / failed[-1]["directory"]
    return f"No trial was completed; {len(failed)} failed, the last: {last['reason']} ({place})"


main = configuration.make_command("tune", tune)

if __name__ == "__main__":
    main()
