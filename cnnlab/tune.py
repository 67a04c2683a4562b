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
from cnnlab.search.score import read_objective
from cnnlab.search.space import flatten, read_space, starting_point

if TYPE_CHECKING:
    from cnnlab.search.study import Options, SharedStudy

log = logging.getLogger("cnnlab.tune")


@dataclass(frozen=True)
class Request:
    """Hold the keys of this command alone, not of the study; see conf/tune.yaml."""

    name: str
    storage: str | None
    n_jobs: Count
    timeout: Positive | None  # seconds
    seeds_per_trial: Count
    search: dict[str, Any] | None = None


def tune(config: DictConfig) -> None:
    """Run trials until the study has enough; write a record, figures and the best configurations."""
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
    folder = from_here(configuration.output_directory())
    study = _open_study(folder, request, settings, options, configurations)
    log.info("%s", folder)
    epochs = None if "trainer.max_epochs" in request.search else _epochs(settings)
    interrupted = _run_trials(study, request, epochs, configurations)
    record = _write_record(study, request, settings, configurations)

    from cnnlab.search.terminal import print_study

    print_study(record, folder)
    if interrupted:
        raise Interrupted("The search was interrupted; the same command resumes it.")
    if not record["best"] and not record["front"]:
        raise Failed(_explain_failure(record, folder))
    _suggest_training(record, folder)


def _open_study(
    folder: Path, request: Request, settings: dict[str, Any], options: "Options", configurations: TrialConfigurations
) -> "SharedStudy":
    from cnnlab.search.study import SharedStudy

    scores = read_objective(settings["objective"], settings["select"])
    seeds = [settings["seed"] + place for place in range(request.seeds_per_trial)]
    identity, groups = configuration.identity(configurations.compose({})), configuration.chosen_groups()
    # Studies of earlier versions ranked by the accuracy, whatever `select` said, and had one objective and seed.
    ranking = {"select": settings["select"]}
    ranking |= {"objective": settings["objective"]} if len(scores) > 1 else {}
    ranking |= {"seeds_per_trial": len(seeds)} if len(seeds) > 1 else {}
    chosen = {group: groups[group] for group in GROUPS_OF_A_STUDY}
    about = {"chosen": chosen, "search": request.search, "settings": identity, "ranking": ranking}
    first = starting_point(configurations.space, flatten(identity) | groups)
    return SharedStudy(folder, request.storage, configurations.space, about, options, first, scores, seeds)


def _run_trials(
    study: "SharedStudy", request: Request, epochs: float | None, configurations: TrialConfigurations
) -> bool:
    """Run trials until there are enough; return whether they were interrupted."""
    from cnnlab.runs.environment import visible_gpus
    from cnnlab.search.terminal import TrialProgress
    from cnnlab.search.trials import Trials

    environments = slots(request.n_jobs, visible_gpus() if request.n_jobs > 1 else [])
    trials = Trials(study, configurations.command, environments, epochs, request.timeout)
    try:
        with TrialProgress(study, request.n_jobs) as progress:
            progress.announce(epochs)
            for job in trials.run():
                progress.follow(job)
    except Interrupted:
        return True
    return False


def _write_record(
    study: "SharedStudy", request: Request, settings: dict[str, Any], configurations: TrialConfigurations
) -> dict[str, Any]:
    """Write the record of the study, its figures, and the best trial or those of the front as experiments."""
    from cnnlab.runs.environment import versions
    from cnnlab.search.figures import draw_study
    from cnnlab.search.record import describe_study, render_csv

    groups = configuration.chosen_groups()
    record = {
        "name": request.name,
        "command": shlex.join(["cnnlab", "tune", *configuration.command_line()]),
        **{group: groups[group] for group in ("search", *GROUPS_OF_A_STUDY)},
        **{key: settings[key] for key in ("protocol", "seed", "select")},
        "versions": versions(),
        **describe_study(study),
    }
    write_atomically(study.folder / "tune.json", to_json(record) + "\n")
    write_atomically(study.folder / "tune.csv", render_csv(record))
    if record["best"] or record["front"]:
        draw_study(record, study.folder)
    experiments = study.folder / "experiment"
    for former in experiments.glob("front_*.yaml"):
        former.unlink()
    for name, trial in _leaders(record).items():
        experiments.mkdir(exist_ok=True)
        text = configurations.as_experiment(f"{request.name}_{name}", trial, study.scores)
        write_atomically(experiments / f"{name}.yaml", text)
    return record


def _leaders(record: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the trials to train again, by the names of their experiments: the best one, or those of the front."""
    if record["best"]:
        return {"best": record["best"]}
    return {f"front_{number:03}": record["trials"][number] for number in record["front"]}


def _suggest_training(record: dict[str, Any], folder: Path) -> None:
    """Suggest to train the best trial, or each of the front, with seeds that the search has not used."""
    first = record["seeds"][-1] + 1
    seeds = f"seeds=[{','.join(str(first + place) for place in range(3))}]"
    names = list(_leaders(record))
    suggest_next(
        *(shlex.join(["cnnlab", "train", "--config-dir", str(folder), f"experiment={name}", seeds]) for name in names)
    )


def _read_options(settings: dict[str, Any]) -> "Options":
    try:
        from cnnlab.search.study import Options
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("optuna", "sqlalchemy"):
            raise
        raise RequestError("tune needs a package: pip install 'cnnlab[tune]'") from None
    several = settings["objective"] is not None
    if several and settings["pruner"] not in (None, "none"):
        raise RequestError("pruner: with several objectives no trial can be stopped early; leave it out")
    if settings["pruner"] is None:
        settings = settings | {"pruner": "none" if several else "median"}
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
