"""What the doctor found is told on the terminal, in doctor.json and on a page."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from cnnlab.doctor.diagnosis import Diagnosis
from cnnlab.doctor.facts import Facts
from cnnlab.doctor.findings import FAULTS, Finding, Where
from cnnlab.doctor.page import draw, render_page
from cnnlab.doctor.report import in_words, record_of, report
from cnnlab.runs.reading import read_run

DEAD = Finding(
    "dead_relus",
    0.95,
    "100% of the ReLUs of conv2 are zero for every image",
    "use leaky ReLUs.",
    "cnnlab train data=digits model=lenet5 'name=my run' optimizer.lr=0.01 trainer.max_epochs=30 data.batch_size=128",
    Where("train/loss", 1, 2),
)
MISSING = {"the run has no checkpoint": ["gradients_vanish", "saturated_units", "underflow"]}


@pytest.fixture
def facts(make_run, tmp_path):
    run = make_run(tmp_path / "run", "lenet5", 0, 0.5, 10)
    return Facts(read_run(run), None)


def test_the_terminal_has_evidence_advice_and_a_command_within_80_columns(facts, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    report(Diagnosis([DEAD], MISSING), facts, Path("out"))
    lines = re.sub(r"\x1b\[\d*m", "", capsys.readouterr().out).splitlines()
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    assert "1. ReLUs are dead (almost certain)" in text
    assert "100% of the ReLUs of conv2 are zero for every image." in text
    assert "Not measured: the run has no checkpoint. So nothing can be said of 3 of the" in text
    command = text[text.index("   cnnlab train") : text.index("\n\nNot measured")].replace("\\\n", "")
    assert shlex.split(command) == shlex.split(DEAD.command)


def test_an_effect_names_the_findings_that_may_have_brought_it_about(facts, tmp_path, capsys):
    rate = Finding("rate_diverges", 0.9, "the loss is infinite", "lower the rate", "cnnlab train optimizer.lr=0.01")
    report(Diagnosis([rate, DEAD], {}), facts, tmp_path)
    assert "2. ReLUs are dead (almost certain; may follow from 1)" in capsys.readouterr().out
    assert "may follow from 1" in (tmp_path / "doctor.html").read_text()
    found = json.loads((tmp_path / "doctor.json").read_text())["findings"]
    assert [one["may_follow_from"] for one in found] == [[], [1]]


def test_nothing_found_is_an_answer(facts, tmp_path, capsys):
    report(Diagnosis([], {}), facts, tmp_path)
    assert "Nothing found." in capsys.readouterr().out
    assert "<h1>Nothing found</h1>" in (tmp_path / "doctor.html").read_text()
    record = json.loads((tmp_path / "doctor.json").read_text())
    assert (record["findings"], set(record["not_found"])) == ([], set(FAULTS))


def test_every_fault_is_found_or_not_or_was_not_measured(facts):
    record = record_of(Diagnosis([DEAD], MISSING), facts)
    found = {finding["fault"] for finding in record["findings"]}
    unknown = {fault for missing in record["not_measured"] for fault in missing["faults"]}
    assert (found, unknown) == ({"dead_relus"}, set(*MISSING.values()))
    assert set(record["not_found"]) == set(FAULTS) - found - unknown
    assert record["findings"][0]["where"] == {"curve": "train/loss", "first": 1, "last": 2}


def test_confidence_in_words_rises_with_the_confidence():
    assert [in_words(c) for c in (0.3, 0.5, 0.7, 0.9)] == ["a weak sign", "possible", "likely", "almost certain"]


def test_the_page_marks_the_epochs_and_escapes_names(facts):
    curves = {"epoch": np.arange(1.0, 5), "train/loss": np.array([2.0, 1.5, 1.2, 1.0])}
    record = record_of(Diagnosis([DEAD], MISSING), facts) | {"about": "<script>"}
    page = render_page(record, curves)
    assert page.count('class="mark"') == 1
    assert "&lt;script&gt;" in page
    assert "<script>" not in page
    assert not [link for link in ("http:", "https:", "src=") if link in page]


def test_a_curve_is_drawn_where_it_has_values():
    """Larger losses are higher (y grows downwards), and a loss that is not finite leaves a gap."""
    panel = draw("loss", {"train/loss": np.array([4.0, 2.0, np.nan, 3.0]), "val/loss": np.full(4, np.nan)}, (2, 3))
    assert panel is not None
    (line,) = panel.lines
    assert (line.name, len(line.parts), len(line.points)) == ("training images", 2, 3)
    heights = [y for _, y in line.points]
    assert heights[0] < heights[2] < heights[1]
    assert panel.mark is not None
    assert panel.mark[0] < line.points[1][0] < panel.mark[0] + panel.mark[1] < line.points[2][0]


def test_a_single_epoch_and_equal_values_can_be_drawn():
    panel = draw("learning rate", {"epoch": np.array([1.0]), "lr": np.array([0.1])})
    assert panel is not None
    assert all(np.isfinite(panel.lines[0].points[0]))
    assert draw("accuracy", {"val/accuracy": np.array([np.nan])}) is None
