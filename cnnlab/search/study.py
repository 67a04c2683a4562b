"""Keep the trials of a search in a database that several processes share.

The process that runs a trial holds a lock on it, which the operating system releases however that process ends. So a
trial that is neither finished nor locked was abandoned, by Ctrl-C or by a kill; the next process resumes it.
"""

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import optuna
from filelock import FileLock, Timeout
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from cnnlab.errors import RequestError
from cnnlab.instantiate import first_line
from cnnlab.limits import Count, Whole
from cnnlab.runs.directory import RunDirectory, without_defaults
from cnnlab.runs.recorder import Selection
from cnnlab.search.score import Score
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
    directory: Path  # run directory of the trial
    lock: FileLock  # keeps other processes from running it
    last_epoch: int = 0  # last epoch reported to the study
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
        select: figure that ranks the trials.

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
        select: Selection = "val/accuracy",
    ):
        self.folder, self.space, self.options, self.score = folder, space, options, Score(select)
        self._turn = FileLock(folder / "study.lock")
        about = json.loads(json.dumps(about))  # as the database returns it
        url = storage or f"sqlite:///{folder.absolute() / 'study.db'}"
        with self._turn:
            try:
                self.study = _open(url, folder.name, "minimize" if self.score.is_loss else "maximize")
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
        return Claim(trial, values, self.directory(trial.number), lock)

    def has_orphaned_runs(self) -> bool:
        """Return whether a run goes on although the search that started it was killed."""
        running = [frozen.number for frozen in self.trials() if frozen.state == TrialState.RUNNING]
        return any(self.is_abandoned(number) and not self._is_free(number) for number in running)

    def is_abandoned(self, number: int) -> bool:
        """Return whether no process follows an unfinished trial."""
        if lock := self._try_lock(number):
            lock.release()
        return lock is not None

    def tell(self, claim: Claim, state: TrialState, value: float | None = None) -> None:
        """Record that a trial was completed, pruned or failed, and release its lock."""
        self.study.tell(claim.trial, value, state)
        claim.lock.release()

    def trials(self) -> list[FrozenTrial]:
        """Return the present state of all trials, in their order."""
        return self.study.get_trials(deepcopy=False)

    def standing(self) -> tuple[int, float | None]:
        """Return the number of finished trials and the best value so far."""
        finished = [trial for trial in self.trials() if trial.state.is_finished()]
        values = [trial.value for trial in finished if trial.state == TrialState.COMPLETE and trial.value is not None]
        return len(finished), self.score.best(values)

    def directory(self, number: int) -> Path:
        """Return the run directory of a trial."""
        return self.folder / "trials" / f"{number:03}"

    def _lock(self, number: int) -> FileLock:
        self.directory(number).parent.mkdir(exist_ok=True)
        return FileLock(self.directory(number).with_suffix(".lock"))

    def _try_lock(self, number: int) -> FileLock | None:
        """Lock a trial and return the lock, or return None if another process holds it."""
        lock = self._lock(number)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return None
        return lock

    def _is_free(self, number: int) -> bool:
        directory = self.directory(number)
        return not directory.is_dir() or RunDirectory(directory).is_free()


def _open(url: str, name: str, direction: Literal["minimize", "maximize"]) -> optuna.Study:
    engine = {"connect_args": {"timeout": SQLITE_TIMEOUT}} if url.startswith("sqlite") else {}
    storage = optuna.storages.RDBStorage(url, engine_kwargs=engine)
    return optuna.create_study(storage=storage, study_name=name, direction=direction, load_if_exists=True)


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
                return f"{key}={before.get(key)} instead of {now.get(key)}"
    return None
