"""Draw pictures of pages in two themes: on white, and for browsers in dark mode."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from PIL import Image

from cnnlab.display import prepare_texts
from cnnlab.style import PAGE_COLOURS, theme

WIDTH = 6.4  # inches of every picture
HEAD = 0.32  # inches for its title
DPI = 170


@dataclass(frozen=True)
class Picture:
    """Picture in both themes."""

    name: str  # of its file, without the suffix
    alt: str  # description for people who cannot see it
    light: bytes  # PNG on white
    dark: bytes  # PNG on nearly black


def picture(name: str, alt: str, draw: Callable[[], Figure], smooth: bool = False) -> Picture:
    """Draw a picture in both themes. Its colours are C0 (main), C1 (emphasis) and C2 (background).

    A smooth picture may have more than 256 colours, which take three times the space.
    """
    return Picture(name, alt, _png(draw, False, smooth), _png(draw, True, smooth))


class Sheet:
    """Figure with positions in inches, measured from the upper left corner to the right and down."""

    def __init__(self, height: float):
        self.figure = Figure((WIDTH, height))
        self.height = height
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set_axis_off()
        self.axes.set(xlim=(0, WIDTH), ylim=(height, 0), autoscale_on=False)

    def title(self, text: str) -> None:
        """Write the title of the picture."""
        self.text(0.05, 0.06, text, ha="left", fontsize=9, fontweight="bold")

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


def _png(draw: Callable[[], Figure], dark: bool, smooth: bool) -> bytes:
    with matplotlib.rc_context(theme(dark, [PAGE_COLOURS[name][dark] for name in ("accent", "warm", "line")])):
        figure = draw()
        prepare_texts(figure)
        figure.set_dpi(DPI)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])
    packed = io.BytesIO()
    (image if smooth else image.quantize(256)).save(packed, "PNG", optimize=True)
    return packed.getvalue()
