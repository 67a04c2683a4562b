"""Reading a space, and drawing the values of trials from it."""

import optuna
import pytest
import yaml

from cnnlab.config.paths import ROOT
from cnnlab.errors import RequestError
from cnnlab.search.space import flatten, overrides, parent_values, read_space, starting_point, suggest

SPACE = """
recipe: {choice: [fast, speedrun]}
optimizer.lr:
  - {float: [0.01, 1.0], log: true, when: {recipe: fast}}
  - {float: [0.1, 0.3], step: 0.1, when: {recipe: speedrun}}
augmentation.pad: {int: [0, 4], step: 2}
data.mean: {choice: [[0.5, 0.5, 0.5], null]}
"""


def space(text: str = SPACE):
    return read_space(yaml.safe_load(text))


def draw_values(text: str = SPACE, trials: int = 40):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
    return [suggest(space(text), study.ask()) for _ in range(trials)]


def test_a_trial_has_a_value_of_every_range_and_choice():
    trials = draw_values()
    assert {trial["augmentation.pad"] for trial in trials} == {0, 2, 4}
    assert [0.5, 0.5, 0.5] in [trial["data.mean"] for trial in trials]
    assert None in [trial["data.mean"] for trial in trials]
    for trial in trials:
        if trial["recipe"] == "fast":
            assert 0.01 <= trial["optimizer.lr"] <= 1.0
        else:
            assert trial["optimizer.lr"] in (0.1, 0.2, 0.3)


def test_a_logarithmic_range_draws_all_magnitudes_equally_often():
    rates = [trial["x"] for trial in draw_values("x: {float: [0.0001, 1.0], log: true}", 200)]
    assert 70 < sum(rate < 0.01 for rate in rates) < 130
    assert all(rate == float(f"{rate:.4g}") for rate in rates)


def test_a_key_is_left_out_if_its_condition_is_not_met():
    text = "recipe: {choice: [fast, speedrun]}\nx: {float: [0, 1], when: {recipe: fast}}"
    assert {("x" in trial) == (trial["recipe"] == "fast") for trial in draw_values(text)} == {True}


def test_parent_values_meet_the_conditions_of_every_entry():
    assert [parent_values(entry, space()) for entry in space()[:3]] == [{}, {"recipe": "fast"}, {"recipe": "speedrun"}]


def test_arguments_are_written_as_hydra_reads_them():
    assert overrides({"recipe": "fast", "x": None, "y": [1, 2], "z": 0.5}) == [
        "recipe=fast",
        "x=null",
        "y=[1,2]",
        "z=0.5",
    ]


def test_the_unchanged_configuration_is_the_first_trial_if_it_lies_in_the_space():
    settings = {"recipe": "speedrun", "optimizer.lr": 0.2, "augmentation.pad": 4, "data.mean": [0.5, 0.5, 0.5]}
    first = starting_point(space(), settings)
    assert first is not None
    study = optuna.create_study()
    study.enqueue_trial(first)
    assert suggest(space(), study.ask()) == settings
    assert starting_point(space(), settings | {"optimizer.lr": 0.25}) is None
    assert starting_point(space(), settings | {"augmentation.pad": 3}) is None


def test_leaves_are_named_by_dotted_keys():
    assert flatten({"a": {"b": 1, "c": {}}, "d": [1]}) == {"a.b": 1, "a.c": {}, "d": [1]}


WRONG = {
    "": "a space holds keys of the configuration",
    "x: 1": "x: must be of the form {float: [0.1, 0.9]}",
    "x: {flaot: [0, 1]}": "x: flaot is not a key; did you mean float?",
    "x: {log: true}": "x: must have one of float, int and choice",
    "x: {float: [0, 1], int: [0, 1]}": "x: must have one of float, int and choice",
    "x: {float: [1, 0]}": "x: float must be [lowest, highest], got [1, 0]",
    "x: {float: 1}": "x: float must be two numbers",
    "x: {float: [0, .inf]}": "x: float must be two numbers",
    "x: {int: [0, 1.5]}": "x: int must be two whole numbers",
    "x: {float: [0, 1], log: true}": "x: with log: true the lowest value must be above 0, got 0",
    "x: {float: [0, 1], log: 3}": "x: log must be true or false, got 3",
    "x: {float: [1, 2], log: true, step: 1}": "x: step and log: true cannot be combined",
    "x: {float: [0, 1], step: 0.3}": "x: steps of 0.3 from 0 do not lead to 1",
    "x: {int: [0, 4], step: 0}": "x: step must be one of the whole numbers above 0, got 0",
    "x: {choice: [a]}": "x: choice must be a list of two values or more",
    "x: {choice: [a, a]}": "x: a is listed twice",
    "x: {choice: [a, {b: 1}]}": "x: a choice cannot be a mapping",
    "x: {choice: [a, b], step: 1}": "x: log and step are for float and int, not for choice",
    "x: {float: [0, 1], when: fast}": "x: when must be of the form",
    "x: {float: [0, 1], when: {recipe: fast}}": "x: when: recipe must be a choice listed before it",
    "r: {choice: [a, bc]}\nx: {float: [0, 1], when: {r: bd}}": "bd is not among the choices of r; did you mean bc?",
    "x: [{float: [0, 1]}, {float: [2, 3]}]": "x: two entries apply at the same time",
}


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_space_is_explained(text):
    with pytest.raises(RequestError) as error:
        space(text)
    assert str(error.value).startswith("search: ") and WRONG[text] in str(error.value)


@pytest.mark.parametrize("file", sorted((ROOT / "conf" / "search").glob("*.yaml")), ids=lambda file: file.stem)
def test_every_shipped_space_can_be_read(file):
    assert draw_values(file.read_text(), 3)
