"""Test a comparison as Markdown, CSV and terminal table."""

import csv
import io
import re

import pytest

from cnnlab.comparison.compare import compare_runs
from cnnlab.comparison.text import print_comparison, render_csv, render_latex, render_markdown
from cnnlab.runs.reading import find_runs, read_run


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


@pytest.mark.parametrize("width", [50, 80, 100, 140])
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
    assert all(len(line) <= width for line in lines)
    heads = {50: "test accuracy", 80: "seconds", 100: "seconds", 140: "images/s"}  # on the right
    assert next(line for line in lines if line.startswith(" group")).rstrip().endswith(heads[width])


def test_latex_has_a_row_for_each_group_and_no_commands_of_strangers(record):
    text = render_latex(record)
    lines = text.splitlines()
    assert [lines.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 1, 1]
    head, good, poor, tricky = (line for line in lines if line.endswith(r"\\"))
    assert head.startswith(r"group & n & test accuracy, \% & 95 \% interval & ")
    assert re.match(r"good & 3 & 9\d\.\d\d \$\\pm\$ \d\.\d\d & ", good)
    assert tricky.startswith("$<$/script$>$$<$b$>$|net & 1 & ")
    assert {line.count(" & ") for line in (head, good, poor, tricky)} == {head.count(" & ")}
    assert "% not counted: " in text and "RuntimeError: *no* <memory>" in text


def test_the_terminal_shows_what_can_be_compared_and_counts_the_rest(make_run, tmp_path, capsys):
    for seed in range(2):
        make_run(tmp_path / f"a{seed}", "net", seed)
    make_run(tmp_path / "b", "net", protocol="article")
    print_comparison(compare_runs([read_run(path) for path in find_runs([str(tmp_path)])]), 80)
    words = " ".join(capsys.readouterr().out.split())
    assert words.startswith("cifar10, 1,000 test images ")
    assert "1 run cannot be compared with these: cifar10, 1,000 test images, " in words
    assert "format=markdown prints them" in words
