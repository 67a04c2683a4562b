"""The measuring scripts run, on a few images."""

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
