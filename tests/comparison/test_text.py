"""Test a comparison as Markdown, CSV, terminal table, figures and page."""

import base64
import csv
import gzip
import io
import json
import re
import warnings

import numpy as np
import pytest

from cnnlab.comparison import columns
from cnnlab.comparison import page as comparison_page
from cnnlab.comparison.columns import Column, short
from cnnlab.comparison.compare import compare_runs
from cnnlab.comparison.figures import draw_comparison
from cnnlab.comparison.page import render_page
from cnnlab.comparison.spec import ComparisonSpec
from cnnlab.comparison.text import print_comparison, render_csv, render_markdown
from cnnlab.runs.reading import find_runs, read_run


@pytest.fixture(scope="module")
def record(make_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for model, accuracy in (("good", 0.92), ("poor", 0.84)):
        for seed in range(2):
            make_run(folder / f"{model}{seed}", model, seed, accuracy)
    make_run(folder / "tricky", "</script><b>|net", 0, 0.7)
    make_run(folder / "failed", "good", 9, status="failed", error="RuntimeError: *no* <memory>")
    (make_run(folder / "torn", "good", 3) / "predictions.npz").write_bytes(b"PK")
    return compare_runs([read_run(path) for path in find_runs([str(folder)])], ComparisonSpec(targets=[0.8, 0.99]))


def pixels(images):
    return (
        np.zeros((len(images), 32, 32, 3), dtype=np.uint8) + np.arange(len(images), dtype=np.uint8)[:, None, None, None]
    )


def test_markdown_has_groups_pairs_and_excluded_runs(record):
    text = render_markdown(record, [{"learning curves": "comparison_curves.png"}])
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| good")]
    assert rows[0][:2] == ["good", "3"]
    assert re.fullmatch(r"9\d\.\d\d ± \d\.\d\d", rows[0][2])
    assert rows[1][1] == r"62 k\*"
    assert rows[2][:2] == ["good", "poor"]
    assert rows[2][-1].startswith("better")
    assert "80 % reached after" in text
    assert "99 % reached after" not in text  # no run reached it
    assert "![learning curves](comparison_curves.png)" in text
    assert r"failed: RuntimeError: \*no\* \<memory>" in text
    assert "predictions.npz cannot be read" in text
    assert r"\</script>\<b>\|net" in text


def test_csv_has_a_row_for_each_group(record):
    rows = list(csv.DictReader(io.StringIO(render_csv(record))))
    assert [row["group"] for row in rows] == ["good", "poor", "</script><b>|net"]
    assert float(rows[0]["mean"]) == record.sections[0].groups[0].mean
    assert (rows[0]["runs_to_0.8"], rows[0]["seconds_to_0.99"], rows[2]["sd"]) == ("3", "", "")


@pytest.mark.parametrize("width", [80, 140])
def test_the_terminal_shows_the_groups_and_the_excluded_runs(record, capsys, width):
    print_comparison(record, width)
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split()[:2] == ["good", "3"] for line in lines)
    words = " ".join(" ".join(lines).split())
    assert "good minus poor: +" in words
    assert "not counted: 1 of 7 runs" in words
    assert "RuntimeError: *no* <memory>" in words
    assert all(len(line) <= width for line in lines if not line.startswith("  "))


def test_one_entry_adds_a_column_to_all_forms(make_run, tmp_path, capsys, monkeypatch):
    runs = [read_run(make_run(tmp_path / str(seed), "net", seed, steps=70 + seed)) for seed in range(3)]
    median = {"value": lambda group: group.median("steps"), "explanation": "of all epochs."}
    column = Column("steps", "optimizer steps", terminal="steps", **median)
    monkeypatch.setattr(columns, "GROUP_COLUMNS", (*columns.GROUP_COLUMNS, column))
    record = compare_runs(runs)
    print_comparison(record, 120)
    terminal, markdown, page = capsys.readouterr().out, render_markdown(record, [{}]), render_page(record, [None])
    assert ["steps" in terminal, "71" in terminal] == [True, True]
    assert "optimizer steps |" in markdown
    assert "| 71 |" in markdown
    assert "- **optimizer steps**: of all epochs." in markdown
    assert next(csv.DictReader(io.StringIO(render_csv(record))))["steps"] == "71"
    assert '<button type="button">optimizer steps</button>' in page
    assert '<td class="number" data-sort="71">71</td>' in page


def test_the_page_sorts_by_numbers_and_not_by_their_texts(record):
    page = render_page(record, [None])
    assert 'data-sort="62006">62 k*</td>' in page
    assert f'data-sort="{record.sections[0].groups[0].mean}">' in page


def test_figures_are_drawn(record, tmp_path):
    files = draw_comparison(record.sections[0], tmp_path, "comparison_", pixels)
    assert len(files) == 6
    assert {file.name for file in tmp_path.iterdir()} == set(files.values())
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in tmp_path.iterdir())


def test_long_names_leave_room_for_the_figures(make_run, tmp_path):
    many = ", ".join(f"model.option_{number}=value" for number in range(9))
    for name in ("a", "b", "c"):
        make_run(tmp_path / f"run_{name}", f"{name}, {many}")
    section = compare_runs([read_run(path) for path in find_runs([str(tmp_path)])]).sections[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Matplotlib only warns where axes have no room left
        assert len(draw_comparison(section, tmp_path, "long_", pixels)) == 6


def test_one_run_alone_has_figures_too(make_run, tmp_path):
    run = read_run(make_run(tmp_path / "run", epochs=1, images=50))
    (section,) = compare_runs([run]).sections
    (tmp_path / "report").mkdir()
    assert set(draw_comparison(section, tmp_path / "report", "", pixels)) == {
        "learning curves",
        "accuracy against cost",
        "accuracy by class",
    }
    assert "Two groups side by side" not in render_page(compare_runs([run]), [None])


def embedded(page: str) -> list[dict]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_the_page_is_small_and_loads_nothing(record):
    page = render_page(record, [pixels])
    assert len(page) < 3_000_000
    own = re.sub(r'<script type="text/plain" id="plotly">.*?</script>', "", page, flags=re.DOTALL)
    assert not re.findall(r'(?:src|href)="|https?://|@import', own)
    library = re.search(r'id="plotly">([A-Za-z0-9+/=]+)</script>', page)
    assert library is not None
    assert b"plotly" in gzip.decompress(base64.b64decode(library[1]))[:200]


def test_the_page_holds_the_figures_and_escapes_labels(record):
    page = render_page(record, [pixels])
    (section,) = embedded(page)
    assert [group["label"] for group in section["groups"]] == ["good", "poor", "</script><b>|net"]
    assert len(section["pairs"]) == 3
    assert len(section["groups"][0]["curve"]["epoch"]) == 5
    assert "<b>" not in page
    assert "&lt;/script&gt;&lt;b&gt;|net" in page
    assert "RuntimeError: *no* &lt;memory&gt;" in page
    assert page.count("</script>") == 3


def test_every_listed_image_has_its_place_in_the_sheet(record):
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


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0.5, "0.5"), (62006, "62 k"), (11_173_962, "11.2 M"), (999_950, "1 M"), (5e9, "5 G")],
)
def test_counts_are_short(value, text):
    assert short(value) == text
