"""What is known of a function without importing it."""

import subprocess
import sys
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import lightning
import pytest
import torch

from cnnlab.declarations import declaration_of, names_beside, read_declaration
from cnnlab.instantiate import import_target


@pytest.mark.parametrize(
    "target",
    [
        "torch.optim.SGD",
        "torch.optim.lr_scheduler.StepLR",
        "torch.nn.CrossEntropyLoss",
        "lightning.Trainer",
        "lightning.pytorch.callbacks.EarlyStopping",
        "lightning.pytorch.loggers.CSVLogger",
        "cnnlab.data.augment.Augmentation",
        "cnnlab.data.datamodule.ImageDataModule",
        "cnnlab.models.resnet.ResNet",
        "cnnlab.training.schedules.multistep",
        "cnnlab.training.averaging.AveragedWeights",
    ],
)
def test_the_source_names_the_arguments_that_python_finds(target: str) -> None:
    found = read_declaration(target)
    real = declaration_of(import_target(target, "key"))
    assert found is not None
    assert (found.names, found.open_ended) == (real.names, real.open_ended)


@pytest.mark.parametrize(
    ("target", "name", "expected"),
    [
        ("torch.optim.SGD", "momentum", float),
        ("torch.nn.CrossEntropyLoss", "ignore_index", int),
        ("cnnlab.data.augment.Augmentation", "flip", Literal["none", "random", "alternating"]),
        ("cnnlab.data.datamodule.ImageDataModule", "residence", Literal["auto", "device", "host", "stream"]),
        ("cnnlab.data.datamodule.ImageDataModule", "protocol", Literal["holdout", "article"]),
        ("lightning.pytorch.callbacks.EarlyStopping", "stopping_threshold", float | None),
    ],
)
def test_types_are_read(target: str, name: str, expected: Any) -> None:
    found = read_declaration(target)
    assert found is not None
    hint = found.hint(name)
    assert (hint, get_origin(hint), get_args(hint)) == (expected, get_origin(hint), get_args(expected))


def test_nothing_is_imported() -> None:
    code = (
        "import sys; from cnnlab.declarations import read_declaration;"
        "assert read_declaration('torch.optim.SGD') and read_declaration('lightning.Trainer');"
        "assert not {'torch', 'lightning'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("target", ["torch.optim.SGDD", "no_such_package.Net", "SGD", "torch.optim", "", "math.sqrt"])
def test_what_has_no_source_is_not_known(target: str) -> None:
    assert read_declaration(target) is None


def test_names_that_a_module_lacks() -> None:
    assert "torch.optim.SGD" in (names_beside("torch.optim.SGDD") or [])
    assert names_beside("torch.optim.SGD") is None
    assert names_beside("torch.nn.CrossEntropyLos") is None  # it imports all names of another module
    assert names_beside("no_such_package.Net") == []


def test_an_annotation_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hostile.py").write_text(
        "open('imported', 'w')\nclass Net:\n    def __init__(self, a: open('called', 'w'), b: int, c: 'open(1)'): ..."
    )
    found = read_declaration("hostile.Net")
    assert found is not None
    assert [found.hint(name) for name in found.names] == [Any, int, Any]
    assert [file.name for file in tmp_path.iterdir()] == ["hostile.py"]


def test_an_imported_class_is_declared_alike() -> None:
    assert declaration_of(torch.optim.SGD).hint("momentum") is float
    assert "max_epochs" in declaration_of(lightning.Trainer).names
