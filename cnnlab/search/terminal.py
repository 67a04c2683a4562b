"""Print the trials of a search as they start and end, and a table of the best at the end."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from cnnlab.display import SafeConsole
from cnnlab.reports.terminal import STYLES, JobTable, format_duration, job_event
from cnnlab.runs.jobs import Job
from cnnlab.search.score import Score

Record = Mapping[str, Any]  # content of tune.json
TRIALS_IN_TABLE = 10


class TrialProgress(JobTable):
    """Print a line for every trial that starts or ends, and keep a table of the running ones below on a terminal.

    Args:
        trials: number of trials in the study.
        at_once: number of trials that run at the same time.
        score: what the trials are ranked by.
    """

    def __init__(self, trials: int, at_once: int, score: Score):
        super().__init__()
        self._trials, self._at_once, self._score = trials, at_once, score
        self._jobs: list[Job] = []

    def follow(self, job: Job | None, standing: Callable[[], tuple[int, float | None]]) -> None:
        """Print a trial that has started or ended; None only updates the table if it is due.

        `standing` returns the number of trials that have ended, and the best value so far.
        """
        if job is not None or self.is_due():
            finished, best = standing()
            if job is not None:
                self._jobs += [job] if job not in self._jobs else []
                self.print(describe_trial(job, self._trials, finished, best, self._score))
            title = f"{finished} of {self._trials} trials" + (
                "" if best is None else f", best {self._score.text(best)}"
            )
            if ended := [other.seconds for other in self._jobs if other.state in ("completed", "pruned")]:
                left = sum(ended) / len(ended) * (self._trials - finished) / self._at_once
                title += f"; about {format_duration(left)} left"
            self.show(title, [other for other in self._jobs if other.state == "running"])


def describe_trial(job: Job, trials: int, finished: int, best: float | None, score: Score) -> Text:
    """Return a line about a trial that has started or ended, with the best value so far."""
    line = Text(f"[{finished}/{trials}] ")
    line.append(f"{job_event(job):<11} ", STYLES.get(job.state, "cyan" if job.state == "pruned" else ""))
    line.append(job.name)
    if job.state == "completed":
        value = job.record[score.key]
        line.append(f"  {score.short_name} {score.text(value)}, {format_duration(job.seconds)}")
        leads = best is None or score.best([best, value]) == value
        line.append(", the best so far" if best is None or leads else f", best {score.text(best)}")
    elif job.state == "running":
        line.append(f"  {' '.join(job.overrides)}", "dim")
    elif job.reason:
        line.append(f"  {job.reason}")
    return line


def print_study(record: Record, folder: Path) -> None:
    """Print the best trials, the number of trials in each state, and the importance of the hyperparameters."""
    console, score = SafeConsole(soft_wrap=True), Score(record["select"])
    completed = [trial for trial in record["trials"] if trial["state"] == "completed"]
    table = Table(title=str(folder), title_justify="left", min_width=60)
    for name in ("trial", score.short_name, "time", "values"):
        table.add_column(name, justify="left" if name == "values" else "right", overflow="fold")
    for trial in sorted(completed, key=lambda trial: trial["value"], reverse=not score.is_loss)[:TRIALS_IN_TABLE]:
        table.add_row(
            f"{trial['number']:03}",
            score.text(trial["value"]),
            format_duration(trial["seconds"]),
            " ".join(trial["arguments"]),
            style="bold" if trial["number"] == record["best"]["number"] else None,
        )
    if completed:
        console.print(table)
    console.print(f"{describe_counts(record)}; {format_duration(record['total_seconds'])} in all trials together")
    if record["importance"]:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in record["importance"].items())
        console.print(f"importance: {shares}")


def describe_counts(record: Record) -> str:
    """Return the number of trials in each state, such as `14 completed, 6 pruned`."""
    return ", ".join(f"{number} {state}" for state, number in record["counts"].items()) or "no trials"
