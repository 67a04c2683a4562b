"""Print the progress of a sweep, and a table of its jobs at the end.

Hydra loads the modules of plugins at every start, except those whose names begin like this one's. rich takes long.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.table import Table
from rich.text import Text

from cnnlab.display import SafeConsole
from cnnlab.reports.terminal import STYLES, JobTable, format_duration, job_event
from cnnlab.runs.jobs import Job


class SweepProgress:
    """Print a line for every job that starts or ends, and keep a table of the running jobs below it on a terminal.

    Args:
        jobs: all jobs of the sweep, including those completed before it started.
        at_once: number of jobs that run at the same time.
    """

    def __init__(self, jobs: Sequence[Job], at_once: int):
        self.jobs = jobs
        self.at_once = at_once
        self._table = JobTable()
        self._width = max((len(job.name) for job in jobs), default=0)

    def __enter__(self) -> Self:
        for job in self.jobs:
            if job.state != "waiting":
                self._print(job)
        self._table.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        self._table.__exit__(kind, error, trace)

    def show(self, changed: Job | None) -> None:
        """Print a job that has started or ended; None only updates the table if it is due."""
        if changed is not None:
            self._print(changed)
        if changed is not None or self._table.is_due():
            self._table.show(self._title(), [job for job in self.jobs if job.state == "running"])

    def _print(self, job: Job) -> None:
        ended = sum(job.state not in ("waiting", "running") for job in self.jobs)
        line = Text(f"[{ended}/{len(self.jobs)}] ")
        line.append(f"{job_event(job):<11} ", STYLES.get(job.state, ""))
        line.append(f"{job.name:<{self._width}}")
        if job.state == "completed":
            figures = {name: job.record.get(f"{name}_accuracy") for name in ("test", "val")}
            parts = [f"{name} {figure:.2%}" for name, figure in figures.items() if figure is not None]
            if not job.earlier:
                left = time_left(self.jobs, self.at_once)
                parts += [format_duration(job.seconds), *([f"{format_duration(left)} left"] if left else [])]
            line.append(f"  {', '.join(parts)}")
        elif job.state in ("failed", "diverged"):
            line.append(f"  {job.reason}")
        if job.state == "running" or (job.state == "completed" and job.earlier):
            line.append(f"  {job.directory}", "dim")
        self._table.print(line)

    def _title(self) -> str:
        """Return how many jobs are in each state, and the time left for the sweep."""
        count = {state: sum(job.state == state for job in self.jobs) for state in ("waiting", "running", *STYLES)}
        left = time_left(self.jobs, self.at_once)
        title = ", ".join(f"{number} {state}" for state, number in count.items() if number)
        return f"{title}; {'-' if left is None else format_duration(left)} left"


def time_left(jobs: Sequence[Job], at_once: int) -> float | None:
    """Estimate the seconds until all jobs have ended, or return None as long as no duration is known.

    Waiting jobs are assumed to take the mean time of the others.
    """
    known = [seconds for job in jobs if (seconds := _expected_seconds(job)) is not None]
    if not known:
        return None
    mean, now = sum(known) / len(known), time.monotonic()
    left = [mean for job in jobs if job.state == "waiting"]
    for job in jobs:
        if job.state == "running" and job.started is not None:
            left.append(max(0.0, (_expected_seconds(job) or mean) - (now - job.started)))
    return max([sum(left) / at_once, *left])


def _expected_seconds(job: Job) -> float | None:
    """Estimate the duration of a job in this sweep from the epochs done so far; None if not known yet."""
    if job.state == "completed":
        return None if job.earlier else job.seconds
    done = (job.record.get("epochs") or 0) - job.epochs_before
    if job.state != "running" or job.started is None or job.epochs is None or done <= 0:
        return None
    return (time.monotonic() - job.started) * (job.epochs - job.epochs_before) / done


def print_outcome(jobs: Sequence[Job], directory: Path) -> None:
    """Print the table at the end of a sweep; its directory does not exist if all jobs were completed before."""
    title = str(directory) if directory.is_dir() else "all jobs were completed before"
    table = Table(title=title, title_justify="left", min_width=60)
    for name in ("job", "status", "test", "val"):
        table.add_column(name, justify="right" if name in ("test", "val") else "left", overflow="fold")
    for job in jobs:
        figures = [job.record.get(f"{name}_accuracy") if job.state == "completed" else None for name in ("test", "val")]
        cells = ["-" if figure is None else f"{figure:.2%}" for figure in figures]
        table.add_row(job.name, Text(job_event(job), STYLES.get(job.state, "")), *cells)
    SafeConsole(soft_wrap=True).print(table)


def _reason(job: Job) -> str:
    return f"diverged: {job.reason}" if job.state == "diverged" else job.reason or job.state


def describe_failures(jobs: Sequence[Job]) -> str:
    """Return a line for each reason why jobs were not completed, with the name and directory of the first of them."""
    failed = [job for job in jobs if job.state != "completed"]
    lines = []
    for reason in dict.fromkeys(map(_reason, failed)):
        first, *others = [job for job in failed if _reason(job) == reason]
        more = f" and {len(others)} more" if others else ""
        lines.append(f"  {first.name}{more}: {reason}" + (f" ({first.directory})" if first.directory.is_dir() else ""))
    return "\n".join([f"{len(failed)} of {len(jobs)} jobs were not completed:", *lines])
