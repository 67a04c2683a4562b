"""Print tables and hints on the terminal."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from cnnlab.display import SafeConsole
from cnnlab.errors import printable
from cnnlab.files import from_here
from cnnlab.runs.jobs import Job

# Of the states of a job.
STYLES = {"completed": "green", "failed": "bold red", "diverged": "bold red", "interrupted": "yellow"}


def terminal_width() -> int | None:
    """Return the number of columns of the terminal, or None if stdout is not a terminal."""
    return Console().width if sys.stdout.isatty() else None


def suggest_next(command: str) -> None:
    """Suggest the next command line, such as `cnnlab compare runs=runs/sweep`, on stderr if that is a terminal."""
    if sys.stderr.isatty():
        print(f"Next: {printable(command)}", file=sys.stderr)


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
