"""Runs the trials of a study, each as a process of its own, and stops those that are hopeless."""

import csv
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.trial import TrialState

from cnnlab.runs.directory import RunDirectory
from cnnlab.runs.jobs import Execution, Job, LocalProcess, run_jobs
from cnnlab.search.space import Values
from cnnlab.search.study import Claim, SharedStudy

GIVE_UP = 3  # failed trials, while none has come out otherwise


@dataclass
class _Running:
    """A trial that goes on: its epochs that the study knows of, and why it is to end, if it is."""

    claim: Claim
    epochs_known: int = 0
    reason: str | None = None
    diverged: bool = False


class Trials:
    """The trials that this process runs.

    Args:
        study: which trials there are.
        command: that trains with a trial's values in a directory.
        environments: variables of the trials that run at once.
        epochs: of a trial, or None where that is not known.
        timeout: seconds from now after which no trial is started any more, or None.
    """

    def __init__(
        self,
        study: SharedStudy,
        command: Callable[[Values, Path], list[str]],
        environments: Sequence[Mapping[str, str]],
        epochs: float | None,
        timeout: float | None,
    ):
        self.study, self.command, self.epochs = study, command, epochs
        self.environments = [dict(environment) for environment in environments]
        self.deadline = math.inf if timeout is None else time.monotonic() + timeout
        self._running: dict[Job, _Running] = {}
        self._failures = 0

    def run(self) -> Iterator[Job | None]:
        """Runs trials until the study has enough; yields each when it starts and ends, None several times a second.

        A job that is over has the `reason` for which it was stopped, or failed. Its name is the trial's number.

        Raises:
            Interrupted: when a signal came, after the trials have saved. The next process goes on with them.
        """
        for job in run_jobs(self._waiting(), _start, self.environments):
            if job is not None and job.state != "running":
                self._settle(job)
            for going_on, running in self._running.items():
                self._follow(going_on, running)
            yield job

    def _waiting(self) -> Iterator[Job | None]:
        while time.monotonic() < self.deadline and not self._is_hopeless():
            if claim := self.study.take():
                yield self._job(claim)
            elif self.study.is_waited_for():
                yield None
            else:
                return

    def _is_hopeless(self) -> bool:
        """Whether nothing but failures is to be expected: this process has seen some, and nobody anything else."""
        over = [trial.state for trial in self.study.trials() if trial.state.is_finished()]
        return self._failures >= GIVE_UP and set(over) == {TrialState.FAIL}

    def _job(self, claim: Claim) -> Job:
        resumes = RunDirectory(claim.directory).config_file.exists()
        command = self.command(claim.values, claim.directory) + (["resume=auto"] if resumes else [])
        arguments = claim.trial.user_attrs["arguments"]
        job = Job(claim.directory.name, arguments, command, claim.directory, self.epochs, resumes=resumes)
        known = self.study.trials()[claim.trial.number].intermediate_values
        self._running[job] = _Running(claim, epochs_known=max(known, default=0))
        return job

    def _follow(self, job: Job, running: _Running) -> None:
        """Tells the study of the epochs that have ended since; asks the run to end when it is not worth going on."""
        for row in read_epochs(job.directory):
            epoch, accuracy = int(row["epoch"]), row["val/accuracy"]
            if epoch <= running.epochs_known or running.reason:
                continue
            running.epochs_known = epoch
            if not all(math.isfinite(row[name]) for name in ("train/loss", "val/loss") if row.get(name) is not None):
                running.reason, running.diverged = f"diverged: the loss is not finite in epoch {epoch}", True
            elif accuracy is not None:
                running.claim.trial.report(accuracy, epoch)
                if (self.epochs is None or epoch < self.epochs) and running.claim.trial.should_prune():
                    best = max(self.study.trials()[running.claim.trial.number].intermediate_values.values())
                    running.reason = (
                        f"pruned after epoch {epoch}: its val accuracy, {best:.2%} at best, is below the median of the "
                        "completed trials"
                    )
        job.unwanted = running.reason is not None

    def _settle(self, job: Job) -> None:
        """Tells the study how a trial has ended; one that was interrupted is left for whoever comes next."""
        running = self._running.pop(job)
        self._follow(job, running)
        claim, value = running.claim, job.record.get("val_accuracy")
        seconds = claim.trial.user_attrs.get("seconds", 0.0) + job.seconds
        seconds = max(seconds, job.record.get("total_seconds") or 0.0)  # the run may have outlived an earlier search
        claim.trial.set_user_attr("seconds", round(seconds, 3))
        if job.state == "completed" and running.diverged:
            job.state, job.reason = "pruned", running.reason
        elif job.state == "completed" and value is not None and math.isfinite(value):
            self.study.tell(claim, TrialState.COMPLETE, value)
            return
        elif job.state == "completed":
            job.state, job.reason = "failed", f"its val accuracy is {value}"
        elif job.state == "interrupted" and running.reason:
            job.state, job.reason = "pruned", running.reason
            RunDirectory(job.directory).correct("interrupted", running.reason)  # it knows only that it was told to end
        elif job.state == "interrupted":
            claim.lock.release()
            return
        self._failures += job.state == "failed"
        claim.trial.set_user_attr("reason", job.reason)
        self.study.tell(claim, TrialState.PRUNED if job.state == "pruned" else TrialState.FAIL)


def _start(job: Job, environment: dict[str, str]) -> Execution:
    return LocalProcess(job.command, job.directory, environment)


def read_epochs(directory: Path) -> list[dict[str, Any]]:
    """The rows of a run's metrics.csv as numbers, None where nothing was measured; without one that is half written."""
    try:
        text = (directory / "metrics.csv").read_text()
    except OSError:
        return []
    whole = text[: text.rfind("\n") + 1].splitlines()
    return [{name: float(cell) if cell else None for name, cell in row.items()} for row in csv.DictReader(whole)]
