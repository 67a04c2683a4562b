"""The scripts run as files in a checkout, also if cnnlab is not installed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(
    file.relative_to(ROOT).as_posix()
    for folder in ("experiments", "docs")
    for file in (ROOT / folder).rglob("*.py")
    if "__main__" in file.read_text()
)


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_finds_cnnlab_if_it_is_not_installed(tmp_path, script):
    packages = os.pathsep.join(entry for entry in sys.path if entry.endswith("site-packages"))
    # Without `site`, an editable installation is not found. All but the imports ends at a wrong argument.
    command = [sys.executable, "-S", str(ROOT / script), "--help"]
    environment = {**os.environ, "PYTHONPATH": packages}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert "ModuleNotFoundError" not in done.stderr
    assert "Traceback" not in done.stderr or "ValueError" in done.stderr
