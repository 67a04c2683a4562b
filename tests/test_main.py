import sys

import pytest

from cnnlab.__main__ import COMMANDS, main


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["cnnlab", *arguments])
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",)])
def test_help_lists_the_commands(monkeypatch, capsys, arguments):
    assert run(monkeypatch, *arguments) == 0
    printed = capsys.readouterr().out
    assert all(command in printed for command in COMMANDS)


def test_an_unknown_command_is_told_the_nearest(monkeypatch, capsys):
    assert run(monkeypatch, "trian") == 2
    assert "did you mean train?" in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(monkeypatch, capsys, tmp_path, command):
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, command, "--help") == 0
    assert f"cnnlab.{command}" in capsys.readouterr().out
