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
    terminal, markdown, page = capsys.readouterr().out, render_markdown(record, [{}]), render_page(record, [None])
    assert ["steps" in terminal, "71" in terminal] == [True, True]
    assert "optimizer steps |" in markdown
    assert "| 71 |" in markdown
    assert "- **optimizer steps**: of all epochs." in markdown
    assert next(csv.DictReader(io.StringIO(render_csv(record))))["steps"] == "71"
    assert '<button type="button">optimizer steps</button>' in page
    assert '<td class="number" data-sort="71">71</td>' in page


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0.5, "0.5"), (62006, "62 k"), (11_173_962, "11.2 M"), (999_950, "1 M"), (5e9, "5 G")],
)
def test_counts_are_short(value, text):
    assert short(value) == text
