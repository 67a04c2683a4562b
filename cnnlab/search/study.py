"""The study of a search: a database of its trials, which several processes share and which outlives them.

Who runs a trial holds a lock on it, and the system lets go of that however the process ends. So a trial that is neither
over nor locked was left behind, by Ctrl-C or by force, and is taken up again by whoever comes next.
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
from cnnlab.runs.directory import RunDirectory
from cnnlab.search.space import Parameter, Values, flat, overrides, suggest

ABOUT = "cnnlab"  # what the study is of, among its attributes
PATIENCE = 120  # seconds that SQLite waits for another process

optuna.logging.set_verbosity(optuna.logging.WARNING)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


@dataclass(frozen=True)
class Options:
    """How a study is searched; a later command may change it.

    Attributes:
        trials: of the whole study.
        sampler: what suggests values.
        sampler_seed: of its draws.
        pruner: what stops trials.
        startup_trials: that must be completed before the sampler and the pruner go by them.
        warmup_epochs: of every trial, before it may be stopped.
    """

    trials: int
    sampler: Literal["tpe", "random"]
    sampler_seed: int
    pruner: Literal["median", "none"]
    startup_trials: int
    warmup_epochs: int


@dataclass(frozen=True)
class Claim:
    """A trial that this process runs.

    Attributes:
        trial: of the study.
        values: that it tries, by key.
        directory: of its run.
        lock: that keeps others from it.
    """

    trial: Trial
    values: Values
    directory: Path
    lock: FileLock


class SharedStudy:
    """A study that this process searches, perhaps beside others.

    Args:
        folder: of the study; it exists.
        storage: a database's address as SQLAlchemy writes it; None for `study.db` in the folder.
        space: what is varied.
        about: what the study is of, plain values in sections; another `about` is another study.
        options: how it is searched.
        first: values of the first trial, as the study keeps them, or None.

    Raises:
        RequestError: when the folder holds a study of something else, or the database cannot be used.
    """

    def __init__(
        self,
        folder: Path,
        storage: str | None,
        space: Sequence[Parameter],
        about: dict[str, Any],
        options: Options,
        first: Values | None,
    ):
        self.folder, self.space, self.options = folder, space, options
        self._turn = FileLock(folder / "study.lock")
        about = json.loads(json.dumps(about))  # as the database gives it back
        url = storage or f"sqlite:///{folder.absolute() / 'study.db'}"
        with self._turn:
            try:
                self.study = _open(url, folder.name)
            except (SQLAlchemyError, ImportError, RuntimeError) as error:
                raise RequestError(f"storage: {url} cannot be used ({str(error).splitlines()[0]})") from None
            if ABOUT not in self.study.user_attrs:
                self.study.set_user_attr(ABOUT, about)
                if first is not None:
                    self.study.enqueue_trial(first)
            elif difference := _difference(self.study.user_attrs[ABOUT], about):
                raise RequestError(f"{folder} holds a study with {difference}; name=NAME starts another")
        self.study.pruner = _pruner(options)

    def take(self) -> Claim | None:
        """The next trial to run: one that was left behind, else a new one while there are too few; else None."""
        with self._turn:  # or several processes would start the last one
            known = self.trials()
            for frozen in known:
                if frozen.state == TrialState.RUNNING and (lock := self._unclaimed(frozen)):
                    self.study.sampler = _sampler(self.options, frozen.number)
                    return self._claim(Trial(self.study, frozen._trial_id), lock)
            waiting = [frozen for frozen in known if frozen.state == TrialState.WAITING]
            if not waiting and len(known) >= self.options.trials:
                return None
            # Every trial has a seed of its own, so that a study that goes on draws what it would have drawn.
            number = waiting[0].number if waiting else len(known)
            self.study.sampler = _sampler(self.options, number)
            lock = FileLock(self._lock_file(number))
            lock.acquire()
            return self._claim(self.study.ask(), lock)

    def _claim(self, trial: Trial, lock: FileLock) -> Claim:
        values = suggest(self.space, trial)
        trial.set_user_attr("arguments", overrides(values))
        trial.set_user_attr("searched", {"sampler": self.options.sampler, "pruner": self.options.pruner})
        return Claim(trial, values, self.directory(trial.number), lock)

    def is_waited_for(self) -> bool:
        """Whether a trial goes on that nobody follows any more: its search was killed, its process was not."""
        running = [frozen.number for frozen in self.trials() if frozen.state == TrialState.RUNNING]
        return any(self.is_left(number) and not self._is_free(number) for number in running)

    def is_left(self, number: int) -> bool:
        """Whether nobody follows a trial that is not over."""
        try:
            with FileLock(self._lock_file(number)).acquire(timeout=0):
                return True
        except Timeout:
            return False

    def tell(self, claim: Claim, state: TrialState, value: float | None = None) -> None:
        """Records how a trial came out (completed, pruned or failed), and lets go of it."""
        self.study.tell(claim.trial, value, state)
        claim.lock.release()

    def trials(self) -> list[FrozenTrial]:
        """All trials, in their order, as they are at present."""
        return self.study.get_trials(deepcopy=False)

    def standing(self) -> tuple[int, float | None]:
        """How many trials are over, and the best value so far."""
        over = [trial for trial in self.trials() if trial.state.is_finished()]
        values = [trial.value for trial in over if trial.state == TrialState.COMPLETE and trial.value is not None]
        return len(over), max(values, default=None)

    def directory(self, number: int) -> Path:
        """Of the run of a trial."""
        return self.folder / "trials" / f"{number:03}"

    def _lock_file(self, number: int) -> Path:
        self.directory(number).parent.mkdir(exist_ok=True)
        return self.directory(number).with_suffix(".lock")

    def _unclaimed(self, frozen: FrozenTrial) -> FileLock | None:
        """The lock of a trial that nobody runs; None where somebody does."""
        lock = FileLock(self._lock_file(frozen.number))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return None
        if self._is_free(frozen.number):
            return lock
        lock.release()
        return None

    def _is_free(self, number: int) -> bool:
        directory = self.directory(number)
        return not directory.is_dir() or RunDirectory(directory).is_free()


def _open(url: str, name: str) -> optuna.Study:
    engine = {"connect_args": {"timeout": PATIENCE}} if url.startswith("sqlite") else {}
    storage = optuna.storages.RDBStorage(url, engine_kwargs=engine)
    return optuna.create_study(storage=storage, study_name=name, direction="maximize", load_if_exists=True)


def _sampler(options: Options, number: int) -> optuna.samplers.BaseSampler:
    seed = int(np.random.SeedSequence([options.sampler_seed, number]).generate_state(1)[0])
    if options.sampler == "random":
        return optuna.samplers.RandomSampler(seed)
    return optuna.samplers.TPESampler(
        n_startup_trials=options.startup_trials,
        multivariate=True,  # values that go well together, not one by one
        group=True,  # of keys that hold under the same conditions
        constant_liar=True,  # what is running at the moment is not tried once more
        seed=seed,
    )


def _pruner(options: Options) -> optuna.pruners.BasePruner:
    if options.pruner == "median":
        return optuna.pruners.MedianPruner(options.startup_trials, n_warmup_steps=options.warmup_epochs + 1)
    return optuna.pruners.NopPruner()


def _difference(recorded: Mapping[str, Any], wanted: Mapping[str, Any]) -> str | None:
    """The first setting by which two studies differ, in words; None where they are the same."""
    for section in wanted:
        before, now = flat(recorded.get(section, {})), flat(wanted[section])
        for key in [*now, *before]:
            if before.get(key) != now.get(key):
                return f"{key}={before.get(key)} instead of {now.get(key)}"
    return None
