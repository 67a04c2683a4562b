"""The wheel, installed as users install it."""

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

PROJECT = Path(__file__).parents[1]


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    # Python's own variables would let the new environment see this one.
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(command, cwd=cwd, env=clean | environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_wheel_trains_from_any_directory(tmp_path):
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", tmp_path, PROJECT, cwd=tmp_path)
    (wheel,) = tmp_path.glob("cnnlab-*.whl")
    assert {f"cnnlab/inspection/{file}" for file in ("page/page.html", "live/live.html", "live/engine.js")} <= set(
        zipfile.ZipFile(wheel).namelist()
    )
    environment = tmp_path / "venv"
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", wheel, cwd=tmp_path)
    # The packages of this environment, which take minutes to install, but not the checkout that it points to:
    # what such a path holds is read for packages only, and not for .pth files.
    packages = {"PYTHONPATH": sysconfig.get_path("purelib")}
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    where = run(python, "-c", "import cnnlab; print(cnnlab.__file__)", cwd=elsewhere, **packages)
    assert Path(where.strip()).is_relative_to(environment)
    options = ("experiment=demo", "trainer.max_epochs=2", "hydra.run.dir=run", f"data.cache={tmp_path / 'cache'}")
    run(environment / "bin" / "cnnlab", "train", *options, cwd=elsewhere, **packages)
    assert json.loads((elsewhere / "run" / "summary.json").read_text())["status"] == "completed"
    assert "resnet18" in run(python, "-m", "cnnlab.train", "--help", cwd=elsewhere, **packages)
    # Hydra finds the launcher of sweeps, which lies beside the package.
    assert "IsolatedLauncher" in run(python, "-m", "cnnlab.train", "--info", "plugins", cwd=elsewhere, **packages)
