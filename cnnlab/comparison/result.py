"""The result of an experiment as a page: what was asked, what was run, what came out, and what is missing."""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from cnnlab.comparison.experiment_files import Head
from cnnlab.comparison.tables import Kind, group_table, pair_table, section_extras, section_title, sentence
from cnnlab.comparison.text import markdown_table, methods, published_lines
from cnnlab.runs.directory import METRICS
from cnnlab.runs.reading import Run

Record = Mapping[str, Any]

# Data that have been told apart by their fingerprint.
KNOWN_DATA = {
    "67abad44efddd13c": "a JPEG copy of CIFAR-10 (all 60,000 images, quality about 75), not the lossless images"
}
SOFTWARE = ("python", "torch", "lightning")
LISTED = 12  # runs that are missing; more are counted
POINTS = 100  # of a curve in the JSON


@dataclass(frozen=True)
class Conduct:
    """How an experiment was run.

    Attributes:
        command: as somebody else would type it.
        asked: how many runs the experiment's file asks for.
        missing: those of them that are not there, each with the reason.
        changed: arguments that make the runs others than the file's.
    """

    command: str
    asked: int
    missing: Sequence[str]
    changed: Sequence[str]


def render_result(head: Head, conduct: Conduct, runs: Sequence[Run], record: Record, figures: Sequence[str]) -> str:
    """The page as Markdown.

    Args:
        head: of the experiment's file.
        conduct: how it was run.
        runs: that were compared.
        record: of `cnnlab.comparison.compare.compare_runs`.
        figures: a file for each section, relative to the page.
    """
    lines = [f"# {head.name}: {head.question or 'no question was written down'}", ""]
    lines += [f"**Answer**: {_answer(head, conduct)}", ""]
    if conduct.missing or conduct.changed:
        lines += [f"**This is a part of the experiment**: {_shortfall(conduct)}", ""]
    for section, figure in zip(record["sections"], figures, strict=True):
        lines += [f"![{head.name}: {section_title(section)}]({figure})", ""]
    lines += [*markdown_table(["", ""], _facts(conduct, runs, record)), ""]
    several = len(record["sections"]) > 1
    for section in record["sections"]:
        lines += [f"## {section_title(section)}" if several else "## What came out", ""]
        lines += _section_lines(record, section)
    if record["notices"]:
        lines += ["## Notes", "", *(f"- {notice}" for notice in record["notices"]), ""]
    if conduct.missing:
        lines += [f"## Runs that are missing: {len(conduct.missing)}", ""]
        lines += [f"- {entry}" for entry in conduct.missing[:LISTED]]
        more = len(conduct.missing) - LISTED
        lines += [*([f"- and {more} more"] if more > 0 else []), ""]
    lines += ["## How the figures are to be read", "", *(f"- **{term}**: {text}" for term, text in methods(record)), ""]
    return "\n".join(lines)


def _section_lines(record: Record, section: Record) -> list[str]:
    lines = []
    if section["pairs"]:
        lines += [f"{sentence(section['pairs'][0])}.", ""]
    lines += [*markdown_table(*group_table(record, section, ["accuracy"])), ""]
    kinds: dict[str, Kind] = {"How long it takes": "reach", "Moved images": "moved", "Feature maps": "maps"}
    for title, kind in kinds.items():
        head, rows = group_table(record, section, [kind])
        if len(head) > 1:
            lines += [f"### {title}", "", *markdown_table(head, rows), ""]
    lines += ["### Costs", "", *markdown_table(*group_table(record, section, ["cost"])), ""]
    for title, table in section_extras(record, section):
        lines += [f"### {title}", "", *markdown_table(*table), ""]
    if section["pairs"]:
        lines += ["### Differences", "", *markdown_table(*pair_table(section)), ""]
    return lines + published_lines(section)


def _answer(head: Head, conduct: Conduct) -> str:
    """The answer of the head, which is written by hand; and whether it was written of other runs."""
    if not head.answered:
        return "not written down yet."
    command = head.command or ""
    if command.startswith("make results") and _arguments(command) != _arguments(conduct.command):
        return f"{head.answer} (**written of other runs**, those of `{command}`)"
    return str(head.answer)


def _arguments(command: str) -> set[str]:
    """What a `make results` command says that decides which runs there are."""
    every = [part for argument in shlex.split(command) for part in argument.removeprefix("ARGS=").split()]
    return {part for part in every if not part.startswith(("hydra.launcher.", "--as-is"))}


def _shortfall(conduct: Conduct) -> str:
    parts = []
    if conduct.missing:
        parts.append(f"{conduct.asked - len(conduct.missing)} of the {conduct.asked} runs that its file asks for")
    if conduct.changed:
        parts.append(f"the file's settings were changed by `{' '.join(conduct.changed)}`")
    return "; ".join(parts) + "."


def _facts(conduct: Conduct, runs: Sequence[Run], record: Record) -> list[list[str]]:
    compared = sum(group["n"] for section in record["sections"] for group in section["groups"])
    summaries = [run.summary for run in runs]
    seconds = sum(summary["train_seconds"] or 0 for summary in summaries)
    seeds = sorted({summary["seed"] for summary in summaries if summary["seed"] is not None})
    numbers = ", ".join(map(str, seeds))
    facts = {
        "command": f"`{conduct.command}`",
        "date": " to ".join(dict.fromkeys([min(dates), max(dates)])) if (dates := [_date(run) for run in runs]) else "",
        "machine": "; ".join(_every(summaries, "device")),
        "precision": ", ".join(_every(summaries, "precision")),
        "software": "; ".join(dict.fromkeys(_software(summary["versions"]) for summary in summaries)),
        "commit": ", ".join(re.sub(r"^(\w{10})\w+", r"\1", commit) for commit in _every(summaries, "git_commit")),
        "data": "; ".join(dict.fromkeys(_data(run) for run in runs)),
        "protocol": ", ".join(_every(summaries, "protocol")),
        "runs": f"{len(runs)}{f', {compared} of them compared' if compared < len(runs) else ''}; seeds {numbers}",
        "training": f"{seconds / 60:,.0f} minutes in all" if seconds >= 120 else f"{seconds:,.0f} s in all",
    }
    return [[name, text] for name, text in facts.items() if text]


def _every(summaries: Sequence[Mapping[str, Any]], key: str) -> list[str]:
    return sorted({str(summary[key]) for summary in summaries if summary[key] is not None})


def _software(versions: Mapping[str, str] | None) -> str:
    return ", ".join(f"{name} {versions[name]}" for name in SOFTWARE if name in versions) if versions else ""


def _data(run: Run) -> str:
    """What the images are, by their fingerprint where that is known, else by where they were."""
    fingerprint = str(run.summary["data_fingerprint"])
    path = run.config["data"].get("path") if run.config else None
    words = KNOWN_DATA.get(fingerprint) or (f"from a folder {Path(path).name}" if path else "")
    return f"{run.summary['data']}{f', {words}' if words else ''} (fingerprint `{fingerprint}`)"


def _date(run: Run) -> str:
    """When it was started, which its directory is named after; else when its record was last written."""
    if match := re.search(r"\d{4}-\d\d-\d\d(?=_\d\d-\d\d-\d\d)", str(run.path)):
        return match[0]
    return f"{datetime.fromtimestamp((run.path / 'summary.json').stat().st_mtime):%Y-%m-%d}"


def result_data(conduct: Conduct, record: Record) -> dict[str, Any]:
    """The figures behind a page, small and without places of this machine, for JSON."""
    return {
        "command": conduct.command,
        "missing": list(conduct.missing),
        **{key: record[key] for key in ("targets", "reach", "against", "axis", "shift", "notices")},
        "sections": [
            {
                **{key: section[key] for key in ("protocol", "data", "fingerprint", "test_images", "reference")},
                "groups": [_small(group) for group in section["groups"]],
                "pairs": [{k: v for k, v in pair.items() if not k.endswith("_images")} for pair in section["pairs"]],
            }
            for section in record["sections"]
        ],
    }


def _small(group: Record) -> dict[str, Any]:
    left_out = ("best_run", "confusion", "curve", "runs")
    kept = {key: value for key, value in group.items() if key not in left_out}
    kept["runs"] = [{key: value for key, value in run.items() if key != "path"} for run in group["runs"]]
    curve = group["curve"]
    every = max(1, -(-len(curve["epoch"]) // POINTS))
    kept["curve"] = {name: _thinned(curve[name], every) for name in ("epoch", "runs", "seconds")}
    kept["curve"] |= {metric: {p: _thinned(v, every) for p, v in curve[metric].items()} for metric in METRICS}
    return kept


def _thinned(values: Sequence[float | None], every: int) -> list[float | None]:
    """Every so manieth value, from the last one on backwards, with five digits."""
    return [None if value is None else float(f"{value:.5g}") for value in values[::-1][::every][::-1]]
