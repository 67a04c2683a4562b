import re
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

import cnnlab
from cnnlab.display import save_figure
from cnnlab.style import COLOURS, DARK_COLOURS, PAGE_COLOURS, page_style, styled, templates

# How people without red, without green, and with all receptors see linear RGB: Machado et al. 2009.
EYES = (
    [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    np.eye(3),
)
# From linear RGB to Oklab, in which equal distances look equally far: Ottosson 2020.
TO_LMS = [[0.41222, 0.53633, 0.05145], [0.21190, 0.68070, 0.10740], [0.08830, 0.28172, 0.62998]]
TO_LAB = [[0.21045, 0.79362, -0.00407], [1.97800, -2.42859, 0.45059], [0.02590, 0.78277, -0.80868]]


def linear(colour):
    values = np.array(to_rgb(colour))
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


@pytest.mark.parametrize("colours", [COLOURS, DARK_COLOURS])
def test_the_colour_blind_can_tell_the_colours_apart(colours):
    for eye in EYES:
        seen = np.clip([np.array(eye) @ linear(colour) for colour in colours], 0, 1)
        places = np.cbrt(seen @ np.array(TO_LMS).T) @ np.array(TO_LAB).T
        distances = np.linalg.norm(places[:, None] - places[None], axis=2)
        assert distances[~np.eye(len(colours), dtype=bool)].min() > 0.05  # matplotlib's own ten have 0.007


@pytest.mark.parametrize("ground", ["paper", "card", "wash", "tint"])
@pytest.mark.parametrize("name", ["ink", "soft", "accent", "warm", "good"])
def test_texts_are_legible(name, ground):
    """WCAG 2.2, 1.4.3: a contrast of 4.5."""
    for dark in (False, True):
        bright = [float(linear(PAGE_COLOURS[key][dark]) @ (0.2126, 0.7152, 0.0722)) + 0.05 for key in (name, ground)]
        assert max(bright) / min(bright) >= 4.5


def test_figures_are_drawn_in_the_style_and_those_of_others_are_not(tmp_path):
    @styled
    def draw():
        figure = Figure()
        axes = figure.subplots()
        axes.plot([1, 2], [1, 2])
        return figure

    before = dict(matplotlib.rcParams)
    figure = draw()
    save_figure(figure, tmp_path / "figure.png", dpi=30)
    assert figure.axes[0].lines[0].get_color() == COLOURS[0] and not figure.axes[0].spines["top"].get_visible()
    assert dict(matplotlib.rcParams) == before


def test_every_page_has_both_themes_and_no_colours_of_its_own(tmp_path):
    style = page_style()
    assert style.count(f"--paper: {PAGE_COLOURS['paper'][1]}") == 2  # if the browser asks for it, or a page's button
    (tmp_path / "page.html").write_text("{{ style }}|{{ name }}")
    assert templates(tmp_path).get_template("page.html").render(name="<b>").startswith(style)
    assert templates(tmp_path).get_template("page.html").render(name="<b>").endswith("|&lt;b&gt;")
    package = Path(cnnlab.__file__).parent
    for file in (*package.rglob("*.css"), *package.rglob("*.html")):
        own = set(re.findall(r"#[0-9a-fA-F]{6}\b", file.read_text(encoding="utf-8")))
        assert own <= {"#ffffff"}, file  # the colour of a pen
