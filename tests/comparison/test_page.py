"""Test the page of a comparison, also in a browser."""

import base64
import csv
import gzip
import io
import json
import re
from collections.abc import Iterator

import pytest

from cnnlab.comparison import page as comparison_page
from cnnlab.comparison.compare import compare_runs
from cnnlab.comparison.page import render_page
from cnnlab.comparison.report import write_report
from cnnlab.runs.reading import find_runs, read_run
from tests.browser import CHROMIUM, Browser, browser

needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")


def test_the_page_sorts_by_numbers_and_not_by_their_texts(record):
    page = render_page(record, [None])
    assert 'data-sort="62006">62 k*</td>' in page
    assert f'data-sort="{record.sections[0].groups[0].mean}">' in page


def embedded(page: str) -> list[dict]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_the_page_is_small_and_loads_nothing(record, pixels):
    page = render_page(record, [pixels])
    assert len(page) < 3_000_000
    own = re.sub(r'<script type="text/plain" id="plotly">.*?</script>', "", page, flags=re.DOTALL)
    assert not re.findall(r'(?:src|href)="(?!#)|https?://|@import', own)
    library = re.search(r'id="plotly">([A-Za-z0-9+/=]+)</script>', page)
    assert library is not None
    assert b"plotly" in gzip.decompress(base64.b64decode(library[1]))[:200]


def test_the_page_holds_the_figures_and_escapes_labels(record, pixels):
    page = render_page(record, [pixels])
    (section,) = embedded(page)
    assert [group["label"] for group in section["groups"]] == ["good", "poor", "</script><b>|net"]
    assert len(section["pairs"]) == 3
    assert len(section["groups"][0]["curve"]["epoch"]) == 5
    assert "<b>|net" not in page
    assert "&lt;/script&gt;&lt;b&gt;|net" in page
    assert "RuntimeError: *no* &lt;memory&gt;" in page
    assert page.count("</script>") == 4


def test_every_listed_image_has_its_place_in_the_sheet(record, pixels):
    (section,) = embedded(render_page(record, [pixels]))
    listed = {
        str(entry["image"])
        for pair in section["pairs"]
        for side in ("only_a", "only_b")
        for entry in pair[f"{side}_images"]
    }
    assert listed == set(section["sheet"]["places"])
    assert max(section["sheet"]["places"].values()) < section["sheet"]["rows"] * section["sheet"]["columns"]
    assert embedded(render_page(record, [None]))[0]["sheet"] is None


def test_only_the_best_of_many_groups_have_curves_in_the_page(record, monkeypatch):
    monkeypatch.setattr(comparison_page, "GROUPS_WITH_CURVES", 1)
    page = render_page(record, [None])
    assert [group["curve"] is not None for group in embedded(page)[0]["groups"]] == [True, False, False]
    assert "for the best 1 groups only" in page


def test_one_run_alone_has_a_page_too(make_run, tmp_path):
    run = read_run(make_run(tmp_path / "run", epochs=1, images=50))
    page = render_page(compare_runs([run]), [None])
    assert "There is no other group to compare it with." in page
    assert "Two groups side by side" not in page


# --- in a browser ---


@pytest.fixture(scope="module")
def tab(make_run, tmp_path_factory) -> Iterator[Browser]:
    """Hold the page of six groups of 12 runs, and of a run of another protocol."""
    folder = tmp_path_factory.mktemp("compared")
    for lr, accuracy in ((0.1, 0.9), (0.2, 0.8), (0.3, 0.75)):
        for model in ("lenet5", "vgg11"):
            for seed in range(2):
                config = {"optimizer": {"lr": lr}, "data": {"source": "x", "image_size": 32, "classes": None}}
                more = {"macs": 1_000_000 if model == "vgg11" else 50_000, "parameters": 500_000}
                make_run(folder / f"{model}{lr}{seed}", model, seed, accuracy, 300, config=config, **more)
    make_run(folder / "article", "lenet5", protocol="article", images=300)
    record = compare_runs([read_run(path) for path in find_runs([str(folder)])])
    page = write_report(record, [None] * len(record.sections), folder / "report")
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        opened.resize(1400, 1000)
        opened.open(page, "window.ready")
        yield opened


def boxes(tab: Browser, selector: str) -> list[list[float]]:
    """The places of elements as left, top, right, bottom."""
    return tab.evaluate(
        f"[...document.querySelectorAll('{selector}')].map((e) => e.getBoundingClientRect())"
        ".map((b) => [b.left, b.top, b.right, b.bottom])"
    )


@needs_browser
def test_columns_and_names_are_explained_to_pointer_and_keyboard(tab):
    tip = "document.getElementById('tip')"
    assert tab.evaluate(f"{tip}.hidden")
    tab.evaluate("[...document.querySelectorAll('.groups th button')].find((b) => b.textContent === 'n').focus()")
    assert tab.evaluate(f"{tip}.textContent") == "number of runs, each with another seed or fold."
    assert not tab.evaluate(f"{tip}.hidden")
    left, top, right, bottom = boxes(tab, "#tip")[0]
    assert 0 <= left < right <= 1400 and 0 <= top < bottom <= 1000
    tab.press("Escape")
    assert tab.evaluate(f"{tip}.hidden")
    tab.evaluate("document.querySelector('.groups tbody [data-tip]').focus()")
    assert "optimizer.lr=0.1" in tab.evaluate(f"{tip}.textContent")
    heads = "[...document.querySelectorAll('.comparison .sortable th button')]"
    assert tab.evaluate(f"{heads}.filter((button) => !button.dataset.tip).length") == 0


@needs_browser
def test_tables_and_figures_are_saved_without_a_network(tab):
    tab.evaluate(
        "window.saved = []; HTMLAnchorElement.prototype.click = function () { saved.push([this.download, this.href]) }"
    )
    tab.evaluate("document.querySelectorAll('[data-download]').forEach((button) => button.click())")
    assert tab.evaluate("saved.map(([file]) => file)") == ["comparison.csv", "comparison.tex", "comparison.md"]
    text = tab.evaluate("fetch(saved[0][1]).then((answer) => answer.text())")
    assert [row["group"] for row in csv.DictReader(io.StringIO(text))][:2] == ["lenet5, lr 0.1", "vgg11, lr 0.1"]
    picture = """new Promise((done) => { const wait = () => {
      const found = saved.find(([file]) => file === "comparison_costs.png");
      if (found) done(found[1].slice(0, 22)); else setTimeout(wait, 20); };
      document.querySelector('[data-figure="costs"][data-format="png"]').click(); wait(); })"""
    assert tab.evaluate(picture) == "data:image/png;base64,"
    assert tab.problems == []


@needs_browser
@pytest.mark.parametrize("width", [1400, 400])
@pytest.mark.parametrize("cost", ["macs", "parameters", "train_seconds"])
def test_names_and_ticks_of_the_costs_lie_on_nothing(tab, width, cost):
    tab.resize(width, 1000)
    tab.evaluate(f"""new Promise((done) => {{ const select = document.querySelector('.cost'); select.value = '{cost}';
      select.dispatchEvent(new Event('input')); setTimeout(done, 300); }})""")
    names = boxes(tab, ".costs .annotation-text")
    bars = boxes(tab, ".costs .errorbar")
    ticks = boxes(tab, ".costs .xtick text")
    assert len(bars) == 6 and names
    for group in (names, ticks):
        for i, one in enumerate(group):
            assert not any(overlap(one, other) for other in group[:i])
    assert not any(overlap(name, bar) for name in names for bar in bars)


def overlap(one: list[float], other: list[float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


@needs_browser
def test_a_table_that_is_too_wide_says_that_it_scrolls(tab):
    frame = "document.querySelector('.groups .frame')"
    hints = f"[{frame}.classList.contains('more'), {frame}.querySelector('.swipe').hidden]"
    tab.resize(400, 900)
    assert tab.evaluate("new Promise((done) => setTimeout(done, 200))") is None
    assert tab.evaluate(hints) == [True, False]
    assert tab.evaluate("document.documentElement.scrollWidth") == 400  # the page itself does not
    assert tab.evaluate("document.querySelector('.scroll').tabIndex") == 0  # arrow keys scroll it
    tab.evaluate(
        "new Promise((done) => { document.querySelector('.groups .scroll').scrollLeft = 9999; setTimeout(done, 200); })"
    )
    assert tab.evaluate(hints) == [False, False]
    tab.resize(1400, 1000)


@needs_browser
def test_runs_that_cannot_be_compared_are_folded_and_drawn_when_opened(tab):
    assert tab.evaluate("document.querySelector('details.comparison summary').textContent").endswith(
        "protocol article: 1 run"
    )
    assert tab.evaluate("document.querySelectorAll('details.comparison .js-plotly-plot').length") == 0
    drawn = """new Promise((done) => { document.querySelector('details.comparison').open = true;
      setTimeout(() => done(document.querySelectorAll('details.comparison .js-plotly-plot').length), 500); })"""
    assert tab.evaluate(drawn) >= 2
    assert tab.problems == []


@needs_browser
def test_every_figure_has_a_title_with_n_and_axes_with_units(tab):
    shown = "[...document.querySelectorAll('section.comparison .js-plotly-plot')].filter((p) => p.offsetParent)"
    titles = tab.evaluate(f"{shown}.map((p) => p.layout.title.text)")
    assert len(titles) >= 6 and all("n = 2" in title for title in titles)
    assert tab.evaluate(f"{shown}.every((p) => p.role === 'img' && p.ariaLabel.includes('n = 2'))")
    axes = tab.evaluate(f"{shown}.map((p) => p.layout.xaxis.title?.text)")
    assert all(axes), axes
