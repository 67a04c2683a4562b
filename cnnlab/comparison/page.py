"""A comparison of runs as one HTML page that needs no network: sortable tables, filters and interactive figures.

The page's own parts are in `templates/`: `comparison.html` (what it says), `comparison.css` (how it looks) and
`comparison.js` (what happens when something is chosen; plotly draws).
"""

import base64
import gzip
import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader
from PIL import Image
from plotly.offline import get_plotlyjs

from cnnlab.comparison.tables import (
    ANSWERS,
    group_table,
    pair_table,
    section_extras,
    section_title,
    sentence,
)
from cnnlab.comparison.text import methods

Record = Mapping[str, Any]
Reader = Callable[[Sequence[int]], np.ndarray]

DETAILED = 60  # groups, the best first, with curves and confusions; of more, the tables alone are in the page
POINTS = 120  # of a curve; longer ones are thinned
SHEET_COLUMNS = 16
NUMBERS = ("mean", "low", "high", "parameters", "macs", "train_seconds")


def render_page(record: Record, readers: Sequence[Reader | None]) -> str:
    """The page.

    Args:
        record: of `cnnlab.comparison.compare.compare_runs`.
        readers: for each section what gives the pixels of test images, uint8 (N, H, W, 3); None where there are none.
    """
    environment = Environment(
        loader=PackageLoader("cnnlab.comparison"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    loader = environment.loader
    assert loader is not None
    style, script = (loader.get_source(environment, f"comparison.{suffix}")[0] for suffix in ("css", "js"))
    sections = [
        {
            "title": section_title(section),
            "groups": _sortable(*group_table(record, section, ANSWERS)),
            "costs": _sortable(*group_table(record, section, ["cost"])),
            "extras": [(title, _sortable(*content)) for title, content in section_extras(record, section)],
            "pairs": _sortable(*pair_table(section)),
            "sentence": sentence(section["pairs"][0]) if section["pairs"] else None,
            "published": [(g["label"], entry) for g in section["groups"] for entry in g["published"]],
            "detailed": DETAILED if len(section["groups"]) > DETAILED else None,
            "several": {
                key: values
                for key in ("model", "recipe", "data")
                if len(values := sorted({group[key] for group in section["groups"]})) > 1
            },
        }
        for section in record["sections"]
    ]
    data = [
        _section_data(section, read) | {"reach": record["reach"]}
        for section, read in zip(record["sections"], readers, strict=True)
    ]
    return environment.get_template("comparison.html").render(
        record=record,
        sections=sections,
        methods=methods(record),
        style=style,
        script=script,
        data=json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"),
        # The library is 4.8 MB; the browser unpacks it.
        plotly=base64.b64encode(gzip.compress(get_plotlyjs().encode(), mtime=0)).decode(),
    )


def _sortable(head: list[str], rows: list[list[str]]) -> dict[str, Any]:
    """A table; columns in which all cells begin with numbers are aligned to the right."""
    numeric = [bool(rows) and all(_is_number(row[place]) for row in rows) for place in range(len(head))]
    return {"head": list(zip(head, numeric, strict=True)), "rows": rows}


def _is_number(text: str) -> bool:
    return text == "-" or text.startswith(("< ", "none of ")) or text.lstrip("+-")[:1].isdigit()


def _section_data(section: Record, read: Reader | None) -> dict[str, Any]:
    """What the script draws from."""
    return {
        "classes": section["classes"],
        "groups": [_group_data(group, place < DETAILED) for place, group in enumerate(section["groups"])],
        "pairs": [pair | {"words": sentence(pair)} for pair in section["pairs"]],
        "reference": section["reference"],
        "sheet": _sheet(section, read) if read else None,
    }


def _group_data(group: Record, detailed: bool) -> dict[str, Any]:
    named = ("label", "model", "recipe", "data", "n", "interval", "front", *NUMBERS)
    slim = {key: group[key] for key in named}
    if not detailed:
        return slim | {"per_class": None, "confusion": None, "curve": None}
    curve = group["curve"]
    epochs = len(curve["epoch"])
    kept = sorted({*np.linspace(0, epochs - 1, min(epochs, POINTS)).round().astype(int).tolist()})
    thinned: dict[str, Any] = {name: _rounded(curve[name], kept) for name in ("epoch", "seconds", "runs")}
    for name, spread in curve.items():
        if isinstance(spread, dict):
            thinned[name] = {part: _rounded(values, kept) for part, values in spread.items()}
    return slim | {"per_class": group["per_class"], "confusion": group["confusion"], "curve": thinned}


def _rounded(values: Sequence[float | None], kept: Sequence[int]) -> list[float | None]:
    return [None if (value := values[place]) is None else float(f"{value:.5g}") for place in kept]


def _sheet(section: Record, read: Reader) -> dict[str, Any] | None:
    """All pictures that the page can show, side by side in one JPEG, and the place of each."""
    sides = ("only_a_images", "only_b_images")
    images = sorted({entry["image"] for pair in section["pairs"] for side in sides for entry in pair[side]})
    if not images:
        return None
    pixels = read(images)
    _, height, width, _ = pixels.shape
    rows = -(-len(images) // SHEET_COLUMNS)
    sheet = np.zeros((rows * height, SHEET_COLUMNS * width, 3), dtype=np.uint8)
    for place, picture in enumerate(pixels):
        row, column = divmod(place, SHEET_COLUMNS)
        sheet[row * height : (row + 1) * height, column * width : (column + 1) * width] = picture
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, "JPEG", quality=90, subsampling=0)
    return {
        "url": "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode(),
        "columns": SHEET_COLUMNS,
        "rows": rows,
        "places": {str(image): place for place, image in enumerate(images)},
    }
