"""The README's examples, run as they stand."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

README = (Path(__file__).parents[1] / "README.md").read_text()
SHORT = ("trainer.max_epochs=1", "trainer.limit_train_batches=2", "data.batch_size=8", "logger=none")


@pytest.fixture
def examples(tmp_path: Path) -> None:
    """Writes every code block that starts with the name of its file."""
    files = re.findall(r"```\w+\n(# (\S+\.(?:py|yaml))\n.*?)```", README, re.DOTALL)
    assert {name for _, name in files} == {
        *("mynet.py", "conf/model/mynet.yaml", "conf/recipe/adam.yaml"),
        *("experiments/mine.yaml", "experiments/depth.yaml", "conf/search/mine.yaml"),
    }
    for text, name in files:
        assert len(text.splitlines()) <= 15
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    for i in range(24):
        folder = tmp_path / "flowers" / ("rose", "tulip")[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(i).integers(0, 255, (80, 70, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{i}.jpg")


def commands() -> list[str]:
    """The README's `cnnlab train ...` lines that need no download."""
    lines = re.findall(r"^cnnlab train (.*?)(?:\s+#.*)?$", README, re.MULTILINE)
    return [line for line in lines if "data=" in line]


def test_there_are_commands_to_try():
    assert len(commands()) >= 4


@pytest.mark.parametrize("arguments", commands())  # `command` is a fixture
def test_a_command_of_the_readme_runs(train, examples, tmp_path, arguments):
    short = [option for option in SHORT if option != "logger=none" or "logger." not in arguments]
    outcome = train(*arguments.split(), *short, "hydra.run.dir=run")
    assert outcome.code == 0, outcome.err
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "completed"


def test_the_readmes_experiment_runs(train, examples, tmp_path):
    assert train("experiment=mine", "data=digits", *SHORT, "hydra.run.dir=run").code == 0
    record = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (record["name"], record["model"], record["recipe"]) == ("mine", "resnet18", "standard")


def test_the_readmes_sweep_composes(train, examples, tmp_path):
    outcome = train("experiment=depth", "hydra.mode=RUN", "model=lenet5", "data=digits", *SHORT, "hydra.run.dir=run")
    assert outcome.code == 0, outcome.err
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["name"] == "depth"


def test_the_readmes_search_runs(command, examples, tmp_path):
    outcome = command("tune", "search=mine", "model=lenet5", "data=digits", *SHORT, "trials=1", "name=study")
    assert outcome.code == 0, outcome.err
    study = json.loads((tmp_path / "runs" / "study" / "tune.json").read_text())
    names = {entry["name"] for entry in study["space"]}
    assert names == {"optimizer.lr", "recipe", "optimizer.sgd_lr [recipe=speedrun]"}
    assert study["counts"]["completed"] == 1


@pytest.fixture
def trained(train, tmp_path) -> Path:
    """A run where the README has one, and the pictures that it speaks of."""
    run = tmp_path / "runs" / "lenet5" / "DATE"
    assert train("model=lenet5", "data=digits", *SHORT, f"hydra.run.dir={run}").code == 0
    (tmp_path / "photos").mkdir()
    for name in ("cat.jpg", "dog.png", "photos/owl.jpg"):
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8)).save(tmp_path / name)
    return run


def test_the_commands_on_a_trained_network_run(command, trained):
    lines = re.findall(r"^cnnlab (\w+) (checkpoint=.*?)(?:\s+#.*)?$", README, re.MULTILINE)
    assert {"evaluate", "predict", "visualize", "export"} == {name for name, _ in lines}
    for name, arguments in lines:
        outcome = command(name, *arguments.split())
        assert outcome.code == 0, outcome.err


def test_the_python_example_runs(trained, capsys):
    (example,) = re.findall(r"```python\n(from cnnlab import load\n.*?)```", README, re.DOTALL)
    exec(example, {"many_paths": ["cat.jpg", "dog.png"] * 3})
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_the_readme_names_every_shipped_choice(train):
    from cnnlab.config.paths import ROOT

    for group in ("model", "data", "recipe", "trainer", "logger"):
        for file in (ROOT / "conf" / group).glob("*.yaml"):
            assert re.search(rf"\b{file.stem}\b", README), f"{group}={file.stem}"
