"""Give pages one look, and draw pictures in two themes: on white, and for browsers in dark mode."""

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from matplotlib.rcsetup import cycler
from PIL import Image

from cnnlab.display import prepare_texts

if TYPE_CHECKING:
    from jinja2 import Environment

WIDTH = 6.4  # inches of every picture
DPI = 170

Theme = dict[Any, Any]  # matplotlib's settings


def _theme(paper: str, ink: str, faint: str, *accents: str) -> Theme:
    return {
        **dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), paper),
        **dict.fromkeys(("text.color", "axes.labelcolor", "axes.titlecolor"), ink),
        **dict.fromkeys(("xtick.labelcolor", "ytick.labelcolor"), ink),
        **dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color", "grid.color"), faint),
        "axes.prop_cycle": cycler(color=accents),
        "font.size": 9,
        "font.family": "DejaVu Sans",
        "axes.linewidth": 0.8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "hatch.linewidth": 0.6,
    }


# The accents are the colours C0 (main), C1 (emphasis) and C2 (background). The papers are those of page.html.
LIGHT = _theme("#ffffff", "#22262b", "#9aa1a9", "#2b66c4", "#c8560c", "#dfe4ea")
DARK = _theme("#14171b", "#e4e7eb", "#6c747d", "#79aaf7", "#f79a55", "#2f363e")


@dataclass(frozen=True)
class Picture:
    """Picture in both themes."""

    name: str  # of its file, without the suffix
    alt: str  # description for people who cannot see it
    light: bytes  # PNG on white
    dark: bytes  # PNG on nearly black


def picture(name: str, alt: str, draw: Callable[[], Figure], smooth: bool = False) -> Picture:
    """Draw a picture in both themes; `draw` takes its colours from matplotlib's settings.

    A smooth picture may have more than 256 colours, which take three times the space.
    """
    return Picture(name, alt, _png(draw, LIGHT, smooth), _png(draw, DARK, smooth))


def templates(*folders: Path) -> "Environment":
    """Return the templates of this folder and of others. What is put into them is escaped; `page.css` is the look."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader([*folders, Path(__file__).parent]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["base64"] = lambda content: base64.b64encode(content).decode()
    return environment


class Sheet:
    """Figure with positions in inches, measured from the upper left corner to the right and down."""

    def __init__(self, height: float):
        self.figure = Figure((WIDTH, height))
        self.height = height
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set_axis_off()
        self.axes.set(xlim=(0, WIDTH), ylim=(height, 0), autoscale_on=False)

    def image(self, x: float, y: float, width: float, height: float, pixels: Any, **options: Any) -> AxesImage:
        """Draw pixels (H, W) or (H, W, 3) with their upper left corner at (x, y), with options of `imshow`."""
        extent = (x, x + width, y + height, y)
        return self.axes.imshow(pixels, extent=extent, aspect="auto", interpolation="nearest", **options)

    def text(self, x: float, y: float, text: str, **options: Any) -> None:
        """Write a text below and centred at (x, y), unless options of `text` change that."""
        self.axes.text(x, y, text, **{"ha": "center", "va": "top", "linespacing": 1.25} | options)

    def box(self, x: float, y: float, width: float, height: float, **options: Any) -> None:
        """Draw a rectangle with its upper left corner at (x, y), with options of `Rectangle`."""
        options = {"fill": False} | options
        self.axes.add_patch(Rectangle((x, y), width, height, **options))

    def inset(self, x: float, y: float, width: float, height: float) -> Axes:
        """Return new axes with their upper left corner at (x, y)."""
        return self.figure.add_axes((x / WIDTH, 1 - (y + height) / self.height, width / WIDTH, height / self.height))


def shortened(name: str, length: int) -> str:
    """Return the end of a name that is too long."""
    return name if len(name) <= length else "…" + name[1 - length :]


def _png(draw: Callable[[], Figure], theme: Theme, smooth: bool) -> bytes:
    with matplotlib.rc_context(theme):
        figure = draw()
        prepare_texts(figure)
        figure.set_dpi(DPI)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])
    packed = io.BytesIO()
    (image if smooth else image.quantize(256)).save(packed, "PNG", optimize=True)
    return packed.getvalue()
