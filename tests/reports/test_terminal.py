from pathlib import Path

from cnnlab.reports.terminal import print_summary, suggest_next
from cnnlab.runs.directory import SUMMARY_KEYS

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


def test_a_next_step_is_suggested_on_a_terminal_only(capsys, monkeypatch):
    suggest_next("cnnlab compare runs=runs/sweep")
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    suggest_next("cnnlab compare runs=runs/sweep")
    assert capsys.readouterr() == ("", "Next: cnnlab compare runs=runs/sweep\n")
