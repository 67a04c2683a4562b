"""Commands end well whatever their input and output are."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PRINTS_MUCH = (
    "from cnnlab import streams; streams.prepare(); print('x' * 100_000, flush=True); print('y'); streams.leave({})"
)


def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs Python with stdout and stderr read as text, unless the options say otherwise."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | options.pop("env", {})
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL} | options
    return subprocess.run([sys.executable, *arguments], text=True, timeout=120, env=environment, **options)


def closing(*numbers: int) -> Callable[[], None]:
    def close() -> None:
        for number in numbers:
            os.close(number)

    return close


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)])
@pytest.mark.parametrize("arguments", [["--help"], ["train", "--cfg", "job"]], ids=["help", "configuration"])
def test_closed_streams_do_not_matter(arguments: list[str], closed: tuple[int, ...], tmp_path: Path) -> None:
    ended = run("-m", "cnnlab", *arguments, preexec_fn=closing(*closed), cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert bool(ended.stdout) == (1 not in closed)


def test_a_file_does_not_take_the_place_of_a_closed_stream(tmp_path: Path) -> None:
    writes = "from cnnlab import streams; streams.prepare(); file = open('record', 'w'); print('printed', flush=True)"
    run("-c", f"{writes}; file.write('kept')", preexec_fn=closing(1), cwd=tmp_path)
    assert (tmp_path / "record").read_text() == "kept"


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_lines_of_both_streams_come_in_their_order(unbuffered: str) -> None:
    lines = "import sys; from cnnlab import streams; streams.prepare()"
    for number in range(3):
        lines += f"; print({number}, file=sys.stderr); print({number}, flush=True)"
    environment = {"PYTHONUNBUFFERED": unbuffered}  # an empty one does not count
    assert run("-c", lines, stderr=subprocess.STDOUT, env=environment).stdout.split() == list("001122")


def test_a_program_that_runs_a_command_goes_on_afterwards(tmp_path: Path) -> None:
    script = "import sys; sys.argv = ['cnnlab.describe', 'model=lenet5']\nfrom cnnlab import describe\n"
    ended = run("-c", script + "try: describe.main()\nexcept SystemExit as end: print('code', end.code)", cwd=tmp_path)
    assert ended.stdout.splitlines()[-1] == "code 0"


def test_a_reader_that_leaves_is_no_failure() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    ended = run("-c", PRINTS_MUCH.format(0), stdout=writing)
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("code", [0, 2])
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
def test_output_that_is_lost_is_a_failure(code: int) -> None:
    with Path("/dev/full").open("w") as full:
        ended = run("-c", PRINTS_MUCH.format(code), stdout=full)
    assert ended.returncode == (code or 1)
    assert ended.stderr == "stdout: No space left on device; what was printed is incomplete\n"


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["train", "--cfg", "job"]], ids=" ".join)
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
def test_help_that_is_lost_is_a_failure(arguments: list[str], tmp_path: Path) -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        ended = run("-m", "cnnlab", *arguments, stdout=full, cwd=tmp_path)
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)


def test_ascii_terminals_get_escaped_names() -> None:
    code = r"from cnnlab import streams; streams.prepare(); print('caf\xe9 \udcff')"
    ended = run("-c", code, env={"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"})
    assert (ended.returncode, ended.stdout) == (0, "caf\\xe9 \\udcff\n")


def test_names_are_utf8_in_an_ascii_locale(tmp_path: Path) -> None:
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    ended = run("-m", "cnnlab", "describe", "model=lenet5", "output=größe.md", env=ascii_only, cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert [file.name for file in tmp_path.iterdir()] == ["größe.md"]


def test_a_name_that_no_record_can_hold_is_refused(tmp_path: Path) -> None:
    ended = run("-m", "cnnlab", "train", os.fsdecode(b"data.path=\xff"), cwd=tmp_path)
    assert (ended.returncode, list(tmp_path.iterdir())) == (2, [])
    assert (
        ended.stderr
        == "data.path=\N{REPLACEMENT CHARACTER}: records hold UTF-8 alone; rename the file, or give it a link\n"
    )


def test_an_interrupted_command_does_not_wait_for_a_thread_that_hangs() -> None:
    hangs = "import threading; threading.Thread(target=threading.Event().wait).start()"
    ended = run("-c", f"{hangs}; from cnnlab import streams; streams.prepare(); streams.leave(130)")
    assert ended.returncode == 130


def test_an_interrupted_command_calls_what_was_registered_and_does_not_wait_for_threads() -> None:
    program = (
        "import atexit, threading, time; from cnnlab import streams; streams.prepare()\n"
        "atexit.register(print, 'tidied', flush=True); threading.Thread(target=time.sleep, args=(60,)).start()\n"
        "streams.leave(130)"
    )
    started = time.monotonic()
    ended = run("-c", program)
    assert (ended.returncode, ended.stdout) == (130, "tidied\n")
    assert time.monotonic() - started < 30
