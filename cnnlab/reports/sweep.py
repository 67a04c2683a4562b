"""What a sweep shows: a line for every job that starts or ends, what runs at the moment, and how all came out."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cnnlab.runs.jobs import Job

REFRESH = 2.0  # seconds between looks at the records of what runs
STYLES = {"completed": "green", "failed": "bold red", "interrupted": "yellow"}


class SweepProgress:
    """Shows a sweep while it runs: on a terminal with a table of what runs, elsewhere in plain lines.

    Args:
        jobs: of the sweep, those that were done before too.
        at_once: how many run at the same time.
    """

    def __init__(self, jobs: Sequence[Job], at_once: int):
        self.jobs = jobs
        self.at_once = at_once
        self._console = Console(soft_wrap=True, highlight=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=True) if sys.stdout.isatty() else None
        self._refreshed = 0.0
        self._width = max((len(job.name) for job in jobs), default=0)

    def __enter__(self) -> Self:
        for job in self.jobs:
            if job.state != "waiting":
                self._print(f"{job.state} before" if job.earlier else job.state, job)
        if self._live:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        if self._live:
            self._live.stop()

    def show(self, changed: Job | None) -> None:
        """Takes note of a job that has started or ended, or that a moment has passed."""
        if changed is not None:
            started = "goes on" if changed.resumes else "started"
            self._print(started if changed.state == "running" else changed.state, changed)
        now = time.monotonic()
        if self._live and (changed is not None or now - self._refreshed > REFRESH):
            self._refreshed = now
            for job in self.jobs:
                if job.state == "running":
                    job.read_record()
            self._live.update(self._running(), refresh=True)

    def _print(self, what: str, job: Job) -> None:
        ended = sum(job.state not in ("waiting", "running") for job in self.jobs)
        line = Text(f"[{ended}/{len(self.jobs)}] ")
        line.append(f"{what:<11} ", STYLES.get(job.state, ""))
        line.append(f"{job.name:<{self._width}}")
        if job.state == "completed":
            line.append(f"  {accuracies(job)}" + ("" if job.earlier else f", {clock(job.seconds)}"))
            left = time_left(self.jobs, self.at_once)
            line.append("" if job.earlier or not left else f", {clock(left)} left")
        elif job.state == "failed":
            line.append(f"  {job.reason}")
        if job.state in ("running", "completed") and (job.state == "running" or job.earlier):
            line.append(f"  {job.directory}", "dim")
        self._console.print(line)

    def _running(self) -> Table | str:
        """What runs now, how far it is, and when all will be done."""
        count = {state: sum(job.state == state for job in self.jobs) for state in ("waiting", "running", *STYLES)}
        left = time_left(self.jobs, self.at_once)
        title = ", ".join(f"{number} {state}" for state, number in count.items() if number)
        title += f"; {'-' if left is None else clock(left)} left"
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
                    clock(time.monotonic() - job.started),
                )
        return table


def accuracies(job: Job) -> str:
    """The accuracies of a run that is done."""
    figures = {name: job.record.get(f"{name}_accuracy") for name in ("test", "val")}
    return ", ".join(f"{name} {figure:.2%}" for name, figure in figures.items() if figure is not None)


def time_left(jobs: Sequence[Job], at_once: int) -> float | None:
    """Seconds until all have ended, if those that wait take as long as the others; None while nothing is known of them.

    Args:
        jobs: of the sweep.
        at_once: how many run at the same time.
    """
    known = [seconds for job in jobs if (seconds := job.expected_seconds()) is not None]
    if not known:
        return None
    mean, now = sum(known) / len(known), time.monotonic()
    left = [mean for job in jobs if job.state == "waiting"]
    for job in jobs:
        if job.state == "running" and job.started is not None:
            left.append(max(0.0, (job.expected_seconds() or mean) - (now - job.started)))
    return max([sum(left) / at_once, *left])


def clock(seconds: float) -> str:
    """A duration as 1:02:03."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def print_outcome(jobs: Sequence[Job], directory: Path) -> None:
    """Prints the closing table of a sweep: every job with its accuracies.

    Args:
        jobs: all of the sweep.
        directory: of the sweep; it does not exist where all was done before.
    """
    title = str(directory) if directory.is_dir() else "all was done before"
    table = Table(title=title, title_justify="left", min_width=60)
    for name in ("job", "status", "test", "val"):
        table.add_column(name, justify="right" if name in ("test", "val") else "left", overflow="fold")
    for job in jobs:
        figures = [job.record.get(f"{name}_accuracy") if job.state == "completed" else None for name in ("test", "val")]
        cells = ["-" if figure is None else f"{figure:.2%}" for figure in figures]
        state = f"{job.state} before" if job.earlier else job.state
        table.add_row(job.name, Text(state, STYLES.get(job.state, "")), *cells)
    Console(soft_wrap=True, highlight=False).print(table)


def failures(jobs: Sequence[Job]) -> str:
    """What was not completed, and why: a line for each job."""
    bad = [job for job in jobs if job.state != "completed"]
    lines = [f"  {job.name}: {job.reason or job.state}{_place(job.directory)}" for job in bad]
    return "\n".join([f"{len(bad)} of {len(jobs)} jobs were not completed:", *lines])


def _place(directory: Path) -> str:
    """A wrong request leaves no directory."""
    return f" ({directory})" if directory.is_dir() else ""
