"""Write the page that runs a trained network in the browser: one file that needs no network and no server."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from cnnlab.errors import RequestError
from cnnlab.files import write_atomically
from cnnlab.inspection.live.trace import MOST_BYTES, Program
from cnnlab.runs.plain import to_json
from cnnlab.style import page_style

SAMPLES = 12  # images that the page offers
FOLDER = Path(__file__).parent
# In the order in which they are needed; the worker gets the first two.
SCRIPTS = (
    "engine",
    "worker",
    "network",
    "draw",
    "picture",
    "flow",
    "arithmetic",
    "explain",
    "edits",
    "playground",
    "main",
)


@dataclass(frozen=True)
class Sample:
    """Image that the page offers."""

    pixels: Tensor  # uint8 (size, size, 3)
    name: str  # such as `Test image 7`
    label: int | None = None  # class number; None if it is unknown


@dataclass(frozen=True)
class LivePage:
    """Trained network and what the page needs beside it."""

    model: str  # name of the network
    program: Program
    classes: Sequence[str]  # names by class number
    mean: Tensor  # of each channel, for pixels in [0, 1]
    std: Tensor  # standard deviation of each channel, for pixels in [0, 1]
    samples: Sequence[Sample]  # the first is shown first
    notes: Sequence[str]  # sentences of the small print: what was trained, on which images


def write_live(page: LivePage, folder: Path) -> Path:
    """Write `live.html` into a folder, which is made if it is missing; return the file.

    Raises:
        RequestError: if the page would be too large.
    """
    html = render(page)
    if len(html) > MOST_BYTES:
        raise RequestError(f"live: the page would have {len(html) / 1e6:.0f} MB; {MOST_BYTES // 10**6} are the most")
    folder.mkdir(exist_ok=True)
    write_atomically(folder / "live.html", html)
    return folder / "live.html"


def render(page: LivePage) -> str:
    """Return the page as HTML."""
    program = page.program
    pixels = b"".join(sample.pixels.contiguous().numpy().tobytes() for sample in page.samples)
    description = {
        "model": page.model,
        "classes": list(page.classes),
        "size": program.image_size,
        "mean": page.mean.tolist(),
        "std": page.std.tolist(),
        "parameters": program.parameters,
        "samples": [{"name": sample.name, "label": sample.label} for sample in page.samples],
        "notes": list(page.notes),
        "operations": program.operations,
    }
    parts = {
        "style": page_style() + _read("live.css"),
        # A name may hold what ends a script.
        "description": to_json(description, indent=None).replace("<", "\\u003c"),
        "weights": program.weights,
        "numbers": program.numbers,
        "pixels": base64.b64encode(pixels).decode(),
        "scripts": "\n".join(f'<script id="{name}.js">\n{_read(name + ".js")}</script>' for name in SCRIPTS),
    }
    html = _read("live.html")
    for name, part in parts.items():
        before, after = html.split(f"{{{{ {name} }}}}")
        html = before + part + after
    return html


def choose_samples(labels: Tensor, predicted: Tensor) -> list[int]:
    """Choose up to 12 images (N,) by position: of as many classes as possible, and one of them classified wrongly.

    The wrong one comes last. If there is none, all are right.
    """
    right, wrong = (labels == predicted).nonzero()[:, 0].tolist(), (labels != predicted).nonzero()[:, 0].tolist()
    turns: dict[int, int] = {}  # how many images of its class came before

    def turn(position: int) -> int:
        label = int(labels[position])
        turns[label] = turns.get(label, -1) + 1
        return turns[label]

    chosen = sorted(right, key=turn)[: SAMPLES - bool(wrong)]
    return [*sorted(chosen, key=lambda position: int(labels[position])), *wrong[:1]]


def _read(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")
