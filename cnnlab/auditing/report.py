"""Record and print what an audit found."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table

from cnnlab.auditing.findings import KINDS, Finding, class_statistics, counts
from cnnlab.auditing.shortcuts import Shortcut
from cnnlab.auditing.survey import Survey
from cnnlab.data.exclusion import split_sizes
from cnnlab.data.findings import counted
from cnnlab.display import SafeConsole


def record_of(
    name: str,
    found: Survey,
    findings: Sequence[Finding],
    shortcuts: Sequence[Shortcut],
    judged: Mapping[str, int],
    digest: str,
    command: str,
) -> dict[str, Any]:
    """Return the content of `audit.json`."""
    sizes, remarks = split_sizes(found.data), []
    if not any(judged.values()):
        remarks.append("Labels were not judged: checkpoint=FOLDER of a sweep with folds=5 does that.")
    elif judged["train"] < sizes["train"] + sizes["val"]:
        all_of = f"{sizes['train'] + sizes['val']:,} training images, {judged['test']:,} of {sizes['test']:,}"
        remarks.append(f"Labels were judged of {judged['train']:,} of {all_of} test images; folds=5 covers all.")
    return {
        "data": name,
        "digest": digest,
        "images": sizes,
        "unreadable": [list(entry) for entry in found.unreadable],
        "findings": counts(found, findings),
        "marked": len({position for finding in findings for position in finding.marked}),
        "labels_judged": dict(judged),
        "shortcuts": [asdict(shortcut) for shortcut in shortcuts],
        "classes": class_statistics(found),
        "remarks": remarks,
        "command": command,
    }


def print_report(record: Mapping[str, Any], shortcuts: Sequence[Shortcut]) -> None:
    """Print a table with a line for each kind of finding and each shortcut."""
    total = sum(record["images"].values())
    splits = ", ".join(f"{count:,} {split}" for split, count in record["images"].items() if count)
    title = f"{record['data']}: {total:,} images in {len(record['classes'])} classes ({splits})"
    table = Table(title=title, title_justify="left")
    table.add_column("found")
    table.add_column("images", justify="right")
    table.add_column("means")
    for kind, numbers in record["findings"].items():
        table.add_row(kind, f"{numbers['images']:,}", KINDS[kind])
    for one in shortcuts:
        if one.found:
            about = f"predicts {one.accuracy:.0%} of the classes by itself; chance {one.chance:.0%}, p {one.p:.4f}"
            table.add_row(f"shortcut: {one.property}", "", about)
    console = SafeConsole()
    if table.rows:
        console.print(table)
    else:
        console.print(f"{title}: nothing was found.")
    for remark in record["remarks"]:
        console.print(remark)
    if record["marked"]:
        marked = counted(record["marked"], "images")
        console.print(f"Marked in audit.csv: {marked}. data.exclude=audit.csv trains without what is marked.")
