"""How `make` finds or gets a Python, with stand-ins for python and uv that write down how they are called."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

MAKEFILE = Path(__file__).parents[1] / "Makefile"
pytestmark = pytest.mark.skipif(not shutil.which("make"), reason="needs make")

# A Python of the given version: answers the version check, makes environments whose Python is itself, and installs.
PYTHON = """#!/bin/sh
echo "python $*" >> "$CALLS"
case "$*" in
  *sys.version_info*) exit {unfit} ;;
  "-m venv .uv") {no_network}; mkdir -p .uv/bin; cp "$0" .uv/bin/python ;;
  "-m venv .venv") mkdir -p .venv/bin; cp "$0" .venv/bin/python ;;
  *"install uv") mkdir -p .uv/bin; cp "$UV" .uv/bin/uv ;;
  *"--target"*) exit 1 ;;
esac
"""
UV = """#!/bin/sh
echo "uv $*" >> "$CALLS"
case "$*" in venv*) mkdir -p .venv/bin ;; esac
"""


@pytest.fixture
def make(tmp_path):
    project, path = tmp_path / "project with a space", tmp_path / "bin"
    project.mkdir()
    path.mkdir()
    shutil.copy(MAKEFILE, project)
    (project / "pyproject.toml").touch()
    for tool in ("sh", "make", "mkdir", "cp", "touch", "expand", "echo"):
        (path / tool).symlink_to(shutil.which(tool) or pytest.skip(f"needs {tool}"))
    calls = tmp_path / "calls"
    uv = tmp_path / "uv"

    def write(file: Path, text: str) -> None:
        file.write_text(text)
        file.chmod(0o755)

    def run(fits: bool, has_uv: bool = False, network: bool = True, python: bool = True):
        write(uv, UV)
        if python:
            write(path / "python3", PYTHON.format(unfit=int(not fits), no_network=":" if network else "exit 1"))
        if has_uv:
            write(path / "uv", UV)
        done = subprocess.run(
            ["make", ".venv/ready"],
            cwd=project,
            env={"PATH": str(path), "CALLS": str(calls), "UV": str(uv)} | {"HOME": os.environ.get("HOME", "/")},
            capture_output=True,
            text=True,
        )
        made = [line for line in calls.read_text().splitlines() if "version_info" not in line] if calls.exists() else []
        return done, made

    return run


def test_a_fitting_python_makes_the_environment_with_venv_and_pip(make):
    done, calls = make(fits=True)
    assert done.returncode == 0, done.stderr
    assert calls[0] == "python -m venv .venv"
    assert calls[1].startswith("python -m pip install") and calls[1].endswith("-e .")


def test_uv_makes_the_environment_if_it_is_there(make):
    done, calls = make(fits=True, has_uv=True)
    assert done.returncode == 0, done.stderr
    assert calls[0].startswith("uv venv") and "--python python3" in calls[0]
    assert calls[1] == "uv pip install --quiet --python .venv/bin/python -e ."


def test_uv_brings_a_python_if_none_fits(make):
    done, calls = make(fits=False, has_uv=True)
    assert done.returncode == 0, done.stderr
    assert "--python 3.13" in calls[0]


def test_another_python_gets_uv_which_brings_one_that_fits(make):
    done, calls = make(fits=False)
    assert done.returncode == 0, done.stderr
    assert calls[0] == "python -m venv .uv"
    assert calls[2].startswith("uv venv") and "--python 3.13" in calls[2]
    assert calls[3].startswith("uv pip install")


@pytest.mark.parametrize("python", [True, False], ids=["an unfit python", "no python"])
def test_without_a_fitting_python_and_network_a_line_says_what_to_install(make, python):
    done, _ = make(fits=False, network=False, python=python)
    assert done.returncode == 2
    assert done.stderr.startswith("cnnlab needs Python 3.11, 3.12 or 3.13")
    assert "install" in done.stderr
