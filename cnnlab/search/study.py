"""Keep the trials of a search in a database that several processes share.

The process that runs a trial holds a lock on it, which the operating system releases however that process ends. So a
trial that is neither finished nor locked was abandoned, by Ctrl-C or by a kill; the next process resumes it.
"""

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import numpy as np
import optuna
from filelock import FileLock, Timeout
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from cnnlab.config.sweeps import to_override
from cnnlab.errors import RequestError
from cnnlab.instantiate import first_line
from cnnlab.limits import Count, Whole
from cnnlab.runs.directory import RunDirectory, without_defaults
from cnnlab.search.score import SCORES, Score
from cnnlab.search.space import Parameter, Values, flatten, overrides, suggest

ABOUT = "cnnlab"  # user attribute of the study that holds what is searched
SQLITE_TIMEOUT = 120  # seconds to wait while another process writes

optuna.logging.set_verbosity(optuna.logging.WARNING)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


@dataclass(frozen=True)
class Options:
    """Hold how to search a study, see conf/tune.yaml; a later command may change it."""

    trials: Count
    sampler: Literal["tpe", "random"]
    sampler_seed: Whole
    pruner: Literal["median", "none"]
    startup_trials: Whole
    warmup_epochs: Whole


@dataclass
class Claim:
    """Hold a trial that this process runs."""

    trial: Trial  # Optuna's trial
    values: Values  # its hyperparameters, by key
    seeds: list[int]  # with which it is still to be trained, one after the other
    lock: FileLock  # keeps other processes from running it
    last_epoch: int = 0  # last epoch seen of the present run
    reason: str | None = None  # why the run is to stop early, or None
    diverged: bool = False  # whether that is because it has diverged


class SharedStudy:
    """Share a study with other processes that search it at the same time.

    Args:
        folder: an existing folder for the study.
        storage: SQLAlchemy's URL of a database; None for `study.db` in the folder.
        space: hyperparameters to search.
        about: what is searched, as plain values in sections; a study with another `about` is another study.
        options: how to search.
        first: stored values of the first trial, or None.
        scores: figures that rank the trials; with several, none is stopped early.
        seeds: with which each trial is trained; its value is the mean.

    Raises:
        RequestError: if the folder holds another study, or the database cannot be used.
    """

    def __init__(
        self,
        folder: Path,
        storage: str | None,
        space: Sequence[Parameter],
        about: dict[str, Any],
        options: Options,
        first: Values | None,
        scores: Sequence[Score] = (SCORES["accuracy"],),
        seeds: Sequence[int] = (0,),
    ):
        self.folder, self.space, self.options, self.scores, self.seeds = folder, space, options, scores, seeds
        self.baseline = None if first is None else 0  # number of the trial with the configuration as it stands
        self._turn = FileLock(folder / "study.lock")
        about = json.loads(json.dumps(about))  # as the database returns it
        url = storage or f"sqlite:///{folder.absolute() / 'study.db'}"
        with self._turn:
            try:
                self.study = _open(url, folder.name, scores)
                recorded = self.study.user_attrs.get(ABOUT)
                if not isinstance(recorded, dict | None):
                    raise ValueError("its settings are damaged")
                self.trials()  # those of a damaged database cannot be read either
            except (SQLAlchemyError, ImportError, RuntimeError, ValueError, LookupError, TypeError) as error:
                raise RequestError(f"storage: {url} cannot be used ({first_line(error)})") from None
            if recorded is None:
                self.study.set_user_attr(ABOUT, about)
                if first is not None:
                    self.study.enqueue_trial(first)
            elif difference := _difference(recorded, about):
                raise RequestError(f"{folder} holds a study with {difference}; name=NAME starts another")
        median = optuna.pruners.MedianPruner(options.startup_trials, n_warmup_steps=options.warmup_epochs + 1)
        self.study.pruner = median if options.pruner == "median" else optuna.pruners.NopPruner()

    def take(self) -> Claim | None:
        """Return the next trial to run: an abandoned one, or a new one if there are too few, or None."""
        with self._turn:  # otherwise several processes might each start a last trial
            known = self.trials()
            for frozen in known:
                if frozen.state == TrialState.RUNNING and (lock := self._try_lock(frozen.number)):
                    if self._is_free(frozen.number):
                        self.study.sampler = _sampler(self.options, frozen.number)
                        return self._claim(Trial(self.study, frozen._trial_id), lock)
                    lock.release()
            waiting = [frozen for frozen in known if frozen.state == TrialState.WAITING]
            if not waiting and len(known) >= self.options.trials:
                return None
            # Each trial has its own seed, so that a resumed study draws the same values as an uninterrupted one.
            number = waiting[0].number if waiting else len(known)
            self.study.sampler = _sampler(self.options, number)
            lock = self._lock(number)
            lock.acquire()
            return self._claim(self.study.ask(), lock)

    def _claim(self, trial: Trial, lock: FileLock) -> Claim:
        values = suggest(self.space, trial)
        trial.set_user_attr("arguments", overrides(values))
        trial.set_user_attr("searched", {"sampler": self.options.sampler, "pruner": self.options.pruner})
        runs = zip(self.seeds, self.records(trial.number), strict=True)
        missing = [seed for seed, record in runs if record.get("status") != "completed"]
        return Claim(trial, values, missing or [self.seeds[-1]], lock)

    def has_orphaned_runs(self) -> bool:
        """Return whether a run goes on although the search that started it was killed."""
        running = [frozen.number for frozen in self.trials() if frozen.state == TrialState.RUNNING]
        return any(self.is_abandoned(number) and not self._is_free(number) for number in running)

    def is_abandoned(self, number: int) -> bool:
        """Return whether no process follows an unfinished trial."""
        if lock := self._try_lock(number):
            lock.release()
        return lock is not None

    def problem(self, record: Mapping[str, Any]) -> str | None:
        """Return which figure a completed run lacks, or None."""
        values = {score.name: record.get(score.key) for score in self.scores}
        lacking = [f"its {name} is {value}" for name, value in values.items() if value is None or not isfinite(value)]
        return lacking[0] if lacking else None

    def complete(self, claim: Claim) -> str | None:
        """Record the figures of a trial's runs and their means, or return what is wrong with them."""
        records = self.records(claim.trial.number)
        if problems := [problem for record in records if (problem := self.problem(record))]:
            return problems[0]
        runs = [
            {"seed": seed, **{score.objective: record[score.key] for score in self.scores}}
            for seed, record in zip(self.seeds, records, strict=True)
        ]
        claim.trial.set_user_attr("runs", runs)
        self._tell(claim, TrialState.COMPLETE, [fmean(run[score.objective] for run in runs) for score in self.scores])
        return None

    def give_up(self, claim: Claim, reason: str | None, pruned: bool) -> None:
        """Record that a trial was pruned or has failed."""
        claim.trial.set_user_attr("reason", reason)
        self._tell(claim, TrialState.PRUNED if pruned else TrialState.FAIL, None)

    def _tell(self, claim: Claim, state: TrialState, values: list[float] | None) -> None:
        self.study.tell(claim.trial, values, state)
        claim.lock.release()

    def trials(self) -> list[FrozenTrial]:
        """Return the present state of all trials, in their order."""
        return self.study.get_trials(deepcopy=False)

    def finished(self) -> int:
        """Return the number of finished trials."""
        return sum(trial.state.is_finished() for trial in self.trials())

    def leaders(self) -> list[FrozenTrial]:
        """Return the trials that no other is better than: equally good ones, or with several figures the Pareto front.

        A trial is on the front if every other one is worse in a figure, or equal in all of them.
        """
        return self.study.best_trials

    def records(self, number: int) -> list[dict[str, Any]]:
        """Return the record of a trial's run with each seed, empty if there is none."""
        return [RunDirectory(self.directory(number, seed)).read_summary() or {} for seed in self.seeds]

    def directory(self, number: int, seed: int) -> Path:
        """Return the run directory of a trial with a seed."""
        return self._path(number) if len(self.seeds) == 1 else self._path(number).with_name(f"{number:03}_seed{seed}")

    def _path(self, number: int) -> Path:
        return self.folder / "trials" / f"{number:03}"

    def _lock(self, number: int) -> FileLock:
        self._path(number).parent.mkdir(exist_ok=True)
        return FileLock(self._path(number).with_suffix(".lock"))

    def _try_lock(self, number: int) -> FileLock | None:
        """Lock a trial and return the lock, or return None if another process holds it."""
        lock = self._lock(number)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return None
        return lock

    def _is_free(self, number: int) -> bool:
        directories = [self.directory(number, seed) for seed in self.seeds]
        return all(RunDirectory(directory).is_free() for directory in directories if directory.is_dir())


def _open(url: str, name: str, scores: Sequence[Score]) -> optuna.Study:
    engine = {"connect_args": {"timeout": SQLITE_TIMEOUT}} if url.startswith("sqlite") else {}
    storage = optuna.storages.RDBStorage(url, engine_kwargs=engine)
    directions = [StudyDirection.MINIMIZE if score.lower_is_better else StudyDirection.MAXIMIZE for score in scores]
    return optuna.create_study(storage=storage, study_name=name, directions=directions, load_if_exists=True)


def _sampler(options: Options, number: int) -> optuna.samplers.BaseSampler:
    seed = int(np.random.SeedSequence([options.sampler_seed, number]).generate_state(1)[0])
    if options.sampler == "random":
        return optuna.samplers.RandomSampler(seed)
    return optuna.samplers.TPESampler(
        n_startup_trials=options.startup_trials,
        multivariate=True,  # model the values jointly, not one by one
        group=True,  # with a model for each set of conditions
        constant_liar=True,  # avoid values close to those of running trials
        seed=seed,
    )


def _difference(recorded: Mapping[str, Any], wanted: Mapping[str, Any]) -> str | None:
    """Return the first setting in which two studies differ, in words, or None."""
    for section in wanted:
        before, now = (flatten(without_defaults(part)) for part in (recorded.get(section, {}), wanted[section]))
        for key in [*now, *before]:
            if before.get(key) != now.get(key):
                return f"{key}={to_override(before.get(key))} instead of {to_override(now.get(key))}"
    return None
