"""Test what a column of a comparison is and where it appears."""

import csv
import io

import pytest

from cnnlab.comparison import columns
from cnnlab.comparison.columns import Column, short
from cnnlab.comparison.compare import compare_runs
from cnnlab.comparison.page import render_page
from cnnlab.comparison.text import print_comparison, render_csv, render_markdown
from cnnlab.runs.reading import read_run


def test_one_entry_adds_a_column_to_all_forms(make_run, tmp_path, capsys, monkeypatch):
    runs = [read_run(make_run(tmp_path / str(seed), "net", seed, steps=70 + seed)) for seed in range(3)]
    median = {"value": lambda group: group.median("steps"), "explanation": "of all epochs."}
    column = Column("steps", "optimizer steps", terminal="steps", **median)
    monkeypatch.setattr(columns, "GROUP_COLUMNS", (*columns.GROUP_COLUMNS, column))
    record = compare_runs(runs)
    print_comparison(record, 120)
    terminal, markdown, page = capsys.readouterr().out, render_markdown(record), render_page(record, [None])
    assert ["steps" in terminal, "71" in terminal] == [True, True]
    assert "optimizer steps |" in markdown
    assert "| 71 |" in markdown
    assert "- **optimizer steps**: of all epochs." in markdown
    assert next(csv.DictReader(io.StringIO(render_csv(record))))["steps"] == "71"
    assert 'data-tip="of all epochs."' in page
    assert '<td class="number" data-sort="71">71</td>' in page


def test_figures_of_classes_alike_are_means_and_a_dash_where_a_record_lacks_them(make_run, tmp_path, capsys):
    shares = {"test_balanced_accuracy": 0.5, "test_macro_f1": 0.25, "test_largest_class": 0.125}
    make_run(tmp_path / "1", "new", 0, **shares)
    make_run(tmp_path / "2", "new", 1, **shares | {"test_balanced_accuracy": 0.6})
    make_run(tmp_path / "3", "old", 0, 0.8)
    make_run(tmp_path / "4", "mixed", 0, 0.7)
    make_run(tmp_path / "5", "mixed", 1, 0.7, **shares)
    record = compare_runs([read_run(path) for path in sorted(tmp_path.iterdir())])
    table = [line for line in render_markdown(record).splitlines() if line.startswith("| ")]
    lines = [line.strip("| ").split(" | ") for line in table]
    places = [lines[0].index(name) for name in ("balanced accuracy, %", "macro F1, %", "always the largest class, %")]
    cells = {line[0]: [line[place] for place in places] for line in lines[1:4]}
    assert cells == {"new": ["55.00", "25.00", "12.50"], "old": ["-"] * 3, "mixed": ["-"] * 3}
    print_comparison(record, 120)
    assert "balanced" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0.5, "0.5"), (62006, "62 k"), (11_173_962, "11.2 M"), (999_950, "1 M"), (5e9, "5 G")],
)
def test_counts_are_short(value, text):
    assert short(value) == text
