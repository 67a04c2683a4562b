"""The measuring scripts run, on a few images."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SPEED = Path(__file__).parents[2] / "experiments" / "speed"

pytestmark = pytest.mark.slow


def run(script: str, *arguments: str | Path) -> str:
    command = [sys.executable, str(SPEED / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=os.environ)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_data_path_is_compared(parquet_folder):
    printed = run("data_path.py", "--path", parquet_folder, "--rounds", "1", "--ways", "cnnlab", "torchvision-0")
    assert "cnnlab" in printed
    assert "torchvision-0" in printed


def test_the_overhead_is_measured(parquet_folder):
    printed = run("overhead.py", "--path", parquet_folder, "--rounds", "1", "--batch-sizes", "16", "--limit", "3")
    assert "ratio" in printed


def test_the_peers_take_turns(parquet_folder, tmp_path):
    output = tmp_path / "peers.json"
    ways = ("tutorial-2", "by-hand", "cnnlab")
    small = ("--models", "lenet5", "--batch-size", "16", "--steps", "3", "--rounds", "1", "--ways", *ways)
    printed = run("peers.py", "--path", parquet_folder, *small, "--output", output)
    (result,) = json.loads(output.read_text())["results"]
    assert tuple(result["ways"]) == ways
    assert all(row["images"] == 3 * 16 for row in result["ways"].values())
    assert all(len(ratios) == 1 for ratios in result["ratios"].values())
    assert "| cnnlab / by-hand |" in printed
    assert result["errors"] == {}


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_the_peers_precision_can_be_chosen(parquet_folder, precision):
    small = ("--models", "lenet5", "--batch-size", "16", "--steps", "2", "--rounds", "1", "--ways", "by-hand", "cnnlab")
    printed = run("peers.py", "--path", parquet_folder, *small, "--precision", precision)
    assert f"; {precision}; " in printed
    assert "| cnnlab / by-hand |" in printed


def test_cheaper_ways_take_turns_with_the_network_as_it_is_written():
    printed = run("cheaper.py", "--models", "lenet5", "--batch-size", "8", "--steps", "2")
    for way in ("as written", "pool first", "all"):
        assert f"| lenet5 | {way} |" in printed


def test_many_runs_are_compared():
    printed = run("compare.py", "--runs", "6", "--seeds", "3", "--images", "200", "--epochs", "3")
    assert "6 runs in 2 groups, 200 test images, 3 epochs" in printed
    assert "MiB" in printed


def test_predicting_takes_turns_with_loops_written_by_hand(parquet_folder):
    small = ("--files", "20", "--rounds", "1", "--batch-size", "8", "--side", "40", "--ways", "predict", "loop")
    printed = run("predict.py", "--path", parquet_folder, *small)
    assert "| predict / loop |" in printed


SMALL_PLAN = {
    **dict.fromkeys(("MODELS", "MORE", "TRAINED", "FASTEST", "PEER_MODELS"), "lenet5"),
    **{"MODES": "off", "LAST_MODE": "off", "BATCH": "16", "STEPS": "2", "PEER_STEPS": "2", "PEER_BATCH": "16"},
    **{"SEEDS": "0,1", "EPOCHS": "1", "EXTRA": "data.batch_size=16"},
    **{"SLOWER": "20", "SECONDS_IN_ALL": "3000", "PYTHON": sys.executable},
}


def plan(data: Path, out: Path, **changes: str) -> tuple[int, str]:
    """Run the plan for a GPU on this machine; return its exit code and its report."""
    environment = {**os.environ, **SMALL_PLAN, "OUT": str(out), **changes}
    done = subprocess.run(
        ["bash", SPEED / "gpu.sh", data], capture_output=True, text=True, env=environment, timeout=3000
    )
    assert done.stderr == ""
    return done.returncode, (out / "report.txt").read_text()


def test_the_plan_for_a_gpu_runs_small_on_a_cpu(parquet_folder, tmp_path):
    code, report = plan(parquet_folder, tmp_path / "out", SMOKE="--batch-size 16 --fraction 1")
    assert code == 0, report
    parts = ("versions and images", "smoke", "profile", "benchmark off", "benchmark lenet5", "speedrun", "lenet5")
    for part in (*parts, "peers lenet5"):
        assert f"## {part}\n" in report
        assert f"- {part}: " in report
    assert "FAILED" not in report
    assert report.count("\nok ") == 9
    written = {file.name for file in (tmp_path / "out").iterdir()}
    assert written >= {"report.txt", "benchmark-off.json", "peers-lenet5.json", "runs-speedrun.json", "profile"}
    assert len(json.loads((tmp_path / "out" / "runs-speedrun.json").read_text())) == 2


def test_nothing_is_measured_if_the_smoke_test_fails(parquet_folder, tmp_path):
    code, report = plan(parquet_folder, tmp_path / "out", SMOKE="--only fast --fraction 7")
    assert code == 1
    assert "FAILED fast" in report
    assert "data.fraction must be" in report
    assert "- smoke: exit code 1" in report
    assert "benchmark" not in report
