"""The help of the commands, made from the comments of their YAML files."""

import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from cnnlab.__main__ import COMMANDS
from cnnlab.config.help import merge, read_all_keys, read_keys
from cnnlab.config.paths import ROOT, list_names


def words(text: str) -> str:
    return " ".join(text.split())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a file that extends another one."""
    (tmp_path / "base.yaml").write_text("# A base\nsize: 3  # in pixels\nmode: 'off'  # on | off\n")
    extending = tmp_path / "own.yaml"
    extending.write_text(
        "# A description\n"
        "defaults:\n"
        "  - base  # what it starts from\n"
        "  - model: article  # network\n"
        "  - override hydra/launcher: isolated\n"
        "  - _self_\n"
        "size: 5\n"
        "# Section\n"
        "layer:             # of the network\n"
        "  _target_: Layer\n"
        "  width: [1, 2]    # channels; this text\n"
        "                   # goes on\n"
        "hydra:\n"
        "  job: x\n"
    )
    return extending


@pytest.mark.parametrize("program", COMMANDS)
def test_help_fits_80_columns_and_describes_every_key(command, program):
    outcome = command(program, "--help")
    assert (outcome.code, outcome.err) == (0, "")
    assert max(map(len, outcome.out.splitlines())) <= 80
    assert not re.search(r"[ \t]$|python -m", outcome.out, re.MULTILINE)
    keys = read_keys(ROOT / "conf" / f"{program}.yaml")
    assert keys
    for name, key in keys.items():
        assert re.search(rf"^  {re.escape(name)}[=.]", outcome.out, re.MULTILINE), name
        assert key.comment or name in ("data", "logger", "hydra/launcher", "hydra/sweeper"), name
        assert words(key.comment) in words(outcome.out)


def test_common_keys_come_first_and_each_key_once(train):
    printed = train("--help").out
    names = re.findall(r"^  ([\w./]+)(?:=|\.\*)", printed.partition("Common keys")[2].partition("\nSweeps")[0], re.M)
    assert names[:9] == [
        *("model", "data", "data.path", "recipe", "trainer.max_epochs", "budget", "trainer.devices", "data.batch_size"),
        "optimizer.lr",
    ]
    assert sorted(names) == sorted(set(names))
    assert {"trainer.precision", "data.residence", "model.dropout", "logger.tensorboard.graph"} <= set(names)


def test_help_shows_the_chosen_files_and_the_users_own(train, tmp_path):
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "mynet.yaml").write_text("# My network.\n_target_: my.Net\nwidgets: 3  # how many\n")
    printed = train("--help", "model=mynet", "recipe=speedrun").out
    assert "model=mynet\n  My network.\n\n  model.widgets=3         how many\n" in printed
    assert "trainer.max_epochs=8 " in printed
    assert "optimizer.ns_steps=3" in printed
    assert "mynet, " in words(printed)


@pytest.mark.parametrize("group", ["model", "data", "recipe", "trainer", "logger", "callbacks"])
def test_every_file_and_key_is_described(group):
    for name in list_names(group, ROOT):
        file = ROOT / "conf" / group / f"{name}.yaml"
        assert file.read_text().startswith("# ")
        keys = read_all_keys(file)
        if group == "recipe":  # describes what it changes; other values have their comments in the groups
            known = read_all_keys(ROOT / "conf" / "train.yaml")
            for other in ("trainer/auto", "data/cifar10"):
                merge(known, read_all_keys(ROOT / "conf" / f"{other}.yaml", f"{Path(other).parent}."))
            keys = {key: value for key, value in keys.items() if key not in known}
        parents = {key.rpartition(".")[0] for key in keys}
        assert not [key for key, value in keys.items() if not value.comment and key not in parents]


def test_keys_are_read_with_values_comments_and_sections(file):
    keys = read_all_keys(file)
    assert {name: (key.value, key.comment, key.section, key.group) for name, key in keys.items()} == {
        "size": ("5", "in pixels", "", False),
        "mode": ("'off'", "on | off", "", False),
        "model": ("article", "network", "", True),
        "hydra/launcher": ("isolated", "", "", True),
        "layer": ("", "of the network", "Section", False),
        "layer.width": ("[1, 2]", "channels; this text goes on", "Section", False),
    }
    assert set(read_keys(file, "data.")) == {f"data.{name}" for name in keys if name != "mode"}


def run_program(program: str, directory: Path) -> tuple[subprocess.CompletedProcess[str], float]:
    """Runs Python code in a process; with its processor time, which does not count what else the machine does."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", program], cwd=directory, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (done.returncode, done.stderr) == (0, "")
    return done, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.parametrize("command", ["train", "describe"])
def test_help_is_quick_lists_the_choices_and_does_not_import_torch(tmp_path, command):
    program = (
        f"import sys, runpy; sys.argv = ['{command}', '--help']\n"
        f"try: runpy.run_module('cnnlab.{command}', run_name='__main__')\n"
        "finally: assert not {'torch', 'lightning', 'datasets'} & set(sys.modules), 'imported too much'"
    )
    seconds, least = [], []
    for _ in range(3):
        done, took = run_program(program, tmp_path)
        seconds.append(took)
        least.append(run_program("import hydra", tmp_path)[1])
        assert f"network; choices: {', '.join(list_names('model', ROOT))}" in words(done.stdout)
        assert "data.image_size=" in done.stdout
    assert min(seconds) < 8 * min(least)  # 4 to 5 times
    assert not any(tmp_path.iterdir())
