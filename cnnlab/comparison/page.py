"""Render a comparison as one HTML page that needs no network: sortable tables, filters and interactive figures.

`templates/` holds the page's parts: `comparison.html` (the text), `comparison.css` (the looks), `figures.js` (the
figures, drawn by plotly) and `comparison.js` (tables, downloads, and reactions to filters and choices).
"""

import base64
import gzip
import io
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from plotly.offline import get_plotlyjs

from cnnlab.comparison.columns import COSTS, counted
from cnnlab.comparison.conclusion import conclude
from cnnlab.comparison.records import ComparisonRecord, GroupRecord, SectionRecord
from cnnlab.comparison.tables import (
    METRIC_WORDS,
    RESULT_TABLES,
    Table,
    explanations,
    group_table,
    names_table,
    pair_sentences,
    pair_table,
    problems_table,
    section_extras,
    sentence,
    set_aside_table,
)
from cnnlab.comparison.text import FORMATS
from cnnlab.style import templates

Reader = Callable[[Sequence[int]], np.ndarray]  # returns the pixels of test images, uint8 (N, H, W, 3)

GROUPS_WITH_CURVES = 60  # the best groups; others have no curves and confusions in the page, only their rows
CURVE_POINTS = 120  # longer curves are thinned
SHEET_COLUMNS = 16
FILTERS = ("model", "recipe", "data")
SCRIPT_KEYS = ("label", *FILTERS, "n", "interval", "front", "mean", "low", "high", *COSTS)


def render_page(record: ComparisonRecord, readers: Sequence[Reader | None]) -> str:
    """Return the page; see `report.write_report`."""
    template = templates(Path(__file__).parent / "templates").get_template("comparison.html")
    return template.render(
        record=record,
        sections=[_section(record, section) for section in record.sections],
        others=counted(sum(section.runs for section in record.sections[1:]), "run"),
        set_aside=_cells(set_aside_table(record)),
        problems=_cells(problems_table(record)),
        costs=COSTS,
        metrics=METRIC_WORDS,
        explanations=explanations(record),
        downloads=FORMATS,
        texts=_json({form: render(record) for form, render in FORMATS.items()}),
        data=_json([_section_data(record, *each) for each in zip(record.sections, readers, strict=True)]),
        # The library is 4.8 MB; the browser unpacks it.
        plotly=base64.b64encode(gzip.compress(get_plotlyjs().encode(), mtime=0)).decode(),
    )


def _section(record: ComparisonRecord, section: SectionRecord) -> dict[str, Any]:
    """Return what the template shows of a section."""
    return {
        "title": section.title,
        "small_print": section.small_print,
        "runs": section.runs,
        "conclusion": conclude(section),
        "groups": _cells(group_table(record, section, RESULT_TABLES)),
        "names": _cells(names_table(section)),
        "costs": _cells(group_table(record, section, ["cost"])),
        "extras": [(title, _cells(table)) for title, table in section_extras(record, section)],
        "pairs": _cells(pair_table(record, section)),
        "sentences": pair_sentences(section.pairs[0], record.plan) if section.pairs else [],
        "by_images": [curve.sentence for curve in section.by_images],
        "classified": any(group.per_class for group in section.groups),
        "published": [(group.label, entry) for group in section.groups for entry in group.published],
        "detailed": GROUPS_WITH_CURVES if len(section.groups) > GROUPS_WITH_CURVES else None,
        "filters": {key: sorted({getattr(group, key) for group in section.groups}) for key in FILTERS},
    }


def _json(data: Any) -> str:
    """Return JSON that cannot end the script that it stands in."""
    return json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _cells(table: Table) -> dict[str, Any]:
    """Return a table for the template; columns of numbers are aligned to the right and sorted by their numbers."""
    keys = table.sort_keys or [[None] * len(table.head) for _ in table.rows]
    numeric = [any(isinstance(row[place], int | float) for row in keys) for place in range(len(table.head))]
    rows = [list(zip(texts, map(_sort_text, row), strict=True)) for texts, row in zip(table.rows, keys, strict=True)]
    why = table.explanations or [""] * len(table.head)
    return {"head": list(zip(table.head, numeric, why, strict=True)), "rows": rows}


def _sort_text(key: Any) -> str:
    return "Infinity" if key == math.inf else str(key) if isinstance(key, int | float) else ""


def _section_data(record: ComparisonRecord, section: SectionRecord, read: Reader | None) -> dict[str, Any]:
    """Return what the script draws."""
    return {
        "title": section.title,
        "figure": section.figure_words,
        "by_images": [asdict(curve) for curve in section.by_images],
        "classes": section.classes,
        "groups": [_group_data(group, place < GROUPS_WITH_CURVES) for place, group in enumerate(section.groups)],
        "pairs": [asdict(pair) | {"words": sentence(pair)} for pair in section.pairs],
        "reference": section.reference,
        "sheet": _sheet(section, read) if read else None,
        "reach": record.reach,
    }


def _group_data(group: GroupRecord, detailed: bool) -> dict[str, Any]:
    return {
        **{key: getattr(group, key) for key in SCRIPT_KEYS},
        "settings": _tip(group),
        "per_class": group.per_class if detailed else None,
        "confusion": group.confusion if detailed else None,
        "curve": group.thinned_curve(CURVE_POINTS) if detailed else None,
    }


def _tip(group: GroupRecord) -> str:
    """Return what stands behind a group's name."""
    seeds = ", ".join(map(str, dict.fromkeys(group.seeds)))
    parts = [f"model {group.model}, recipe {group.recipe}, data {group.data}", group.settings_text, f"seeds {seeds}"]
    return "; ".join(part for part in parts if part)


def _sheet(section: SectionRecord, read: Reader) -> dict[str, Any] | None:
    """Return all pictures that the page can show, side by side in one JPEG, and the place of each."""
    images = sorted({entry["image"] for pair in section.pairs for entry in pair.only_a_images + pair.only_b_images})
    if not images:
        return None
    pixels = read(images)
    _, height, width, _ = pixels.shape
    rows = -(-len(images) // SHEET_COLUMNS)
    sheet = Image.new("RGB", (SHEET_COLUMNS * width, rows * height))
    for place, picture in enumerate(pixels):
        row, column = divmod(place, SHEET_COLUMNS)
        sheet.paste(Image.fromarray(picture), (column * width, row * height))
    buffer = io.BytesIO()
    sheet.save(buffer, "JPEG", quality=90, subsampling=0)
    return {
        "url": "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode(),
        "columns": SHEET_COLUMNS,
        "rows": rows,
        "places": {str(image): place for place, image in enumerate(images)},
    }
