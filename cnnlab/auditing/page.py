"""Show an audit on a page that needs no other file, with galleries of the images."""

import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from cnnlab.auditing.findings import KINDS, Finding
from cnnlab.auditing.shortcuts import Shortcut
from cnnlab.auditing.survey import Survey
from cnnlab.errors import printable
from cnnlab.style import templates

THUMBNAIL = 64  # pixels a side
READ = 256  # images that are read at a time
SECTIONS = {  # title: kinds of findings
    "Duplicates with different labels": ("duplicate with another label", "near-duplicate with another label"),
    "Duplicates across splits": ("duplicate across splits", "near-duplicate across splits"),
    "Suspicious labels": ("suspicious label",),
    "Duplicates within a split": ("duplicate", "near-duplicate"),
    "Unusual images": ("one colour", "dark", "bright", "small", "long", "grey", "far from its class"),
}


def render_page(
    found: Survey, record: Mapping[str, Any], findings: Sequence[Finding], shortcuts: Sequence[Shortcut], most: int
) -> str:
    """Return the page as HTML.

    Args:
        record: content of `audit.json`.
        most: images of a kind that are shown, about.
    """
    shown: dict[str, list[Finding]] = defaultdict(list)
    images: dict[str, int] = defaultdict(int)
    for finding in findings:
        if images[finding.kind] < most:
            shown[finding.kind].append(finding)
            images[finding.kind] += len(finding.images)
    places = sorted({place for group in shown.values() for finding in group for place in finding.images[:most]})
    pictures = _pictures(found, places)
    classes, splits, index = found.data.classes, found.splits, found.index
    about = {
        place: {
            "picture": pictures[place],
            "label": classes[found.labels[place]],
            "name": printable(found.names[place]),
            "place": f"{splits[place]}/{index[place]}",
        }
        for place in places
    }
    return (
        templates(Path(__file__).parent)
        .get_template("audit.html")
        .render(
            record=record,
            kinds=KINDS,
            sections=SECTIONS,
            shown=shown,
            about=about,
            most=most,
            shortcuts=shortcuts,
            unreadable=[(split, printable(name), classes[label], why) for split, name, label, why in found.unreadable],
        )
    )


def _pictures(found: Survey, places: Sequence[int]) -> dict[int, bytes]:
    """Return JPEG files of images, square and small."""
    from PIL import Image

    pictures = {}
    for part in torch.tensor(places, dtype=torch.int64).split(READ):
        for place, pixels in zip(part.tolist(), found.read(part, THUMBNAIL).numpy(), strict=True):
            stream = io.BytesIO()
            Image.fromarray(pixels).save(stream, "JPEG", quality=88)
            pictures[place] = stream.getvalue()
    return pictures
