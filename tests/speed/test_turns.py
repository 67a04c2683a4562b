"""Contestants are processes; what they run is written here, so that they start without torch."""

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

def note(task, answer):
    def line(text):
        with open(task["log"], "a") as stream:
            stream.write(f"{task['name']} {text}\\n")
    line("ready")
    turn, go_on = 0, answer(os.getpid())
    while go_on:
        turn += 1
        line(turn)
        go_on = answer((task["name"], turn))
    line("end")

def fail_in_the_second_turn(task, answer):
    answer("ready")
    answer("first")
    raise MemoryError("no room")

def die(task, answer):
    answer("ready")
    os._exit(9)

def refuse(task, answer):
    raise RequestError("model: no such thing")
"""


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    (tmp_path / "work_of_a_test.py").write_text(WORK)
    monkeypatch.syspath_prepend(tmp_path)
    return importlib.reload(importlib.import_module("work_of_a_test"))


def test_processes_take_turns_forth_and_back(work, tmp_path):
    contestants = [Contestant(work.note, {"name": name, "log": str(tmp_path / "log")}) for name in "ab"]
    said: list[str] = []
    answers = take_turns(contestants, 2, said.append)
    assert [given[1:] for given in answers] == [[("a", 1), ("a", 2)], [("b", 1), ("b", 2)]]
    assert answers[0][0] != answers[1][0]  # two processes
    lines = (tmp_path / "log").read_text().splitlines()
    assert lines[:6] == ["a ready", "b ready", "a 1", "b 1", "b 2", "a 2"]
    assert sorted(lines[6:]) == ["a end", "b end"]  # they ended by themselves
    assert said == ["starting 1/2", "starting 2/2", "round 1/2", "round 2/2"]
    assert all(0 < contestant.startup_seconds < 60 and contestant.error is None for contestant in contestants)


def test_one_that_fails_or_dies_does_not_stop_the_others(work, tmp_path, capfd):
    contestants = [
        Contestant(work.fail_in_the_second_turn, {}),
        Contestant(work.die, {}),
        Contestant(work.note, {"name": "c", "log": str(tmp_path / "log")}),
    ]
    answers = take_turns(contestants, 3, lambda text: None)
    assert [len(given) for given in answers] == [2, 1, 4]
    assert [contestant.error for contestant in contestants] == [
        "MemoryError: no room",
        "the process ended with code 9",
        None,
    ]
    assert "fail_in_the_second_turn" in capfd.readouterr().err  # the traceback


def test_a_wrong_request_ends_all(work, tmp_path):
    others = Contestant(work.note, {"name": "a", "log": str(tmp_path / "log")})
    started = time.perf_counter()
    with pytest.raises(RequestError, match="model: no such thing"):
        take_turns([others, Contestant(work.refuse, {})], 3, lambda text: None)
    assert time.perf_counter() - started < 60
    assert not others._process.is_alive()
