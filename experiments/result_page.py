"""Write the result of an experiment as a page: question, answer, runs, tables, and what is missing."""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from experiment_files import Header

from cnnlab.comparison.columns import TableName
from cnnlab.comparison.conclusion import conclude
from cnnlab.comparison.group import first_few
from cnnlab.comparison.records import ComparisonRecord, GroupRecord, PairRecord, SectionRecord
from cnnlab.comparison.tables import Table, group_table, sentence
from cnnlab.comparison.text import explanation_lines, markdown_table, section_lines, titled_table
from cnnlab.runs.reading import Run

# Data that are known by their fingerprint.
KNOWN_DATA = {
    "67abad44efddd13c": "a JPEG copy of CIFAR-10 (all 60,000 images, quality about 75), not the lossless images"
}
SOFTWARE = ("python", "torch", "lightning")
TITLES: dict[str, TableName] = {"Time to reach a value": "reach", "Moved images": "moved", "Feature maps": "maps"}
LISTED_RUNS = 12  # that are missing; more are counted
CURVE_POINTS = 100  # in the JSON
RUN_KEYS = ("seed", "test_accuracy", "val_accuracy", "best_epoch", "parameters", "macs", "train_seconds")


@dataclass(frozen=True)
class Execution:
    """How an experiment was run."""

    command: str  # as anyone can type it
    planned: int  # number of runs that the experiment's file asks for
    missing: Sequence[str]  # planned runs that are not complete, each with the reason
    changed: Sequence[str]  # arguments that change the file's settings


def render_result(
    header: Header, execution: Execution, runs: Sequence[Run], record: ComparisonRecord, figures: Sequence[str]
) -> str:
    """Return the page as Markdown; `figures` has a file for each section, relative to the page."""
    lines = [f"# {header.name}: {header.question or 'no question was written down'}", ""]
    lines += [f"**Answer**: {_answer(header, execution)}", ""]
    if execution.missing or execution.changed:
        lines += [f"**This is a part of the experiment**: {_shortfall(execution)}", ""]
    for section, figure in zip(record.sections, figures, strict=True):
        lines += [f"![{header.name}: {section.title}]({figure})", ""]
    lines += [*markdown_table(Table(["", ""], _facts(execution, runs, record))), ""]
    for section in record.sections:
        lines += [f"## {section.title}" if len(record.sections) > 1 else "## Results", ""]
        lines += _section_lines(record, section)
    if record.notices:
        lines += ["## Notes", "", *(f"- {notice}" for notice in record.notices), ""]
    if execution.missing:
        missing = first_few(execution.missing, LISTED_RUNS)
        lines += [f"## Missing runs: {len(execution.missing)}", "", *(f"- {entry}" for entry in missing), ""]
    return "\n".join([*lines, *explanation_lines(record)])


def _section_lines(record: ComparisonRecord, section: SectionRecord) -> list[str]:
    lines = [f"{sentence(section.pairs[0])}.", ""] if section.pairs else []
    lines += [*markdown_table(group_table(record, section, ["accuracy"])), ""]
    for title, name in TITLES.items():
        table = group_table(record, section, [name])
        if len(table.head) > 1:
            lines += titled_table(f"### {title}", table)
    return lines + section_lines(record, section)


def _answer(header: Header, execution: Execution) -> str:
    """Return the answer of the header, which is written by hand, and whether other runs gave it."""
    if not header.is_answered:
        return "not written down yet."
    if not _is_of_these_runs(header, execution.command):
        return f"{header.answer} (**from other runs**, those of `{header.command}`)"
    return str(header.answer)


def message(header: Header, command: str, section: SectionRecord) -> str:
    """Return what a figure shows: the first sentence of the answer, or what the figures say if these runs have none."""
    if header.answer and header.is_answered and _is_of_these_runs(header, command):
        return re.split(r"(?<=[.?!])\s+(?=[A-Z])", header.answer)[0]
    return conclude(section)


def _is_of_these_runs(header: Header, command: str) -> bool:
    """Return whether the answer of the header is that of the runs of this command."""
    theirs = header.command or ""
    return not theirs.startswith("make results") or _arguments(theirs) == _arguments(command)


def _arguments(command: str) -> set[str]:
    """Return those arguments of a `make results` command that decide which runs there are."""
    every = [part for argument in shlex.split(command) for part in argument.removeprefix("ARGS=").split()]
    return {part for part in every if not part.startswith(("hydra.launcher.", "--as-is"))}


def _shortfall(execution: Execution) -> str:
    parts = []
    if execution.missing:
        complete = execution.planned - len(execution.missing)
        parts.append(f"{complete} of the {execution.planned} planned runs are complete")
    if execution.changed:
        parts.append(f"the file's settings were changed by `{' '.join(execution.changed)}`")
    return "; ".join(parts) + "."


def _facts(execution: Execution, runs: Sequence[Run], record: ComparisonRecord) -> list[list[str]]:
    compared = sum(group.n for group in record.groups)
    summaries = [run.summary for run in runs]
    seconds = sum(summary["train_seconds"] or 0 for summary in summaries)
    seeds = sorted({summary["seed"] for summary in summaries if summary["seed"] is not None})
    dates = sorted(_date(run) for run in runs)
    facts = {
        "command": f"`{execution.command}`",
        "date": " to ".join(dict.fromkeys([*dates[:1], *dates[-1:]])),
        "machine": "; ".join(_every(summaries, "device")),
        "precision": ", ".join(_every(summaries, "precision")),
        "software": "; ".join(dict.fromkeys(_software(summary["versions"]) for summary in summaries)),
        "commit": ", ".join(re.sub(r"^(\w{10})\w+", r"\1", commit) for commit in _every(summaries, "git_commit")),
        "data": "; ".join(dict.fromkeys(_data(run) for run in runs)),
        "protocol": ", ".join(_every(summaries, "protocol")),
        "runs": f"{len(runs)}{f', {compared} of them compared' if compared < len(runs) else ''}; "
        f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}",
        "training": f"{seconds / 60:,.0f} minutes in total" if seconds >= 120 else f"{seconds:,.0f} s in total",
    }
    return [[name, text] for name, text in facts.items() if text]


def _every(summaries: Sequence[Mapping[str, Any]], key: str) -> list[str]:
    return sorted({str(summary[key]) for summary in summaries if summary[key] is not None})


def _software(versions: Mapping[str, str] | None) -> str:
    return ", ".join(f"{name} {versions[name]}" for name in SOFTWARE if name in versions) if versions else ""


def _data(run: Run) -> str:
    """Return what the images are, by their fingerprint if that is known, else by where they were."""
    fingerprint = str(run.summary["data_fingerprint"])
    path = run.config["data"].get("path") if run.config else None
    words = KNOWN_DATA.get(fingerprint) or (f"from a folder {Path(path).name}" if path else "")
    return f"{run.summary['data']}{f', {words}' if words else ''} (fingerprint `{fingerprint}`)"


def _date(run: Run) -> str:
    """Return when a run was started, by its directory's name, or else when its record was last written."""
    if match := re.search(r"\d{4}-\d\d-\d\d(?=_\d\d-\d\d-\d\d)", str(run.path)):
        return match[0]
    return f"{datetime.fromtimestamp((run.path / 'summary.json').stat().st_mtime):%Y-%m-%d}"


def result_data(execution: Execution, record: ComparisonRecord) -> dict[str, Any]:
    """Return the figures of a page for JSON, small and without paths of this machine."""
    kept = {key: getattr(record, key) for key in ("targets", "reach", "against", "axis", "shift", "notices")}
    sections = [asdict(section) for section in record.sections]
    for section, its in zip(record.sections, sections, strict=True):
        its["groups"] = [_small(group) for group in section.groups]
        its["pairs"] = [{k: v for k, v in pair.items() if not k.endswith("_images")} for pair in its["pairs"]]
    return {"command": execution.command, "missing": list(execution.missing), **kept, "sections": sections}


def read_result(file: Path) -> tuple[str, ComparisonRecord]:
    """Return the command and figures of a published page, as `result_data` wrote them; older ones lack some."""
    data = json.loads(file.read_text())

    def made(kind: Any, values: Mapping[str, Any], **missing: Any) -> Any:
        return kind(**{field.name: values.get(field.name, missing.get(field.name)) for field in fields(kind)})

    sections = []
    for its in data["sections"]:
        figure = its.get("figure", "test_accuracy")
        groups = [made(GroupRecord, group, figure=figure) for group in its["groups"]]
        pairs = [made(PairRecord, pair, significant=[]) for pair in its["pairs"]]
        section = made(SectionRecord, its, figure=figure, folds=0, classes=[])
        sections.append(replace(section, groups=groups, pairs=pairs, by_images=[]))
    return data["command"], replace(made(ComparisonRecord, data), sections=sections)


def _small(group: GroupRecord) -> dict[str, Any]:
    kept = {key: value for key, value in asdict(group).items() if key not in ("best_run", "confusion")}
    runs = [{key: run.get(key) for key in RUN_KEYS} for run in group.runs]
    return kept | {"runs": runs, "curve": group.thinned_curve(CURVE_POINTS)}
