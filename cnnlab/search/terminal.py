"""Print the trials of a search as they start and end, and a table of the best at the end."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from cnnlab.display import SafeConsole
from cnnlab.reports.terminal import STYLES, JobTable, format_duration, job_event
from cnnlab.runs.jobs import Job
from cnnlab.search.record import describe_trial
from cnnlab.search.score import SCORES
from cnnlab.search.study import SharedStudy

Record = Mapping[str, Any]  # content of tune.json
TRIALS_IN_TABLE = 10


class TrialProgress(JobTable):
    """Print a line for every trial that starts or ends, and keep a table of the running ones below on a terminal.

    Args:
        study: the trials, some of which may have ended before.
        at_once: number of trials that run at the same time.
    """

    def __init__(self, study: SharedStudy, at_once: int):
        super().__init__()
        self._study, self._at_once = study, at_once
        self._jobs: list[Job] = []

    def announce(self, epochs: float | None) -> None:
        """Say how much is trained with several seeds, and that with several figures no trial is stopped early.

        `epochs` is the length of a run, or None if unknown.
        """
        trials, seeds = self._study.options.trials, self._study.seeds
        if len(seeds) > 1:
            length = "" if epochs is None else f" of {epochs:g} epoch{'' if epochs == 1 else 's'}"
            every = ", ".join(map(str, seeds))
            self.print(Text(f"{trials} trials with seeds {every}: up to {trials * len(seeds)} trainings{length}"))
        if len(self._study.scores) > 1:
            self.print(Text("Several objectives: no trial is stopped early"))

    def follow(self, job: Job | None) -> None:
        """Print a trial that has started or ended; None only updates the table if it is due."""
        if job is None and not self.is_due():
            return
        finished, standing = self._study.finished(), self._standing()
        left = (self._study.options.trials - finished) * len(self._study.seeds) / self._at_once
        ended = [other.seconds for other in self._jobs if other.state in ("completed", "pruned", "trained")]
        if job is not None:
            self._jobs += [job] if job not in self._jobs else []
            if job.state != "running" or job.overrides:
                self.print(describe_job(job, self._study, finished, standing))
            if job.state == "trained" and len(ended) == 1:  # the first training tells what the others cost
                seconds = format_duration(job.seconds)
                self.print(
                    Text(f"At {seconds} each, all trainings together take {format_duration(job.seconds * left)}")
                )
        title = f"{finished} of {self._study.options.trials} trials{standing}"
        if ended:
            title += f"; about {format_duration(sum(ended) / len(ended) * left)} left"
        self.show(title, [other for other in self._jobs if other.state == "running"])

    def _standing(self) -> str:
        """Return the best value so far, or the number of trials on the front."""
        leaders, scores = self._study.leaders(), self._study.scores
        if not leaders:
            return ""
        return f", {len(leaders)} on the front" if len(scores) > 1 else f", best {scores[0].text(leaders[0].values[0])}"


def describe_job(job: Job, study: SharedStudy, finished: int, standing: str) -> Text:
    """Return a line about a run that has started or ended; one about its trial if that is complete.

    Args:
        job: the run.
        study: its study.
        finished: number of trials that have ended.
        standing: what to say of the others if this trial is not among the best.
    """
    line = Text(f"[{finished}/{study.options.trials}] ")
    line.append(f"{job_event(job):<11} ", STYLES.get(job.state, "cyan" if job.state == "pruned" else ""))
    if job.state == "completed":
        trial = describe_trial(study.trials()[int(job.name.partition(" ")[0])], study)
        figures = ", ".join(f"{score.short_name} {score.of(trial)}" for score in study.scores)
        line.append(f"{trial['number']:03}  {figures}, {format_duration(trial['seconds'])}")
        leads = trial["number"] in [leader.number for leader in study.leaders()]
        line.append((", on the front" if len(study.scores) > 1 else ", the best so far") if leads else standing)
        return line
    line.append(job.name)
    if job.state == "trained":
        figures = [f"{score.short_name} {score.text(job.record[score.key])}" for score in study.scores]
        line.append(f"  {', '.join(figures)}, {format_duration(job.seconds)}")
    elif job.state == "running":
        line.append(f"  {' '.join(job.overrides)}", "dim")
    elif job.reason:
        line.append(f"  {job.reason}")
    return line


def print_study(record: Record, folder: Path) -> None:
    """Print the best trials or the Pareto front, the number of trials in each state, and the importances."""
    console, scores = SafeConsole(soft_wrap=True), [SCORES[name] for name in record["objective"]]
    several = len(scores) > 1
    completed = [trial for trial in record["trials"] if trial["state"] == "completed"]
    marked = record["front"] or ([record["best"]["number"]] if record["best"] else [])
    table = Table(title=f"{folder}: the Pareto front" if several else str(folder), title_justify="left", min_width=60)
    for name in ("trial", *(score.short_name for score in scores), "time", "values"):
        table.add_column(name, justify="left" if name == "values" else "right", overflow="fold")
    shown = sorted(
        completed, key=lambda trial: trial["values"][scores[0].objective], reverse=not scores[0].lower_is_better
    )
    if several:  # the others only by the configuration as it stands, to see what the search adds
        shown = [trial for trial in shown if trial["number"] in (*marked, record["baseline"])]
    for trial in shown[:TRIALS_IN_TABLE]:
        table.add_row(
            f"{trial['number']:03}",
            *(score.of(trial) for score in scores),
            format_duration(trial["seconds"]),
            "as given: " * (several and trial["number"] == record["baseline"]) + " ".join(trial["arguments"]),
            style="bold" if trial["number"] in marked else "dim" if several else None,
        )
    if completed:
        console.print(table)
    if len(marked) > TRIALS_IN_TABLE:
        console.print(f"... and {len(marked) - TRIALS_IN_TABLE} more on the front: tune.csv")
    console.print(f"{describe_counts(record)}; {format_duration(record['total_seconds'])} in all trials together")
    for score in scores:
        importance = record["importance"][score.objective] if several else record["importance"]
        shares = ", ".join(f"{key} {share:.0%}" for key, share in importance.items())
        if shares:
            console.print(f"importance{f' for {score.name}' if several else ''}: {shares}")


def describe_counts(record: Record) -> str:
    """Return the number of trials in each state, such as `14 completed, 6 pruned`."""
    return ", ".join(f"{number} {state}" for state, number in record["counts"].items()) or "no trials"
