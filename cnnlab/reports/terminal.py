"""Print tables, hints and the progress of jobs on the terminal."""

import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.live import Live
from rich.table import Table
from rich.text import Text

from cnnlab.display import SafeConsole, suggest_next
from cnnlab.files import from_here
from cnnlab.runs.jobs import Job

REFRESH = 2.0  # seconds between updates of the table of running jobs
# Of the states of a job.
STYLES = {"completed": "green", "failed": "bold red", "diverged": "bold red", "interrupted": "yellow"}


def suggest_visualize(checkpoint: object, image: object, arguments: Sequence[str]) -> None:
    """Suggest `cnnlab visualize` with an image, its path or `test:N`, and the arguments that are about the data."""
    data = [argument for argument in arguments if argument.lstrip("+").startswith(("data=", "data."))]
    suggest_next(shlex.join(["cnnlab", "visualize", f"checkpoint={checkpoint}", f"image={image}", *data]))


def print_summary(summary: dict[str, Any], path: Path) -> None:
    """Print the table at the end of a run: its summary.json, and its directory."""

    def figure(key: str, spec: str) -> str:
        return "-" if summary[key] is None else format(summary[key], spec)

    selected = "test images" if summary["protocol"] == "article" else "held-out images"
    title = f"{summary['name']}: {summary['status']}"
    table = Table(show_header=False, title=title, title_justify="left", min_width=60)
    table.add_column()
    table.add_column(overflow="fold")  # paths can be copied as a whole
    table.add_row("test accuracy", figure("test_accuracy", ".2%"), style="bold")
    if summary["test_accuracy_tta"] is not None:
        table.add_row("... with test-time augmentation", figure("test_accuracy_tta", ".2%"))
    if summary["test_balanced_accuracy"] is not None:
        f1, largest = figure("test_macro_f1", ".2%"), figure("test_largest_class", ".2%")
        table.add_row("balanced accuracy", f"{figure('test_balanced_accuracy', '.2%')}; macro F1 {f1}")
        table.add_row("always the largest class", f"{largest} accuracy")
    table.add_row("test loss", figure("test_loss", ".4f"))
    table.add_row("val accuracy", f"{figure('val_accuracy', '.2%')}, best epoch {summary['best_epoch']} ({selected})")
    table.add_row("model", f"{summary['model']}, {figure('parameters', ',')} parameters, {figure('macs', ',')} MACs")
    table.add_row("recipe, data", f"{summary['recipe']}, {summary['data']} ({summary['data_fingerprint']})")
    epochs = f"{summary['epochs']} epoch{'' if summary['epochs'] == 1 else 's'}"
    table.add_row("training", f"{epochs}, {figure('steps', ',')} steps, {figure('train_seconds', ',.1f')} s")
    table.add_row("speed", f"{figure('images_per_second', ',.0f')} images/s, {summary['precision']}")
    table.add_row("device", summary["device"])
    table.add_row("run directory", str(from_here(path)))
    SafeConsole(soft_wrap=True).print(table)


class JobTable:
    """Print lines about jobs, and keep a table of the running ones below them if stdout is a terminal."""

    def __init__(self) -> None:
        self._console = SafeConsole()
        self._live = Live(console=self._console, auto_refresh=False, transient=True) if sys.stdout.isatty() else None
        self._refreshed = 0.0

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        if self._live:
            self._live.stop()

    def print(self, line: Text) -> None:
        """Print a line; what is dim at its end is cut off where the terminal ends."""
        width = self._console.width if self._live else None
        if width and line.spans and line.spans[-1].style == "dim":
            line.truncate(width, overflow="ellipsis")
        self._console.print(line, soft_wrap=not width)

    def is_due(self) -> bool:
        """Return whether the table is shown, and was not drawn for some seconds."""
        return self._live is not None and time.monotonic() - self._refreshed > REFRESH

    def show(self, title: str, running: Sequence[Job]) -> None:
        """Draw the table of the running jobs, with figures that are read from their records."""
        if self._live is None:
            return
        self._refreshed = time.monotonic()
        table = Table(title=title, title_justify="left")
        for name in ("running", "epochs", "val accuracy", "elapsed"):
            table.add_column(name, justify="left" if name == "running" else "right")
        for job in running:
            job.read_record()
            epochs, best = job.record.get("epochs"), job.record.get("val_accuracy")
            table.add_row(
                job.name,
                f"{epochs or 0:g}/{'-' if job.epochs is None else f'{job.epochs:g}'}",
                "-" if best is None else f"{best:.2%}",
                format_duration(time.monotonic() - (job.started or time.monotonic())),
            )
        self._live.update(table if running else title, refresh=True)


def job_event(job: Job) -> str:
    """Return what a line about a job says: its state, or how a run has begun."""
    if job.state == "running":
        return "resumed" if job.resumes else "started"
    return f"{job.state} before" if job.earlier else job.state


def format_duration(seconds: float) -> str:
    """Return a duration as 1:02:03, or as 2:03 if it is less than an hour."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
