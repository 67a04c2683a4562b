"""Test a comparison as Markdown, CSV and terminal table."""

import csv
import io
import re

import pytest

from cnnlab.comparison.text import print_comparison, render_csv, render_markdown


def test_markdown_has_groups_pairs_and_excluded_runs(record):
    text = render_markdown(record)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| good")]
    assert rows[0][:2] == ["good", "3"]
    assert re.fullmatch(r"9\d\.\d\d ± \d\.\d\d", rows[0][2])
    assert rows[1][1] == r"62 k\*"
    assert rows[2][:2] == ["good", "poor"]
    assert rows[2][-1].startswith("better")
    head = next(line for line in text.splitlines() if line.startswith("| A | B |")).split(" | ")
    assert re.fullmatch(r"\d\.\d\d", rows[2][head.index("could show, points")])
    assert re.fullmatch(r"(\d+|more images) \((\d+|more images)\)", rows[2][head.index("seeds needed")])
    assert "80 % reached after" in text
    assert "99 % reached after" not in text  # no run reached it
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
    assert re.search(r"smallest difference that these runs could show: 80% power: \d\.\d\d percentage points", words)
    assert re.search(
        r"To show 0.5 points between good and poor: \d+ seeds each with 80% power|too few test images", words
    )
    assert "not counted: 1 of 7 runs" in words
    assert "RuntimeError: *no* <memory>" in words
    assert all(len(line) <= width for line in lines if not line.startswith("  "))
