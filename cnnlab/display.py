"""Show names of strangers as they are, on the terminal and in figures: no command, markup or formula in them acts."""

import functools
import re
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from tqdm import tqdm

from cnnlab.errors import printable
from cnnlab.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NARROWEST = 30  # columns
FIRST_FOREIGN = "\u0900"  # matplotlib's own font has nearly all scripts before Devanagari, and few after it
OTHER_SCRIPTS = r"CJK|Noto Sans|WenQuanYi|Fallback|Unicode|Unifont|Hiragino|PingFang|YaHei|Nanum|IPA"  # names of fonts


class SafeConsole(Console):
    """Print as rich's console does, with unprintable characters replaced, and without markup, emoji and highlights."""

    def __init__(self, **options: Any):
        super().__init__(highlight=False, markup=False, emoji=False, **options)
        if self.width < NARROWEST:  # rich fails to spread a table over one column
            self.width = NARROWEST

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the parts of a text or table; colours are added to them later."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else printable(text, keep="\n"), style, control)


def progress_bar(total: int | None, title: str | None = None) -> "tqdm[Any]":
    """Return a bar that counts images on a terminal, and is gone in the end; nothing is shown elsewhere."""
    return tqdm(total=total, desc=title, unit=" images", leave=False, disable=not sys.stderr.isatty())


def cut(name: str, length: int = 40) -> str:
    """Return the beginning of a name that a figure has no room for."""
    return name if len(name) <= length else name[: length - 1] + "…"


def save_figure(figure: "Figure", file: Path, **options: Any) -> None:
    """Write a figure as a PNG in one step, with options of its `savefig`."""
    from matplotlib import rc_context

    from cnnlab.style import LIGHT

    prepare_texts(figure)
    with replacing(file) as temporary, rc_context(LIGHT):  # some parts are only made now
        figure.savefig(temporary, **options)


def prepare_texts(figure: "Figure") -> None:
    """Let the texts of a figure stand as they are, in any script for which a font is installed.

    `$a$` is no formula, except in the powers of logarithmic axes. A character that no font has becomes a box.
    """
    from matplotlib.text import Text

    warnings.filterwarnings("ignore", r"Glyph \d+ .*missing from")
    axes = [axis for part in figure.axes for axis in (part.xaxis, part.yaxis) if axis.get_scale() == "log"]
    powers = {label for axis in axes for label in axis.get_ticklabels(which="both")}
    for text in figure.findobj(Text):
        if not isinstance(text, Text):
            continue
        if text not in powers:
            text.set_parse_math(False)
        if max(text.get_text(), default="") >= FIRST_FOREIGN:
            text.set_fontfamily([*text.get_fontfamily(), *_fonts_of_other_scripts()])


@functools.cache
def _fonts_of_other_scripts() -> list[str]:
    from matplotlib.font_manager import fontManager

    return sorted({font.name for font in fontManager.ttflist if re.search(OTHER_SCRIPTS, font.name)})
