"""Tell what the doctor found: on the terminal, as `doctor.json`, and as a page."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.padding import Padding
from rich.text import Text

from cnnlab.display import SafeConsole, shell_lines, terminal_width
from cnnlab.doctor.diagnosis import Diagnosis
from cnnlab.doctor.facts import Facts
from cnnlab.doctor.findings import FAULTS
from cnnlab.doctor.page import render_page
from cnnlab.files import from_here, write_atomically
from cnnlab.runs.plain import to_json

WORDS = {0.9: "almost certain", 0.7: "likely", 0.5: "possible", 0.0: "a weak sign"}  # from these confidences on
INDENT = 3


def report(diagnosis: Diagnosis, facts: Facts, folder: Path) -> None:
    """Print the findings, and write `doctor.json` and `doctor.html` into a folder."""
    record = record_of(diagnosis, facts)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "doctor.html", render_page(record, facts.curves))
    write_atomically(folder / "doctor.json", to_json(record) + "\n")
    print_report(record)
    print(from_here(folder / "doctor.html"))


def record_of(diagnosis: Diagnosis, facts: Facts) -> dict[str, Any]:
    """Return the content of `doctor.json`."""
    asked = {fault for faults in diagnosis.not_measured.values() for fault in faults}
    asked |= {finding.fault for finding in diagnosis.findings}
    findings = [
        asdict(finding)
        | {"title": sentence(finding.title)[:-1], "certainty": in_words(finding.confidence)}
        | {"evidence": sentence(finding.evidence), "advice": sentence(finding.advice)}
        | {"may_follow_from": [diagnosis.findings.index(cause) + 1 for cause in diagnosis.causes(finding)]}
        for finding in diagnosis.findings
    ]
    return {
        "run": None if facts.rehearsed else str(facts.run.path),
        "name": facts.summary["name"] or facts.summary["model"],
        "about": _about(facts),
        "findings": findings,
        "not_found": {fault: title for fault, title in FAULTS.items() if fault not in asked},
        "not_measured": [
            {"reason": reason, "faults": {fault: FAULTS[fault] for fault in faults}}
            for reason, faults in diagnosis.not_measured.items()
        ],
    }


def in_words(confidence: float) -> str:
    """Return how sure a finding is, in words."""
    return next(words for least, words in WORDS.items() if confidence >= least)


def print_report(record: Mapping[str, Any]) -> None:
    """Print each finding with its evidence, advice and command, and what could not be measured."""
    console, indent = SafeConsole(), " " * INDENT
    console.print(Text(record["about"]))
    for number, finding in enumerate(record["findings"], 1):
        causes = ", ".join(map(str, finding["may_follow_from"]))
        remark = finding["certainty"] + (f"; may follow from {causes}" if causes else "")
        console.print(Text(f"\n{number}. {finding['title']} ({remark})", style="bold"))
        for text in (finding["evidence"], finding["advice"]):
            console.print(Padding(Text(text), (0, 0, 0, INDENT), expand=False))
        command = indent + shell_lines(finding["command"], terminal_width(), indent).lstrip()
        console.print(Text(command, style="cyan"), soft_wrap=True)
    if not record["findings"]:
        console.print(Text("\nNothing found.", style="bold"))
    for missing in record["not_measured"]:
        console.print(Text(f"\nNot measured: {missing['reason']}. So nothing can be said of {_listed(missing)}."))


def _listed(missing: Mapping[str, Any]) -> str:
    titles = [title.partition(":")[0] for title in missing["faults"].values()]
    return f"{len(titles)} of the faults" if len(titles) > 2 else " and ".join(f'"{title}"' for title in titles)


def _about(facts: Facts) -> str:
    """Return a line about the run: network, data, length, and the accuracy that it reached."""
    summary = facts.summary
    parts = [f"{summary['model']} on {summary['data']}", f"recipe {summary['recipe']}" if summary["recipe"] else ""]
    parts.append(f"{facts.epochs} epoch{'' if facts.epochs == 1 else 's'}, {summary['status']}")
    for split in ("val", "test"):
        if (accuracy := summary[f"{split}_accuracy"]) is not None:
            parts.append(f"{split} accuracy {accuracy:.1%}")
    return "; ".join(filter(None, parts)) + "."


def sentence(text: str) -> str:
    """Return a text as a sentence: with a capital letter first and a full stop."""
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."
