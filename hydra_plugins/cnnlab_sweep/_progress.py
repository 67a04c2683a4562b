"""Print the progress of a sweep, and a table of its jobs at the end.

Hydra loads the modules of plugins at every start, except those whose names begin like this one's. rich takes long.
"""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.live import Live
from rich.table import Table
from rich.text import Text

from cnnlab.display import SafeConsole
from cnnlab.reports.terminal import STYLES, format_duration, job_event
from cnnlab.runs.jobs import Job

REFRESH = 2.0  # seconds between updates of the table of running jobs


class SweepProgress:
    """Print a line for every job that starts or ends, and keep a table of the running jobs below it on a terminal.

    Args:
        jobs: all jobs of the sweep, including those completed before it started.
        at_once: number of jobs that run at the same time.
    """

    def __init__(self, jobs: Sequence[Job], at_once: int):
        self.jobs = jobs
        self.at_once = at_once
        self._console = SafeConsole(soft_wrap=True)
        self._live = Live(console=self._console, auto_refresh=False, transient=True) if sys.stdout.isatty() else None
        self._refreshed = 0.0
        self._width = max((len(job.name) for job in jobs), default=0)

    def __enter__(self) -> Self:
        for job in self.jobs:
            if job.state != "waiting":
                self._print(job)
        if self._live:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        if self._live:
            self._live.stop()

    def show(self, changed: Job | None) -> None:
        """Print a job that has started or ended; None only updates the table if it is due."""
        if changed is not None:
            self._print(changed)
        now = time.monotonic()
        if self._live and (changed is not None or now - self._refreshed > REFRESH):
            self._refreshed = now
            for job in self.jobs:
                if job.state == "running":
                    job.read_record()
            self._live.update(self._running(), refresh=True)

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
        self._console.print(line)

    def _running(self) -> Table | str:
        """Return the table of running jobs with the time left for the sweep."""
        count = {state: sum(job.state == state for job in self.jobs) for state in ("waiting", "running", *STYLES)}
        left = time_left(self.jobs, self.at_once)
        title = ", ".join(f"{number} {state}" for state, number in count.items() if number)
        title += f"; {'-' if left is None else format_duration(left)} left"
        if not count["running"]:
            return title
        table = Table(title=title, title_justify="left")
        for name in ("running", "epochs", "val accuracy", "elapsed"):
            table.add_column(name, justify="left" if name == "running" else "right")
        for job in self.jobs:
            if job.state == "running" and job.started is not None:
                epochs, best = job.record.get("epochs"), job.record.get("val_accuracy")
                table.add_row(
                    job.name,
                    f"{epochs or 0:g}/{'-' if job.epochs is None else f'{job.epochs:g}'}",
                    "-" if best is None else f"{best:.2%}",
                    format_duration(time.monotonic() - job.started),
                )
        return table


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
