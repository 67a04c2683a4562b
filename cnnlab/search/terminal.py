"""What a search shows: a line for every trial that starts or ends, and how all came out."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cnnlab.reports.sweep import STYLES, clock
from cnnlab.runs.jobs import Job

Record = Mapping[str, Any]
SHOWN = 10  # trials of the closing table


class SearchProgress:
    """Prints the trials as they come.

    Args:
        trials: that the study shall have.
    """

    def __init__(self, trials: int):
        self._console = Console(soft_wrap=True, highlight=False)
        self._trials = trials

    def show(self, job: Job, over: int, best: float | None) -> None:
        """Prints a trial that has started or ended.

        Args:
            job: its run.
            over: how many trials of the study are over.
            best: val accuracy of the study so far.
        """
        line = Text(f"[{over}/{self._trials}] ")
        what = ("goes on" if job.resumes else "started") if job.state == "running" else job.state
        line.append(f"{what:<11} ", STYLES.get(job.state, "cyan" if job.state == "pruned" else ""))
        line.append(job.name)
        if job.state == "completed":
            value = job.record["val_accuracy"]
            line.append(f"  val {value:.2%}, {clock(job.seconds)}")
            line.append(", the best so far" if best is None or value >= best else f", best {best:.2%}")
        elif job.state == "running":
            line.append(f"  {' '.join(job.overrides)}", "dim")
        elif job.reason:
            line.append(f"  {job.reason}")
        self._console.print(line)


def print_study(record: Record, folder: Path) -> None:
    """Prints the closing table: the best trials, what became of the others, and how to train the best again.

    Args:
        record: as tune.json holds it.
        folder: of the study.
    """
    console = Console(soft_wrap=True, highlight=False)
    completed = [trial for trial in record["trials"] if trial["state"] == "completed"]
    table = Table(title=str(folder), title_justify="left", min_width=60)
    for name in ("trial", "val", "time", "values"):
        table.add_column(name, justify="left" if name == "values" else "right", overflow="fold")
    for trial in sorted(completed, key=lambda trial: -trial["value"])[:SHOWN]:
        cells = (
            f"{trial['number']:03}",
            f"{trial['value']:.2%}",
            clock(trial["seconds"]),
            " ".join(trial["arguments"]),
        )
        table.add_row(*cells, style="bold" if trial["number"] == record["best"]["number"] else None)
    if completed:
        console.print(table)
    console.print(f"{counted(record)}; {clock(record['total_seconds'])} in trials")
    if record["importance"]:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in record["importance"].items())
        console.print(f"importance: {shares}")
    if record["best"]:
        place, seed = shlex.quote(str(folder)), record["seed"]
        seeds = f'"seeds=[{seed + 1},{seed + 2},{seed + 3}]"'  # which the search has not used
        console.print(f"The best again: python -m cnnlab.train --config-dir {place} experiment=best {seeds}")


def counted(record: Record) -> str:
    """How many trials came out how: `14 completed, 6 pruned`."""
    return ", ".join(f"{number} {state}" for state, number in record["counts"].items()) or "no trials"
