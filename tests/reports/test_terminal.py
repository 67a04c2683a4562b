import re
import time
from pathlib import Path

from rich.text import Text

from cnnlab.reports.terminal import JobTable, print_summary
from cnnlab.runs.directory import SUMMARY_KEYS
from cnnlab.runs.jobs import Job

FIGURES = {
    **{
        "status": "completed",
        "name": "demo",
        "model": "lenet5",
        "recipe": "fast",
        "data": "digits",
        "protocol": "holdout",
    },
    **{"parameters": 62006, "macs": 651720, "epochs": 30, "steps": 1290, "train_seconds": 12.34, "best_epoch": 7},
    **{"test_accuracy": 0.98765, "val_accuracy": 0.5, "images_per_second": 4321.0, "precision": "32-true"},
}


def test_the_closing_table_shows_the_figures(capsys):
    print_summary(dict.fromkeys(SUMMARY_KEYS) | FIGURES, Path("runs/demo"))
    printed = capsys.readouterr().out
    for text in ("98.77%", "50.00%", "epoch 7 (held-out images)", "62,006", "12.3 s", "4,321 images/s", "runs/demo"):
        assert text in printed


def test_figures_that_are_not_known_are_dashes(capsys):
    print_summary(dict.fromkeys(SUMMARY_KEYS) | FIGURES | {"test_accuracy": None}, Path("runs/demo"))
    assert any("test accuracy" in line and " - " in line for line in capsys.readouterr().out.splitlines())


def test_a_terminal_shows_a_table_of_running_jobs(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    (tmp_path / "summary.json").write_text('{"epochs": 2, "val_accuracy": 0.5}')
    running = Job("vgg11", [], [], tmp_path, epochs=4, state="running", started=time.monotonic())
    with JobTable() as table:
        line = Text("[0/1] started vgg11")
        line.append("  optimizer.lr=0.1 optimizer.momentum=0.9 " * 9, "dim")
        table.print(line)
        table.show("1 running", [running])
        assert not table.is_due()
    printed = capsys.readouterr().out
    assert "vgg11" in printed and "2/4" in printed and "50.00%" in printed
    first = re.sub(r"\x1b\[[?0-9;]*[a-z]", "", printed.partition("\n")[0])
    assert first.endswith("…") and len(first) <= 80
