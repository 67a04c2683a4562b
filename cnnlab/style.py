"""Give figures and pages one look: fonts, colours that the colour-blind can tell apart, light and dark.

Figures are drawn in the theme `LIGHT` by functions with `@styled`, and name their colours: C0 to C9 (`COLOURS`) for
what is told apart, C0 for what matters most, C1 for what stands out, `SOFT` for the rest. Pages begin with
`page_style`, and name the same colours `--c0` to `--c9`, `--accent`, `--warm` and `--soft`.
"""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
from matplotlib.rcsetup import cycler

if TYPE_CHECKING:
    from jinja2 import Environment

# On white and on nearly black: those of Okabe and Ito 2008, "Color Universal Design", without their yellow, which white
# swallows, and three more.
COLOURS = (
    *("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#22262b"),
    *("#6b2d90", "#a0522d", "#882255"),
)
DARK_COLOURS = (
    *("#4aa3df", "#f2803a", "#2fc79a", "#e3a3c7", "#f2b632", "#a5d8f7", "#f4f6f8"),
    *("#7a70c0", "#8f8f8f", "#b5596f"),
)
PAGE_COLOURS = {
    "paper": ("#ffffff", "#14171b"),
    "card": ("#ffffff", "#1a1e23"),  # lies on the paper
    "wash": ("#f4f6f8", "#1f242a"),  # fills heads of tables and empty bars
    "tint": ("#e5f1f8", "#16293a"),  # fills what is worth reading first
    "ink": ("#22262b", "#e4e7eb"),
    "soft": ("#5c646d", "#a0a8b1"),
    "line": ("#dfe4ea", "#2f363e"),
    "accent": ("#0072b2", "#5fb0ee"),
    "warm": ("#b34e00", "#f79a55"),  # stands out: a wrong prediction, a weak filter
    "good": ("#00785a", "#2fc79a"),  # a correct prediction
}
INK, SOFT, LINE = (PAGE_COLOURS[name][0] for name in ("ink", "soft", "line"))
DPI = 150  # of figures in files

Theme = dict[Any, Any]  # matplotlib's settings


def theme(dark: bool = False, colours: Sequence[str] = ()) -> Theme:
    """Return matplotlib's settings for figures, on white or nearly black; `colours` replace C0, C1 and so on."""
    paper, ink, soft, line = (PAGE_COLOURS[name][dark] for name in ("paper", "ink", "soft", "line"))
    return {
        **dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), paper),
        **dict.fromkeys(("text.color", "axes.labelcolor", "axes.titlecolor"), ink),
        **dict.fromkeys(("xtick.labelcolor", "ytick.labelcolor"), ink),
        **dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color"), soft),
        **dict.fromkeys(("axes.spines.top", "axes.spines.right", "legend.frameon"), False),
        **dict.fromkeys(("axes.labelsize", "xtick.labelsize", "ytick.labelsize", "legend.fontsize"), 9),
        "axes.prop_cycle": cycler(color=colours or (DARK_COLOURS if dark else COLOURS)),
        "axes.axisbelow": True,
        "axes.linewidth": 0.8,
        "axes.titlelocation": "left",
        "axes.titlesize": 10.5,
        "figure.titlesize": 10.5,
        "font.family": "DejaVu Sans",  # which matplotlib ships
        "font.size": 9,
        "grid.color": line,
        "hatch.linewidth": 0.6,
        "savefig.dpi": DPI,
    }


LIGHT = theme()
styled = matplotlib.rc_context(LIGHT)  # decorates functions that draw


def page_style() -> str:
    """Return the CSS that every page begins with: its colours, light or dark as the browser or `data-theme` says."""
    light, dark = (
        "".join(f" --{name}: {pair[is_dark]};" for name, pair in PAGE_COLOURS.items())
        + "".join(f" --c{number}: {colour};" for number, colour in enumerate((COLOURS, DARK_COLOURS)[is_dark]))
        for is_dark in (False, True)
    )
    return f""":root {{ color-scheme: light;{light} }}
@media (prefers-color-scheme: dark) {{ :root:not([data-theme=light]) {{ color-scheme: dark;{dark} }} }}
:root[data-theme=dark] {{ color-scheme: dark;{dark} }}
{Path(__file__).with_suffix(".css").read_text(encoding="utf-8")}"""


def templates(*folders: Path) -> "Environment":
    """Return the templates of these folders. What is put into them is escaped; `{{ style }}` is the look."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(folders),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["base64"] = lambda content: base64.b64encode(content).decode()
    environment.globals["style"] = Markup(page_style())
    return environment
