"""Write the report of a comparison: tables, numbers, and the page."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from cnnlab.comparison.page import Reader, render_page
from cnnlab.comparison.records import ComparisonRecord
from cnnlab.comparison.text import render_csv, render_markdown
from cnnlab.files import write_atomically
from cnnlab.runs.plain import to_json

OLD_FIGURES = ("curves", "cost", "differences", "training_images", "classes", "confusion", "images")


def write_report(record: ComparisonRecord, readers: Sequence[Reader | None], folder: Path) -> Path:
    """Write `comparison.json`, `.csv`, `.md` and `.html`; figures of a report by an earlier version are removed.

    `readers` has an entry for each section, None if its images are not to be found. Returns the path of the page.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in (file for name in OLD_FIGURES for file in folder.glob(f"comparison_*{name}.png")):
        old.unlink()
    write_atomically(folder / "comparison.json", to_json(asdict(record), indent=None, default=str) + "\n")
    write_atomically(folder / "comparison.csv", render_csv(record))
    write_atomically(folder / "comparison.md", render_markdown(record))
    write_atomically(folder / "comparison.html", render_page(record, readers))
    return folder / "comparison.html"
