"""The keys of `comparison:` are checked before anything is compared."""

import pytest

from cnnlab.comparison.spec import QUESTION, Question, Reach, read_question
from cnnlab.config import ROOT, settings
from cnnlab.errors import RequestError


def test_nothing_asked_is_the_usual_question():
    assert read_question() == Question()


def test_what_is_asked_is_read():
    asked = read_question(
        reach={"metric": "train/accuracy", "value": 0.75},
        axis={"name": "layers", "values": "model.depth", "lines": {"plain": {"model.shortcuts": False}}},
        figure=["axis", "train/error"],
    )
    assert asked.reach == Reach("train/accuracy", 0.75)
    assert asked.axis is not None
    assert asked.names == [{}, {"plain": {"model.shortcuts": False}}]
    assert asked.figure == ("axis", "train/error")


def test_a_loss_is_reached_from_above():
    assert Reach("val/loss", 0.5).met(0.4)
    assert not Reach("val/accuracy", 0.5).met(0.4)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"labels": {"ReLU": "relu"}}, "labels.ReLU must hold settings, such as"),
        ({"labels": ["relu"]}, "labels must be"),
        ({"choose": 3}, "choose must be a text or null, got 3"),
        ({"search": {"trainer.max_epochs": 3}}, "search: choose must name the setting"),
        ({"reach": {"metric": "val/acuracy", "value": 0.5}}, "reach.metric must be one of"),
        ({"reach": {"metric": "val/accuracy", "value": 75}}, "reach.value must be a fraction"),
        ({"reach": {"metric": "val/accuracy"}}, "reach.value must be given"),
        ({"reach": {"metrik": "val/accuracy"}}, "reach.metrik is not a key; did you mean reach.metric?"),
        ({"reference": {"name": "x", "points": {1: "a"}}}, "reference.points must hold an epoch and a number"),
        ({"reference": {"name": "x", "points": {"one": 0.1}}}, "reference.points must have epochs as keys"),
        ({"axis": {"name": "year", "values": {"lenet5": "old"}}}, "axis.values must hold a label and a number"),
        ({"axis": {"name": "year", "values": "x", "lines": {"a": 1}}}, "axis.lines.a must hold settings"),
        ({"figure": ["bars"]}, "figure: bars is not a panel"),
        ({"figure": ["axis"]}, "figure: the panel axis needs the key axis"),
        ({"maps": "yes"}, "maps must be true or false"),
        ({"shift": -1}, "shift must be a number of pixels, 0 or more"),
    ],
)
def test_what_is_wrong_is_named(asked, message):
    with pytest.raises(RequestError) as error:
        read_question(**asked)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_the_command_has_the_same_keys():
    from omegaconf import OmegaConf

    shipped = settings(OmegaConf.load(ROOT / "conf" / "compare.yaml"))  # pyright: ignore[reportArgumentType]
    assert set(QUESTION) == set(shipped) - {"defaults", "runs", "output", "targets", "hydra"}
