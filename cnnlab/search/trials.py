"""Run the trials of a study, each in its own process, and stop unpromising ones early."""

import csv
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from optuna.trial import TrialState

from cnnlab.runs.directory import RunDirectory
from cnnlab.runs.jobs import Job, LocalProcess, run_jobs
from cnnlab.search.space import Values
from cnnlab.search.study import Claim, SharedStudy

MOST_FAILURES = 3  # trials that may fail before the search gives up, if none has had another outcome


class Trials:
    """Run the trials of this process.

    Args:
        study: the shared study.
        command: returns the command that trains with a trial's values in a directory.
        environments: environment variables for each of the trials that run at the same time.
        epochs: length of a trial, or None if unknown.
        timeout: seconds from now after which no further trial starts, or None.
    """

    def __init__(
        self,
        study: SharedStudy,
        command: Callable[[Values, Path], list[str]],
        environments: Sequence[dict[str, str]],
        epochs: float | None,
        timeout: float | None,
    ):
        self.study, self.command, self.environments, self.epochs = study, command, environments, epochs
        self.deadline = math.inf if timeout is None else time.monotonic() + timeout
        self._running: dict[Job, Claim] = {}
        self._next_seeds: list[Claim] = []  # trials that go on with another seed
        self._failures = 0

    def run(self) -> Iterator[Job | None]:
        """Run trials until the study has enough; yield each as it starts and ends, and None several times a second.

        A job has the number of its trial as its name, and its seed if there are several. If it was stopped or failed,
        it has a `reason`. It is `trained` if it was completed, but its trial needs further seeds.

        Raises:
            Interrupted: after a signal, once the trials have saved their checkpoints; the next process resumes them.
        """

        def start(job: Job, environment: dict[str, str]) -> LocalProcess:
            return LocalProcess(job.command, job.directory, environment)

        try:
            for job in run_jobs(self._next_jobs(), start, self.environments):
                if job is not None and job.state != "running":
                    self._finish(job)
                for running_job, claim in self._running.items():
                    self._follow(running_job, claim)
                yield job
        finally:
            for claim in self._next_seeds:
                claim.lock.release()

    def _next_jobs(self) -> Iterator[Job | None]:
        while True:
            goes_on = time.monotonic() < self.deadline and not self._gives_up()
            if self._next_seeds:
                yield self._job(self._next_seeds.pop(0), begins=False)
            elif goes_on and (claim := self.study.take()):
                yield self._job(claim)
            elif self._awaits_seeds() or (goes_on and self.study.has_orphaned_runs()):
                yield None
            else:
                return

    def _awaits_seeds(self) -> bool:
        """Return whether a running trial needs further seeds, for which a place may be free only later."""
        return any(len(claim.seeds) > 1 for claim in self._running.values())

    def _gives_up(self) -> bool:
        """Return whether this process has seen several failures, and the study nothing else."""
        finished = {trial.state for trial in self.study.trials() if trial.state.is_finished()}
        return self._failures >= MOST_FAILURES and finished == {TrialState.FAIL}

    def _job(self, claim: Claim, begins: bool = True) -> Job:
        number, seed, several = claim.trial.number, claim.seeds[0], len(self.study.seeds) > 1
        directory = self.study.directory(number, seed)
        resumes = RunDirectory(directory).config_file.exists()
        command = self.command(claim.values | ({"seed": seed} if several else {}), directory)
        command += ["resume=auto"] if resumes else []
        name = f"{number:03}" + f" seed {seed}" * several
        arguments = claim.trial.user_attrs["arguments"] if begins else []  # told once
        job = Job(name, arguments, command, directory, self.epochs, resumes=resumes)
        reported = self.study.trials()[number].intermediate_values
        claim.last_epoch = max(reported, default=0) if self._may_be_pruned(claim) else 0
        self._running[job] = claim
        return job

    def _may_be_pruned(self, claim: Claim) -> bool:
        """Return whether the present run of a trial is compared with that of others: with one figure, its first run.

        A trial that survives its first seed is trained with all, so that all means are of equally many runs.
        """
        return len(self.study.scores) == 1 and claim.seeds[0] == self.study.seeds[0]

    def _follow(self, job: Job, claim: Claim) -> None:
        """Report new epochs to the study; ask the run to stop if it is unpromising."""
        trial, score = claim.trial, self.study.scores[0]
        for row in read_epochs(job.directory):
            epoch, value = int(row["epoch"]), row.get(score.figure)
            if epoch <= claim.last_epoch or claim.reason:
                continue
            claim.last_epoch = epoch
            if not all(math.isfinite(row[name]) for name in ("train/loss", "val/loss") if row.get(name) is not None):
                claim.reason, claim.diverged = f"diverged: the loss is not finite in epoch {epoch}", True
            elif value is not None and self._may_be_pruned(claim):
                trial.report(value, epoch)
                if (self.epochs is None or epoch < self.epochs) and trial.should_prune():
                    best = score.best(self.study.trials()[trial.number].intermediate_values.values()) or 0.0
                    median = f"{'above' if score.lower_is_better else 'below'} the median of the completed trials"
                    problem = f"its best {score.name} so far, {score.text(best)}, is {median}"
                    claim.reason = f"pruned after epoch {epoch}: {problem}"
        job.unwanted = claim.reason is not None and not claim.diverged  # such a run ends by itself

    def _finish(self, job: Job) -> None:
        """Record the outcome of a run in the study; leave an interrupted trial to the next process."""
        claim = self._running.pop(job)
        self._follow(job, claim)
        seconds = claim.trial.user_attrs.get("seconds", 0.0) + job.seconds
        recorded = sum(record.get("total_seconds") or 0.0 for record in self.study.records(claim.trial.number))
        seconds = max(seconds, recorded)  # a run may have outlived an earlier search
        claim.trial.set_user_attr("seconds", round(seconds, 3))
        if job.state == "diverged" or (job.state == "completed" and claim.diverged):
            job.state, job.reason = "pruned", claim.reason or f"diverged: {job.reason}"
        elif job.state == "completed" and claim.seeds[1:] and not self.study.problem(job.record):
            claim.seeds.pop(0)
            self._next_seeds.append(claim)
            job.state = "trained"
            return
        elif job.state == "completed":
            if (problem := self.study.complete(claim)) is None:
                return
            job.state, job.reason = "failed", problem
        elif job.state == "interrupted" and claim.reason:
            job.state, job.reason = "pruned", claim.reason
            RunDirectory(job.directory).correct("interrupted", claim.reason)  # the run only knows that it was stopped
        elif job.state == "interrupted":
            claim.lock.release()
            return
        self._failures += job.state == "failed"
        self.study.give_up(claim, job.reason, pruned=job.state == "pruned")


def read_epochs(directory: Path) -> list[dict[str, Any]]:
    """Read the complete rows of a run's metrics.csv as numbers, with None for empty cells."""
    try:
        text = (directory / "metrics.csv").read_text(encoding="utf-8")
    except OSError:
        return []
    complete = text[: text.rfind("\n") + 1].splitlines()  # the last row may be half written
    return [{name: float(cell) if cell else None for name, cell in row.items()} for row in csv.DictReader(complete)]
