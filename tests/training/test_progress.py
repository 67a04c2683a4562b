import functools
import logging
import sys
from typing import Any

import lightning as L
import pytest
import torch
from torch import nn

from cnnlab.data.images import Images
from cnnlab.data.loader import Loader
from cnnlab.training.classifier import Classifier
from cnnlab.training.progress import Progress
from cnnlab.training.schedules import constant


def fit(epochs: int, **options: Any) -> None:
    images = Images.decoded(torch.zeros(8, 4, 4, 3, dtype=torch.uint8), torch.zeros(8, dtype=torch.int64))
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, 2))
    module = Classifier(network, functools.partial(torch.optim.SGD, lr=0.1), constant, nn.CrossEntropyLoss())
    trainer = L.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        callbacks=[Progress()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    loader = Loader(images, 4, torch.zeros(3), torch.ones(3))
    trainer.fit(module, loader, loader)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.name.startswith("cnnlab")]


def test_every_epoch_has_a_line_of_metrics(caplog):
    with caplog.at_level(logging.INFO, "cnnlab"):
        fit(epochs=2)
    head, *epochs = lines(caplog)
    assert [line.split()[0] for line in epochs] == ["1/2", "2/2"]
    for line in epochs:
        assert len(line) == len(head)
        assert "100.00%" in line
    assert epochs[-1].split()[-2:] == ["0:00", "0.1"]  # nothing is left; the learning rate


@pytest.mark.parametrize(("columns", "last"), [(120, "lr"), (80, "left"), (60, "images/s"), (20, "loss")])
def test_a_narrow_terminal_has_fewer_columns(caplog, monkeypatch, columns, last):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(columns))
    with caplog.at_level(logging.INFO, "cnnlab"):
        fit(epochs=1)
    head, epoch = lines(caplog)
    assert len(head) == len(epoch) <= columns
    assert head.endswith(last)


def test_validation_and_test_have_bars(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    fit(epochs=1)
    assert "epoch 1/1, validation" in capsys.readouterr().err


def test_an_epoch_without_validation_does_not_show_an_earlier_one(caplog):
    with caplog.at_level(logging.INFO, "cnnlab"):
        fit(epochs=3, check_val_every_n_epoch=2)
    _, *epochs = lines(caplog)
    assert [line.split()[3:5] == ["-", "-"] for line in epochs] == [True, False, True]


def test_a_terminal_shows_a_bar_with_metrics(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr("cnnlab.training.progress.REFRESH", 0.0)
    fit(epochs=1)
    shown = capsys.readouterr().err
    assert "epoch 1/1" in shown
    assert "images/s" in shown
    assert "left" in shown


def test_without_a_terminal_there_is_no_bar(capsys):
    fit(epochs=1)
    assert "epoch 1/1" not in capsys.readouterr().err
