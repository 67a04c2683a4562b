"""`cnnlab benchmark` from the outside."""

import json
import subprocess
import sys

import pytest

WRONG = {
    "models=[resnet81]": "model=resnet81 is not known; did you mean model=resnet18?",
    "models=lenet5": "models must be a list of names",
    "batch_sizes=[0]": "batch_sizes must be 1 or more, got [0]",
    "precisions=[bf17]": "precisions must be one of auto, 32-true, bf16-mixed, bf16-true, 16-mixed, got ['bf17']",
    "compile=[]": "compile must have at least one entry",
    "batch_sizes=[]": "batch_sizes must have at least one entry",
    "rounds=0": "rounds must be 1 or more",
    "steps=many": "steps must be a whole number or null, got 'many'",
    "output=x.txt": "output: x.txt must end in .json",
    "figure=nowhere/x.png": "figure: the folder of nowhere/x.png does not exist",
    "modles=[lenet5]": "modles is not a key; did you mean models?",
    "data.path=nowhere": "data.path",
    "resume=run": "resume: leave it out; a benchmark trains anew",
}

BROKEN = """
from torch import nn

class Broken(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.head = nn.Linear(3072, num_classes)

    def forward(self, images):
        if len(images) > 8:
            raise MemoryError("no room")
        return self.head(images.flatten(1))
"""


@pytest.mark.parametrize("override", WRONG)
def test_a_wrong_request_is_explained_and_leaves_nothing(command, tmp_path, override):
    outcome = command("benchmark", override)
    assert (outcome.code, WRONG[override] in outcome.err) == (2, True), outcome.err
    assert len(outcome.err.strip().splitlines()) <= 2
    assert tmp_path.is_dir() and not any(tmp_path.iterdir())


def test_help_does_not_import_torch(tmp_path):
    program = (
        "import sys, runpy; sys.argv = ['benchmark', '--help']\n"
        "try: runpy.run_module('cnnlab.benchmark', run_name='__main__')\n"
        "finally: assert not {'torch', 'lightning', 'matplotlib'} & set(sys.modules), 'imported too much'"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "models=" in done.stdout


def test_a_benchmark_leaves_what_it_was_asked_for_and_nothing_else(command, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    outcome = command(
        *("benchmark", "models=[lenet5]", "batch_sizes=[16]", "precisions=[32-true]", "data=digits", "steps=3"),
        *("rounds=1", "output=benchmark.json", "figure=benchmark.png"),
    )
    assert outcome.code == 0, outcome.err
    assert sorted(file.name for file in tmp_path.iterdir()) == ["benchmark.json", "benchmark.png"]
    record = json.loads((tmp_path / "benchmark.json").read_text())
    (row,) = record["results"]
    assert (record["images"], record["recipe"], record["rounds"]) == ("digits", "fast", 1)
    assert (row["model"], row["batch_size"], row["precision"], row["training"]["steps"]) == ("lenet5", 16, "32-true", 3)
    assert row["training"]["images_per_second"] < row["inference"]["images_per_second"]
    assert f"{row['training']['images_per_second']:,.0f}" in outcome.out
    assert "Next: cnnlab benchmark" in outcome.err and "floor=true" in outcome.err


@pytest.mark.slow
def test_a_combination_that_fails_is_told_beside_the_others(command, tmp_path):
    (tmp_path / "broken.py").write_text(BROKEN)
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "broken.yaml").write_text("_target_: broken.Broken\n")
    outcome = command(
        *("benchmark", "models=[broken,lenet5]", "batch_sizes=[16]", "data=digits", "steps=2", "rounds=1"),
        *("floor=true", "output=benchmark.json"),
    )
    assert outcome.code == 1
    assert "1 of 2 combinations failed; the first: MemoryError: no room" in outcome.err
    assert "lenet5" in outcome.out
    rows = json.loads((tmp_path / "benchmark.json").read_text())["results"]
    row = next(row for row in rows if row["model"] == "lenet5")
    assert 0 < row["training"]["floor_share"] < 1
