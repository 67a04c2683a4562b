"""Write down what runs will show before they exist, and judge it when they do."""

import hashlib
import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cnnlab.comparison.records import ComparisonRecord
from cnnlab.errors import RequestError
from cnnlab.files import write_atomically
from cnnlab.runs.directory import RunDirectory
from cnnlab.runs.plain import read_json

FILE = "claim.json"
FORM = "'A > B by 1 with 5 seeds', where A and B are networks or names of groups"
PATTERN = re.compile(r"(.+?)\s*>\s*(.+?)(?:\s+by\s+(\d+(?:\.\d+)?))?(?:\s+with\s+(\d+)\s+seeds)?")
UNREAD = re.compile(r"\s(by|with)\s+[-+\d]")  # in a name: a number that could not be read
SEEDS = 3  # of each group if the claim does not say

Compare = Callable[[Sequence[Path]], ComparisonRecord]


@dataclass(frozen=True)
class Claim:
    """Hold what was claimed, and when."""

    better: str  # network or name of a group
    other: str
    points: float  # percentage points by which the first one is better
    seeds: int  # number of seeds of each group that decide, those with the lowest numbers
    made: str  # date and time, ISO 8601, UTC
    value: str | None  # figure that is compared; None for what chose the best epochs
    existing: list[str]  # runs that were there already; they do not count
    test: str = "95 % interval of the difference, by a t test over seeds and test images"


def parse(text: str) -> tuple[str, str, float, int]:
    """Return the two names, the percentage points and the number of seeds of a claim.

    Raises:
        RequestError: if the text has another form.
    """
    found = PATTERN.fullmatch(text.strip())
    if not found or found[1] == found[2] or UNREAD.search(found[2]) or int(found[4] or SEEDS) < 2:
        raise RequestError(f"claim: {text!r} has not the form {FORM}, at least 2")
    return found[1], found[2], float(found[3] or 0), int(found[4] or SEEDS)


def make_claim(text: str, folder: Path, runs: Sequence[Path], value: str | None) -> Path:
    """Write a claim into the folder in which its runs will be, and return the file."""
    made = datetime.now(UTC).isoformat(timespec="seconds")
    claim = Claim(*parse(text), made, value, [os.path.relpath(run, folder) for run in runs])
    content = {"claim": text, **asdict(claim)}
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / FILE, json.dumps(content | {"sha256": _digest(content)}, indent=2) + "\n")
    return folder / FILE


def read_claim(text: str, folder: Path, value: str | None) -> Claim:
    """Read the claim of a folder.

    Raises:
        RequestError: if the file was changed, or holds another claim than the text.
    """
    file = folder / FILE
    try:
        content = read_json(file)
        digest = content.pop("sha256")
        if digest != _digest(content):
            raise ValueError("it was changed after it was made")
        said = content.pop("claim")
        claim = Claim(**content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RequestError(f"claim: {file} does not count: {error}") from None
    if parse(said) != parse(text) or claim.value != value:
        raise RequestError(f"claim: {file} holds another claim: {said!r}; claim something new in another folder")
    return claim


def judge(claim: Claim, folder: Path, runs: Sequence[Path], compare: Compare) -> str:
    """Return in a sentence whether a claim held, was refuted, is not shown, or cannot be judged yet."""
    made = datetime.fromisoformat(claim.made).timestamp()
    new = [run for run in runs if os.path.relpath(run, folder) not in claim.existing and _started(run) >= made]
    if not new:
        return "not judged yet: no run has started since."
    groups = [group for section in compare(new).sections[:1] for group in section.groups]
    chosen: list[Path] = []
    for name in (claim.better, claim.other):
        named = [group for group in groups if group.label == name] or [g for g in groups if g.model == name]
        if len(named) > 1:
            return f"not judged: {name} may be {', '.join(group.label for group in named)}."
        if not named or named[0].n < claim.seeds:
            return f"not judged yet: {name} has {named[0].n if named else 0} of {claim.seeds} seeds."
        by_seed = sorted(named[0].runs, key=lambda run: run["seed"] or 0)
        chosen += [Path(run["path"]) for run in by_seed[: claim.seeds]]
    pair = compare(chosen).sections[0].pairs[0]
    if pair.joint is None:
        return "not judged: the runs have no predictions for the same test images."
    models = {group.label: group.model for group in groups}
    sign = 1 if claim.better in (pair.a, models.get(pair.a)) else -1
    low, high = sorted((sign * 100 * pair.joint["low"], sign * 100 * pair.joint["high"]))
    verdict = "held" if low > claim.points else "refuted" if high < claim.points else "not shown"
    interval = f"95 % interval {low:+.2f} to {high:+.2f}, n = {claim.seeds} each"
    found = f"The difference is {sign * 100 * pair.difference:+.2f} percentage points ({interval})"
    return f"{verdict}. {found}; claimed was more than {claim.points:g}."


def _started(run: Path) -> float:
    """Return when a run wrote its configuration, which it does first; a copy may keep an old date."""
    try:
        return RunDirectory(run).config_file.stat().st_mtime
    except OSError:
        return 0.0


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
