"""Test that the keys of `comparison:` are checked before anything is compared."""

from dataclasses import fields

import pytest

from cnnlab.comparison.spec import ComparisonSpec, Reach, read_spec
from cnnlab.config import ROOT, settings
from cnnlab.errors import RequestError


def test_no_keys_or_null_mean_the_defaults():
    assert read_spec({}) == read_spec({"labels": None, "reach": None, "figure": None}) == ComparisonSpec()


def test_keys_are_read():
    spec = read_spec(
        {
            "runs": "another key of the command",
            "reach": {"metric": "train/accuracy", "value": 0.75},
            "axis": {"name": "layers", "values": "model.depth", "lines": {"plain": {"model.shortcuts": False}}},
            "figure": ["axis", "train/error"],
            "labels": {20: {"model.depth": 20}},
        }
    )
    assert spec.reach == Reach("train/accuracy", 0.75)
    assert spec.axis is not None
    assert spec.names == [{"20": {"model.depth": 20}}, {"plain": {"model.shortcuts": False}}]
    assert spec.figure == ["axis", "train/error"]


def test_a_loss_is_reached_from_above():
    assert Reach("val/loss", 0.5).is_met_by(0.4)
    assert not Reach("val/accuracy", 0.5).is_met_by(0.4)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"labels": {"ReLU": "relu"}}, "labels.ReLU must hold settings, such as"),
        ({"labels": ["relu"]}, "labels must hold names and their settings"),
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
        ({"shift": -1}, "shift must be 0 or more, got -1"),
        ({"reach": 3}, "reach must hold keys and values, got 3"),
        ({"plan": 0}, "plan must be a difference in percentage points"),
        ({"targets": 0.9}, "targets must be a list"),
        ({"targets": [90]}, "targets must be fractions above 0 and up to 1, got 90"),
    ],
)
def test_a_wrong_key_or_value_is_named(asked, message):
    with pytest.raises(RequestError) as error:
        read_spec(asked)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_the_command_has_the_same_keys():
    from omegaconf import OmegaConf

    shipped = settings(OmegaConf.load(ROOT / "conf" / "compare.yaml"))  # pyright: ignore[reportArgumentType]
    assert {field.name for field in fields(ComparisonSpec)} == set(shipped) - {
        *("defaults", "claim", "runs", "output", "format", "hydra")
    }
