"""Describe a study as plain values, for tune.json, and its trials as a table, for tune.csv."""

import csv
import io
from collections import Counter
from collections.abc import Mapping
from statistics import stdev
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from cnnlab.search.study import SharedStudy

STATES = {
    TrialState.COMPLETE: "completed",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
}


def describe_study(study: SharedStudy) -> dict[str, Any]:
    """Return the study as plain values.

    Returns:
        `objective`, the figures that rank the trials; `seeds` of every trial; `space`, a list of its entries; `trials`
        (below); `counts` of the states; `best`, one of the trials or None; `front`, the numbers of the trials on the
        Pareto front, by the first figure, empty with a single one; `baseline`, the number of the trial with the
        configuration as it stands, or None; `importance` of the entries, which add up to 1, with several figures for
        each of them; `total_seconds` of all trials together; and the options.

        Each trial has `state` (interrupted if no process runs it now), `params` (values by the names of the entries),
        `arguments` (as typed, with four digits), `values` (figures of the best epoch by their names, means over the
        seeds; if pruned, of the last epoch reported), `spread` (standard deviations over the seeds, empty if there is
        one), `runs` (seed and figures of each), `value` (a single figure, else None), `curve` (figure by epoch, of the
        first seed), `seconds`, `directory` (of the first seed, relative to the study's folder), `reason`, and
        `searched` (sampler and pruner of the command that started it; the study's are those of the last command).
    """
    known = [trial for trial in study.trials() if trial.state != TrialState.WAITING]
    trials = [describe_trial(trial, study) for trial in known]
    several = len(study.scores) > 1
    leaders = [trials[trial.number] for trial in study.leaders()]
    # Of trials with the same values, which train the same network again, the first stands for all.
    leaders = list({str(trial["params"]): trial for trial in reversed(leaders)}.values())[::-1]
    if several:
        first = study.scores[0]
        leaders.sort(key=lambda trial: trial["values"][first.objective], reverse=not first.lower_is_better)
    return {
        "objective": [score.objective for score in study.scores],
        "seeds": list(study.seeds),
        "space": [{"name": parameter.name, **vars(parameter)} for parameter in study.space],
        **vars(study.options),
        "trials": trials,
        "counts": dict(Counter(trial["state"] for trial in trials)),
        "best": leaders[0] if leaders and not several else None,
        "front": [trial["number"] for trial in leaders] if several else [],
        "baseline": study.baseline,
        "importance": {score.objective: _importance(study, known, place) for place, score in enumerate(study.scores)}
        if several
        else _importance(study, known, 0),
        "total_seconds": round(sum(trial["seconds"] or 0.0 for trial in trials), 3),
    }


def describe_trial(trial: FrozenTrial, study: SharedStudy) -> dict[str, Any]:
    """Return a trial as plain values; see `describe_study`."""
    abandoned = trial.state == TrialState.RUNNING and study.is_abandoned(trial.number)
    names = [score.objective for score in study.scores]
    runs = trial.user_attrs.get("runs", [])
    return {
        "number": trial.number,
        "state": "interrupted" if abandoned else STATES[trial.state],
        "params": trial.params,
        "arguments": trial.user_attrs.get("arguments", []),
        "value": trial.values[0] if trial.values and len(names) == 1 else None,
        "values": dict(zip(names, trial.values or [], strict=False)),
        "spread": {name: stdev(run[name] for run in runs) for name in names} if len(runs) > 1 else {},
        "runs": runs,
        "curve": {str(epoch): value for epoch, value in sorted(trial.intermediate_values.items())},
        "seconds": trial.user_attrs.get("seconds"),
        "directory": study.directory(trial.number, study.seeds[0]).relative_to(study.folder).as_posix(),
        "reason": trial.user_attrs.get("reason"),
        "searched": trial.user_attrs.get("searched"),
    }


def render_csv(record: Mapping[str, Any]) -> str:
    """Return one row for every trial of a study: its state, figures, spreads and hyperparameters."""
    objectives, names = record["objective"], [entry["name"] for entry in record["space"]]
    best = record["front"] or ([record["best"]["number"]] if record["best"] else [])
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    spreads = [f"{name}_sd" for name in objectives if len(record["seeds"]) > 1]
    writer.writerow(["trial", "state", "best", *objectives, *spreads, "seconds", *names, "directory", "reason"])
    for trial in record["trials"]:
        figures = [trial["values"].get(name) for name in objectives]
        figures += [trial["spread"].get(name) for name in objectives[: len(spreads)]]
        row = [trial["number"], trial["state"], trial["number"] in best, *figures, trial["seconds"]]
        writer.writerow([*row, *map(trial["params"].get, names), trial["directory"], trial["reason"]])
    return buffer.getvalue()


def _importance(study: SharedStudy, trials: list[FrozenTrial], place: int) -> dict[str, float]:
    """Return the share of a figure's variance that each entry explains by itself (fANOVA, Hutter et al. 2014).

    The variance is that of a random forest, fitted to the completed trials, under uniform values over the whole range:
    of a learning rate between 0.01 and 1, half of the values are above 0.5. Shares are scaled to add up to 1, without
    interactions. Entries that are not used in every trial are left out. The result is empty if there are too few
    trials, all are equally good, or there is only one entry, which would explain everything.
    """
    completed = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    everywhere = set.intersection(*(set(trial.params) for trial in completed)) if completed else set()
    if len(completed) < 4 or len(everywhere) < 2 or len({trial.values[place] for trial in completed}) == 1:
        return {}
    return optuna.importance.get_param_importances(
        study.study,
        evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0),
        params=[parameter.name for parameter in study.space if parameter.name in everywhere],
        target=lambda trial: trial.values[place],
    )
