"""Let small functions take turns in processes that start without torch."""

import importlib
import time
from pathlib import Path
from types import ModuleType

import pytest

from cnnlab.errors import RequestError
from cnnlab.speed.turns import Contestant, take_turns

WORK = """
import os, time
from cnnlab.errors import RequestError

def log_turns(task, report):
    def line(text):
        with open(task["log"], "a") as stream:
            stream.write(f"{task['name']} {text}\\n")
    line("ready")
    turn, go_on = 0, report(os.getpid())
    while go_on:
        turn += 1
        line(turn)
        go_on = report((task["name"], turn))
    line("end")

def fail_in_the_second_turn(task, report):
    report("ready")
    report("first")
    raise MemoryError("no room")

def die(task, report):
    report("ready")
    os._exit(9)

def refuse(task, report):
    raise RequestError("model: no such thing")
"""


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    (tmp_path / "work_of_a_test.py").write_text(WORK)
    monkeypatch.syspath_prepend(tmp_path)
    return importlib.reload(importlib.import_module("work_of_a_test"))


def test_every_second_round_goes_backwards(work, tmp_path):
    contestants = [Contestant(work.log_turns, {"name": name, "log": str(tmp_path / "log")}) for name in "ab"]
    shown: list[str] = []
    reports = take_turns(contestants, 2, shown.append)
    assert [own[1:] for own in reports] == [[("a", 1), ("a", 2)], [("b", 1), ("b", 2)]]
    assert reports[0][0] != reports[1][0]  # two processes
    lines = (tmp_path / "log").read_text().splitlines()
    assert lines[:6] == ["a ready", "b ready", "a 1", "b 1", "b 2", "a 2"]
    assert sorted(lines[6:]) == ["a end", "b end"]  # without being killed
    assert shown == ["starting 1/2", "starting 2/2", "round 1/2", "round 2/2"]
    assert all(0 < contestant.startup_seconds < 60 and contestant.error is None for contestant in contestants)


def test_a_process_that_fails_or_dies_does_not_stop_the_others(work, tmp_path, capfd):
    contestants = [
        Contestant(work.fail_in_the_second_turn, {}),
        Contestant(work.die, {}),
        Contestant(work.log_turns, {"name": "c", "log": str(tmp_path / "log")}),
    ]
    reports = take_turns(contestants, 3, lambda text: None)
    assert [len(own) for own in reports] == [2, 1, 4]
    assert [contestant.error for contestant in contestants] == [
        "MemoryError: no room",
        "the process ended with code 9",
        None,
    ]
    assert "fail_in_the_second_turn" in capfd.readouterr().err  # the traceback


def test_a_wrong_request_ends_all_processes(work, tmp_path):
    others = Contestant(work.log_turns, {"name": "a", "log": str(tmp_path / "log")})
    started = time.perf_counter()
    with pytest.raises(RequestError, match="model: no such thing"):
        take_turns([others, Contestant(work.refuse, {})], 3, lambda text: None)
    assert time.perf_counter() - started < 60
    assert others._process is not None and not others._process.is_alive()
