"""Collect what an audit found, and write it as a table in which a user marks images to leave out."""

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cnnlab.auditing.duplicates import Pair
from cnnlab.auditing.labels import Suspect
from cnnlab.auditing.survey import Survey
from cnnlab.data.exclusion import split_sizes

OTHER_LABEL, ACROSS = "with another label", "across splits"
# Kinds of findings, the most serious first, with what they mean.
KINDS = {
    "unreadable": "cannot be read; data.on_error=skip leaves them out",
    f"duplicate {OTHER_LABEL}": "equal pixels, but different labels: at least one label is wrong",
    f"near-duplicate {OTHER_LABEL}": "the same picture, slightly changed, with different labels",
    f"duplicate {ACROSS}": "equal pixels in several splits: a test of such images measures memory",
    f"near-duplicate {ACROSS}": "the same picture, slightly changed, in several splits",
    "suspicious label": "networks that did not learn the image are confident that it shows another class",
    "duplicate": "equal pixels, several times in one split",
    "near-duplicate": "the same picture, slightly changed, several times in one split",
    "one colour": "all pixels have the same value",
    "dark": "nearly black",
    "bright": "nearly white",
    "small": "a side of less than a quarter of the median",
    "long": "one side more than three times the other: a network sees the middle only",
    "grey": "no colours, while hardly any other image is grey",
    "far from its class": "features unlike those of its class",
}
COLUMNS = (*("finding", "kind", "image", "split", "index", "label", "suggested", "score", "detail", "exclude", "data"),)


@dataclass(frozen=True)
class Finding:
    """Hold images that have the same fault together, such as two duplicates, by their positions."""

    kind: str  # a key of KINDS
    images: Sequence[int]
    detail: str
    score: float | None = None  # the larger, the clearer
    suggested: str = ""  # class that a wrongly labelled image probably belongs to
    marked: Sequence[int] = field(default=())  # of the images, those that are marked to be left out


def about_duplicates(found: Survey, groups: Sequence[np.ndarray], pairs: Sequence[Pair]) -> list[Finding]:
    """Return findings for groups of images with equal pixels, and for pairs of near-duplicates.

    Of equal images, all but one are marked, in training alone: if one is in the test split, no copy stays in training.
    Equal images with different labels are marked only then, because nothing tells which label is right.
    """
    splits, findings = found.splits, []
    for group in groups:
        kind = _kind("duplicate", found, splits, group)
        tested = splits[group] == "test"
        kept_last = kind.endswith(ACROSS)  # a copy in `val` stays, so that no training image is among those that judge
        copies = group[~tested] if tested.any() else group[:-1] if kept_last else group[1:]
        if kind.endswith(OTHER_LABEL) and not tested.any():
            copies = []
        findings.append(Finding(kind, group.tolist(), f"{len(group)} equal images", 1.0, marked=list(map(int, copies))))
    for pair in pairs:
        images = np.array([pair.first, pair.second])
        detail = f"details correlate by {pair.score:.2f}"
        findings.append(Finding(_kind("near-duplicate", found, splits, images), images.tolist(), detail, pair.score))
    return findings


def _kind(name: str, found: Survey, splits: np.ndarray, images: np.ndarray) -> str:
    if len(set(found.labels[images])) > 1:
        return f"{name} {OTHER_LABEL}"
    return f"{name} {ACROSS}" if len(set(splits[images])) > 1 else name


def about_single_images(
    found: Survey, suspects: Sequence[Suspect], outliers: Mapping[str, Mapping[int, str]], far: Mapping[int, float]
) -> list[Finding]:
    """Return findings about labels and unusual images. Training images of one colour are marked."""
    classes, splits = found.data.classes, found.splits
    findings = []
    for suspect in suspects:
        detail = f"{classes[suspect.suggested]} is more probable by {suspect.score:.0%}"
        findings.append(
            Finding("suspicious label", [suspect.position], detail, suspect.score, classes[suspect.suggested])
        )
    for kind, images in outliers.items():
        for position, detail in images.items():
            empty = kind == "one colour" and splits[position] != "test"
            findings.append(Finding(kind, [position], detail, marked=[position] if empty else []))
    for position, distance in far.items():
        detail = f"cosine distance {distance:.2f} from the mean of its class"
        findings.append(Finding("far from its class", [position], detail, distance))
    return findings


def counts(found: Survey, findings: Sequence[Finding]) -> dict[str, dict[str, int]]:
    """Return the number of findings and of different images of each kind that occurs, the most serious first."""
    numbers = Counter(finding.kind for finding in findings) + Counter(unreadable=len(found.unreadable))
    images = {kind: {p for f in findings if f.kind == kind for p in f.images} for kind in numbers}
    images["unreadable"] = set(range(len(found.unreadable)))
    return {kind: {"findings": numbers[kind], "images": len(images[kind])} for kind in KINDS if numbers[kind]}


def as_table(found: Survey, findings: Sequence[Finding], digest: str) -> str:
    """Return the findings as CSV, with a row for each image of each finding; see `cnnlab.data.exclusion`."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    classes, splits, index = found.data.classes, found.splits, found.index
    for number, (split, name, label, why) in enumerate(found.unreadable, start=1):
        writer.writerow((number, "unreadable", name, split, "", classes[label], "", "", why, "", digest))
    order = list(KINDS)
    ranked = sorted(findings, key=lambda finding: order.index(finding.kind))
    for number, finding in enumerate(ranked, start=len(found.unreadable) + 1):
        score = "" if finding.score is None else f"{finding.score:.3f}"
        for position in finding.images:
            place = (found.names[position], splits[position], index[position], classes[found.labels[position]])
            mark = "x" if position in finding.marked else ""
            writer.writerow((number, finding.kind, *place, finding.suggested, score, finding.detail, mark, digest))
    return stream.getvalue()


def class_statistics(found: Survey) -> list[dict[str, Any]]:
    """Return counts, sizes, forms and brightness of each class."""
    numbers, splits = found.numbers, found.splits
    rows = []
    for number, name in enumerate(found.data.classes):
        own = found.labels == number
        row: dict[str, Any] = {"class": name}
        row |= {split: int((own & (splits == split)).sum()) for split in split_sizes(found.data)}
        row["unreadable"] = sum(label == number for _, _, label, _ in found.unreadable)
        if own.any():
            row |= {key: _spread(numbers[key][own]) for key in ("width", "height", "brightness", "contrast")}
            row["aspect"] = _spread(numbers["width"][own] / numbers["height"][own])
            row["grey"] = float((numbers["colour"][own] < 2).mean())
            row["forms"] = dict(Counter(found.forms[own].tolist()).most_common())
        rows.append(row)
    return rows


def _spread(values: np.ndarray) -> dict[str, float]:
    """Return the smallest, middle and largest value."""
    return {
        "least": float(values.min()),
        "median": float(np.median(values)),
        "most": float(values.max()),
    }
