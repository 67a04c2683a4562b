"""Let the training doctor look at one half of the corpus, and print a table of what it finds, as Markdown.

    python experiments/doctor/score.py FOLDER --half building
    python experiments/doctor/score.py FOLDER --half test

FOLDER is the one of `corpus.py`. Where a fault is a question of degree, such as a rate that is a little too low, a run
counts only if it is worse than its healthy twin: if its test accuracy (with imbalanced classes, the balanced one) is
lower by 2 points and by two standard errors, or it diverged. A run without its twin does not count. This was fixed
before the first run. A rate that is too high counts as `rate_diverges` if the run ended without a finite loss or within
2 points of chance, and else as `rate_oscillates`, whichever was planned. What was found is kept in FOLDER, so that it
can be printed again.
"""

import argparse
import json
import math
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[2]))  # if cnnlab is not installed
sys.path.append(str(Path(__file__).resolve().parent))  # own_code, as a user's own module

from cells import fraction

from cnnlab.doctor.diagnosis import diagnose
from cnnlab.doctor.facts import Facts
from cnnlab.runs.directory import RunDirectory
from cnnlab.runs.reading import read_run

TAGS = "corpus.json"
LEAST = 0.02  # accuracy that a fault must cost
TOO_HIGH = ("rate_oscillates", "rate_diverges")  # the second one where the run is at chance
AMONG = 3  # findings that may hold the fault


@dataclass(frozen=True)
class Scored:
    """What the doctor found in a run."""

    name: str
    fault: str | None
    found: Sequence[str]  # most likely first
    evidence: Sequence[str]
    seconds: float


def runs_of(folder: Path, half: str) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the tags of the runs of a half that count, and the names of those that do not."""
    tags = [json.loads(file.read_text()) for file in sorted(folder.glob(f"runs/*/{TAGS}"))]
    results = {tag["name"]: read_run(folder / "runs" / tag["name"]).summary for tag in tags}
    chosen = [tag for tag in tags if tag["half"] == half]
    for tag in chosen:
        if tag["fault"] in TOO_HIGH:
            tag["fault"] = TOO_HIGH[_is_at_chance(results[tag["name"]])]
    left_out = [tag["name"] for tag in chosen if tag["must_harm"] and not _harms(tag, results)]
    return [tag for tag in chosen if tag["name"] not in left_out], left_out


def _is_at_chance(summary: Mapping[str, Any]) -> bool:
    accuracy = summary["test_accuracy"]
    return summary["status"] == "diverged" or accuracy < summary["test_largest_class"] + LEAST


def _harms(tag: dict[str, Any], results: dict[str, Any]) -> bool:
    own, twin = results[tag["name"]], results.get(tag["twin"])
    if twin is None:
        return False
    if own["status"] == "diverged":
        return True
    key = "test_balanced_accuracy" if tag["fault"] == "largest_class" else "test_accuracy"
    if own[key] is None or twin[key] is None:
        return False
    variance = sum(one[key] * (1 - one[key]) / one["images"]["test"] for one in (own, twin))
    return twin[key] - own[key] > max(LEAST, 2 * math.sqrt(variance))


def look_at(path: Path, tag: dict[str, Any]) -> Scored:
    """Let the doctor look at a run."""
    started = time.monotonic()
    found = diagnose(Facts(read_run(path), RunDirectory(path).read_config()))
    evidence = [f"{one.confidence:.2f} {one.evidence}" for one in found.findings]
    evidence += [f"not measured: {reason}" for reason in found.not_measured]
    faults = [one.fault for one in found.findings]
    return Scored(tag["name"], tag["fault"], faults, evidence, round(time.monotonic() - started, 1))


def table(scored: Sequence[Scored]) -> str:
    """Return a table as Markdown: per fault, how often it was found first and among the first three."""
    faulty, healthy = ([one for one in scored if bool(one.fault) == wanted] for wanted in (True, False))
    rows = ["| fault | runs | found first | among three | otherwise first |", "| --- | ---: | ---: | ---: | --- |"]
    for fault in sorted({one.fault for one in faulty if one.fault}):
        rows.append(_row(f"`{fault}`", [one for one in faulty if one.fault == fault]))
    rows.append(_row("**all faults**", faulty, others=False))
    alarmed = [one for one in healthy if one.found]
    wrong = Counter(one.found[0] for one in alarmed)
    share = f" ({len(alarmed) / len(healthy):.1%})" if healthy else ""
    named = ", ".join(f"`{fault}` {count}" for fault, count in wrong.most_common())
    return "\n".join(
        [*rows, "", f"False alarms: {len(alarmed)} of {len(healthy)} healthy runs{share}{': ' * bool(named)}{named}."]
    )


def _row(name: str, runs: Sequence[Scored], others: bool = True) -> str:
    first = sum(one.found[:1] == [one.fault] for one in runs)
    among = sum(one.fault in one.found[:AMONG] for one in runs)
    missed = Counter(one.found[0] if one.found else "nothing" for one in runs if one.found[:1] != [one.fault])
    named = ", ".join(f"`{fault}` {count}" for fault, count in missed.most_common()) if others else ""
    shares = [f"{count} ({count / len(runs):.0%})" if runs else "-" for count in (first, among)]
    return f"| {name} | {len(runs)} | {shares[0]} | {shares[1]} | {named} |"


def main() -> None:
    """Score a half."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--half", choices=("building", "test"), required=True)
    parser.add_argument("--only", nargs="+", help="faults, or `healthy`")
    parser.add_argument("--part", type=int, default=1, help="which of the parts, from 1")
    parser.add_argument("--parts", type=int, default=1, help="number of parts, for as many processes")
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin no run after this time")
    parser.add_argument("--output", type=Path, help="where it is kept instead")
    parser.add_argument("--again", action="store_true", help="look at all runs again, with other rules perhaps")
    arguments = parser.parse_args()
    folder = arguments.folder.absolute()
    tags, left_out = runs_of(folder, arguments.half)
    tags.sort(key=lambda tag: fraction(tag["name"]))  # so that the first ones are a sample of all
    tags = tags[arguments.part - 1 :: arguments.parts]
    if arguments.only:
        tags = [tag for tag in tags if (tag["fault"] or "healthy") in arguments.only]
    file = arguments.output or folder / f"{arguments.half}.json"
    known = {} if arguments.again or not file.exists() else {one["name"]: one for one in json.loads(file.read_text())}
    end = time.monotonic() + 60 * arguments.minutes
    for number, tag in enumerate(tags, start=1):
        if tag["name"] not in known and time.monotonic() < end:
            known[tag["name"]] = asdict(look_at(folder / "runs" / tag["name"], tag))
            file.write_text(json.dumps(list(known.values()), indent=1))
            one = known[tag["name"]]
            print(f"{number}/{len(tags)} {tag['name']}: {one['found']} {one['seconds']} s", file=sys.stderr, flush=True)
    print(table([Scored(**known[tag["name"]] | {"fault": tag["fault"]}) for tag in tags if tag["name"] in known]))
    print(f"\nNot counted, because the fault cost no accuracy or its twin is missing: {len(left_out)} runs.")
    if missing := sum(tag["name"] not in known for tag in tags):
        print(f"Not looked at: {missing} runs.")


if __name__ == "__main__":
    main()
