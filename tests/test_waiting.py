"""On a terminal, a command says what it does before it imports anything slow; elsewhere it does not."""

import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PREPARED = "from cnnlab import streams, waiting; streams.prepare(); "
ERASED = "\r\x1b[K"


def on_a_terminal(*arguments: str, cwd: Path | None = None, **environment: str) -> tuple[str, float]:
    """Return what a command prints on a terminal, and the seconds until it begins to."""
    ours, theirs = pty.openpty()
    known = os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm"} | environment
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, *arguments], stdin=theirs, stdout=theirs, stderr=theirs, env=known, cwd=cwd
    )
    os.close(theirs)
    printed, first = b"", 0.0
    while True:
        try:
            part = os.read(ours, 1 << 16)
        except OSError:  # the command has ended
            break
        first = first or time.monotonic() - started
        printed += part
    process.wait(60)
    os.close(ours)
    return printed.decode().replace("\r\n", "\n"), first


@pytest.mark.parametrize("start", [["-m", "cnnlab", "describe"], ["-m", "cnnlab.describe"]])
def test_a_command_says_at_once_what_it_does(start, tmp_path):
    printed, seconds = on_a_terminal(*start, "model=lenet5", cwd=tmp_path)
    assert "Loading PyTorch ..." in printed and seconds < 3  # on a busy machine; one second on others
    kept = [line.rpartition(ERASED)[2].rpartition("\r")[2] for line in printed.split("\n")]
    assert not any("..." in line for line in kept) and any("Conv2d" in line for line in kept)


def test_a_wrong_request_takes_the_place_of_the_line(tmp_path):
    printed, _ = on_a_terminal("-m", "cnnlab", "describe", "modl=lenet5", cwd=tmp_path)
    assert printed.rpartition(ERASED)[2] == "modl is not a key; did you mean model?\n"


def test_nothing_is_said_without_a_terminal(tmp_path):
    command = [sys.executable, "-m", "cnnlab", "describe", "model=lenet5"]
    ended = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True
    )
    assert "Loading" not in ended.stdout + ended.stderr


def test_the_line_tells_the_seconds_after_some():
    waits = PREPARED + "waiting.PATIENCE = 0.5; waiting.tell('Counting'); import time; time.sleep(1.6); print('done')"
    printed, _ = on_a_terminal("-c", waits)
    assert printed == f"\rCounting ...\x1b[K\rCounting ... 1 s\x1b[K{ERASED}done\n"


def test_a_terminal_that_cannot_erase_gets_lines():
    printed, _ = on_a_terminal("-c", PREPARED + "waiting.tell('Counting'); print('done')", TERM="dumb")
    assert printed == "Counting ...\ndone\n"


def test_help_fits_the_terminal(tmp_path):
    printed, _ = on_a_terminal("-m", "cnnlab", "train", "--help", cwd=tmp_path, COLUMNS="60")
    shown = printed.rpartition(ERASED)[2]
    assert "optimizer.lr" in shown and max(map(len, shown.split("\n"))) <= 60
