"""Search hyperparameters: `cnnlab tune search=optimizer model=lenet5 data=digits`."""

import logging
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from cnnlab import config as configuration
from cnnlab.arguments import check_declared
from cnnlab.config.paths import ROOT
from cnnlab.display import suggest_next
from cnnlab.errors import Failed, Interrupted, RequestError
from cnnlab.files import from_here, write_atomically
from cnnlab.instantiate import read_options
from cnnlab.limits import Count, Positive
from cnnlab.runs.jobs import slots
from cnnlab.runs.plain import to_json
from cnnlab.runs.processes import own_rank
from cnnlab.search.configurations import GROUPS_OF_A_STUDY, TrialConfigurations
from cnnlab.search.space import flatten, read_space, starting_point

if TYPE_CHECKING:
    from cnnlab.search.study import Options

log = logging.getLogger("cnnlab.tune")


@dataclass(frozen=True)
class Request:
    """Hold the keys of this command alone, not of the study; see conf/tune.yaml."""

    name: str
    storage: str | None
    n_jobs: Count
    timeout: Positive | None  # seconds
    search: dict[str, Any] | None = None


def tune(config: DictConfig) -> None:
    """Run trials until the study has enough; write a record, figures and the best configuration."""
    settings = configuration.settings(config)
    request = read_options(Request, settings)
    check_declared("cnnlab.search.study.Options", {k: value for k, value in settings.items() if value is not None})
    if request.search is None:
        known = {file.stem for place in (ROOT, Path()) for file in (place / "conf" / "search").glob("*.yaml")}
        raise RequestError(f"search=NAME must be given; known: {', '.join(sorted(known))}")
    if own_rank().world_size:
        raise RequestError("tune starts the processes of its trials itself; start it without torchrun or srun")
    space, options = read_space(request.search), _read_options(settings)
    configurations = TrialConfigurations(request.name, space)
    configurations.check()

    from cnnlab.runs.environment import versions, visible_gpus
    from cnnlab.search.figures import draw_study
    from cnnlab.search.record import describe_study
    from cnnlab.search.study import SharedStudy
    from cnnlab.search.terminal import TrialProgress, print_study
    from cnnlab.search.trials import Trials

    folder = from_here(configuration.output_directory())
    identity = configuration.identity(configurations.compose({}))
    groups = configuration.chosen_groups()
    chosen = {group: groups[group] for group in GROUPS_OF_A_STUDY}
    ranking = {
        "select": settings["select"]
    }  # studies of earlier versions ranked by the accuracy, whatever `select` said
    about = {"chosen": chosen, "search": request.search, "settings": identity, "ranking": ranking}
    first = starting_point(space, flatten(identity) | groups)
    study = SharedStudy(folder, request.storage, space, about, options, first, **ranking)
    environments = slots(request.n_jobs, visible_gpus() if request.n_jobs > 1 else [])
    trials = Trials(study, configurations.command, environments, _epochs(settings), request.timeout)
    log.info("%s", folder)
    interrupted = False
    try:
        with TrialProgress(options.trials, request.n_jobs, study.score) as progress:
            for job in trials.run():
                progress.follow(job, study.standing)
    except Interrupted:
        interrupted = True
    record = {
        "name": request.name,
        "command": shlex.join(["cnnlab", "tune", *configuration.command_line()]),
        "search": groups["search"],
        **chosen,
        **{key: settings[key] for key in ("protocol", "seed")},
        "versions": versions(),
        **describe_study(study),
    }
    write_atomically(folder / "tune.json", to_json(record) + "\n")
    if record["best"]:
        draw_study(record, folder)
        (folder / "experiment").mkdir(exist_ok=True)
        write_atomically(folder / "experiment" / "best.yaml", configurations.as_experiment(record["best"], study.score))
    print_study(record, folder)
    if interrupted:
        raise Interrupted("The search was interrupted; the same command resumes it.")
    if not record["best"]:
        raise Failed(_explain_failure(record, folder))
    seeds = ",".join(str(record["seed"] + number) for number in (1, 2, 3))  # the search has used none of them
    suggest_next(shlex.join(["cnnlab", "train", "--config-dir", str(folder), "experiment=best", f"seeds=[{seeds}]"]))


def _read_options(settings: dict[str, Any]) -> "Options":
    try:
        from cnnlab.search.study import Options
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("optuna", "sqlalchemy"):
            raise
        raise RequestError("tune needs a package: pip install 'cnnlab[tune]'") from None
    if settings["warmup_epochs"] is None:
        settings = settings | {"warmup_epochs": int((_epochs(settings) or 0) // 4)}
    return read_options(Options, settings)


def _epochs(settings: dict[str, Any]) -> float | None:
    """Return the length of a trial in epochs, or None if it is limited otherwise."""
    epochs = settings["trainer"]["max_epochs"]
    return epochs if isinstance(epochs, int | float) and epochs > 0 else None


def _explain_failure(record: dict[str, Any], folder: Path) -> str:
    failed = [trial for trial in record["trials"] if trial["state"] == "failed"]
    if not failed:
        return "No trial was completed."
    return (
        f"No trial was completed; {len(failed)} failed, the last: {failed[-1]['reason']} "
        f"({folder / failed[-1]['directory']})"
    )


main = configuration.make_command("tune", tune)

if __name__ == "__main__":
    main()
