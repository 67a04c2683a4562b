"""Describe a study as plain values, for tune.json."""

from collections import Counter
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
        `select`, the figure that ranks the trials; `space`, a list of its entries; `trials` (below); `counts` of the
        states; `best`, one of the trials or None; `importance` of the entries, which add up to 1; `total_seconds` of
        all trials together; and the options.

        Each trial has `state` (interrupted if no process runs it now), `params` (values by the names of the entries),
        `arguments` (as typed, with four digits), `value` (figure of the best epoch; if pruned, of the last epoch
        reported), `curve` (figure by epoch), `seconds`, `directory` (relative to the study's folder), `reason`,
        and `searched` (sampler and pruner of the command that started it; the study's are those of the last command).
    """
    known = [trial for trial in study.trials() if trial.state != TrialState.WAITING]
    trials = [_describe_trial(trial, study) for trial in known]
    completed = [trial for trial in trials if trial["state"] == "completed"]
    best = study.score.best([trial["value"] for trial in completed])
    return {
        "select": study.score.figure,
        "space": [{"name": parameter.name, **vars(parameter)} for parameter in study.space],
        **vars(study.options),
        "trials": trials,
        "counts": dict(Counter(trial["state"] for trial in trials)),
        "best": next((trial for trial in completed if trial["value"] == best), None),
        "importance": _importance(study, known),
        "total_seconds": round(sum(trial["seconds"] or 0.0 for trial in trials), 3),
    }


def _describe_trial(trial: FrozenTrial, study: SharedStudy) -> dict[str, Any]:
    abandoned = trial.state == TrialState.RUNNING and study.is_abandoned(trial.number)
    return {
        "number": trial.number,
        "state": "interrupted" if abandoned else STATES[trial.state],
        "params": trial.params,
        "arguments": trial.user_attrs.get("arguments", []),
        "value": trial.value,
        "curve": {str(epoch): value for epoch, value in sorted(trial.intermediate_values.items())},
        "seconds": trial.user_attrs.get("seconds"),
        "directory": study.directory(trial.number).relative_to(study.folder).as_posix(),
        "reason": trial.user_attrs.get("reason"),
        "searched": trial.user_attrs.get("searched"),
    }


def _importance(study: SharedStudy, trials: list[FrozenTrial]) -> dict[str, float]:
    """Return the share of the figure's variance that each entry explains by itself (fANOVA, Hutter et al. 2014).

    The variance is that of a random forest, fitted to the completed trials, under uniform values over the whole range:
    of a learning rate between 0.01 and 1, half of the values are above 0.5. Shares are scaled to add up to 1, without
    interactions. Entries that are not used in every trial are left out. The result is empty if there are too few
    trials, all are equally good, or there is only one entry, which would explain everything.
    """
    completed = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    everywhere = set.intersection(*(set(trial.params) for trial in completed)) if completed else set()
    if len(completed) < 4 or len(everywhere) < 2 or len({trial.value for trial in completed}) == 1:
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    names = [parameter.name for parameter in study.space if parameter.name in everywhere]
    return optuna.importance.get_param_importances(study.study, evaluator=evaluator, params=names)
