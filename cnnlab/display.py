"""Show names of strangers as they are, on the terminal and in figures: no command, markup or formula in them acts."""

import contextlib
import functools
import os
import re
import shlex
import sys
import textwrap
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from tqdm import tqdm

from cnnlab.errors import printable
from cnnlab.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BAR_DELAY = 0.5  # seconds
NARROWEST, WIDTH = 30, 80  # columns; the second of terminals that do not tell
FIRST_FOREIGN = "\u0900"  # matplotlib's own font has nearly all scripts before Devanagari, and few after it
OTHER_SCRIPTS = r"CJK|Noto Sans|WenQuanYi|Fallback|Unicode|Unifont|Hiragino|PingFang|YaHei|Nanum|IPA"  # names of fonts


class SafeConsole(Console):
    """Print as rich's console does, with unprintable characters replaced, and without markup, emoji and highlights."""

    def __init__(self, **options: Any):
        super().__init__(highlight=False, markup=False, emoji=False, **options)
        if self.width < NARROWEST:  # rich fails to spread a table over one column
            self.width = NARROWEST

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the parts of a text or table, to be coloured later. Too wide a table loses its last columns."""
        if isinstance(renderable, Table):
            while len(renderable.columns) > 2 and self.measure(renderable, options=options).minimum > self.width:
                renderable.columns.pop()
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else printable(text, keep="\n"), style, control)


def terminal_width(stream: TextIO | None = None) -> int | None:
    """Return the number of columns of the terminal that a stream leads to, stdout by default; None if it is none."""
    stream = stream or sys.stdout
    if stream is None or not stream.isatty():
        return None
    given = os.environ.get("COLUMNS", "")
    with contextlib.suppress(OSError):
        return int(given) if given.isdecimal() else os.get_terminal_size(stream.fileno()).columns or WIDTH
    return WIDTH


def suggest_next(*commands: str, always: bool = False) -> None:
    """Suggest next command lines, such as `cnnlab compare runs=runs/sweep`, on stderr if that is a terminal.

    With `always`, it is also printed where no terminal is.
    """
    width = terminal_width(sys.stderr)
    if width is not None or always:
        for place, command in enumerate(commands):
            lines = shell_lines(command, width, "Next: " if place == 0 else " " * 6)
            print(printable(lines, keep="\n"), file=sys.stderr)


def shell_lines(command: str, width: int | None, start: str) -> str:
    """Return a command line after `start`; what is too wide goes on in lines that the shell joins again."""
    lines = [start[:-1]]
    for argument in map(shlex.quote, shlex.split(command)):
        if width and len(lines[-1]) + 1 + len(argument) > width - 2:
            lines.append(" " * (len(start) - 1))
        lines[-1] += f" {argument}"
    return " \\\n".join(lines)


def wrapped(text: str, stream: TextIO) -> str:
    """Return a text whose lines are broken between words where the terminal ends; unchanged if there is none."""
    width = terminal_width(stream)
    if width is None:
        return text
    lines = []
    for line in text.split("\n"):
        if len(line) <= width:
            lines.append(line)
            continue
        term = re.match(r"\s*\S.*?\s{2,}(?=\S)", line)  # such as a key before its description
        indent = (
            len(term[0])
            if term and len(term[0]) <= width // 2
            else len(line) - len(line.lstrip()) + 2 * line.startswith(" ")
        )
        options: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False}
        lines += textwrap.wrap(line, width, subsequent_indent=" " * min(indent, width // 2), **options)
    return "\n".join(lines)


def progress_bar(total: int | None, title: str | None = None, unit: str = "images") -> "tqdm[Any]":
    """Return a bar that counts on a terminal, and is gone in the end; nothing elsewhere."""
    hidden = not sys.stderr.isatty()
    return tqdm(
        total=total, desc=title, unit=f" {unit}", leave=False, disable=hidden, delay=BAR_DELAY, dynamic_ncols=True
    )


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
