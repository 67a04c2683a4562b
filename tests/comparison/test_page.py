"""Test the page of a comparison."""

import base64
import gzip
import json
import re

from cnnlab.comparison import page as comparison_page
from cnnlab.comparison.page import render_page


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
    assert not re.findall(r'(?:src|href)="|https?://|@import', own)
    library = re.search(r'id="plotly">([A-Za-z0-9+/=]+)</script>', page)
    assert library is not None
    assert b"plotly" in gzip.decompress(base64.b64decode(library[1]))[:200]


def test_the_page_holds_the_figures_and_escapes_labels(record, pixels):
    page = render_page(record, [pixels])
    (section,) = embedded(page)
    assert [group["label"] for group in section["groups"]] == ["good", "poor", "</script><b>|net"]
    assert len(section["pairs"]) == 3
    assert len(section["groups"][0]["curve"]["epoch"]) == 5
    assert "<b>" not in page
    assert "&lt;/script&gt;&lt;b&gt;|net" in page
    assert "RuntimeError: *no* &lt;memory&gt;" in page
    assert page.count("</script>") == 3


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
