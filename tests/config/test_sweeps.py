"""Seeds, grids and values of a sweep."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from cnnlab.config.sweeps import expand_repeats, join_values, read_grids, to_override
from cnnlab.errors import RequestError


@pytest.mark.parametrize(
    ("given", "seeds"),
    [("seeds=3", "0,1,2"), ("seeds=1", "0"), ("seeds=[3,7]", "3,7"), ("seeds=[ 3 ]", "3")],
)
def test_seeds_on_the_command_line_are_a_sweep(given, seeds):
    assert expand_repeats(["model=lenet5", given]) == ["--multirun", "model=lenet5", f"seed={seeds}"]


def test_folds_are_a_sweep_and_can_be_repeated_with_seeds():
    folds = ["data.folds=3", "data.fold=1,2,3"]
    assert expand_repeats(["folds=3", "model=lenet5"]) == ["--multirun", "model=lenet5", *folds]
    assert expand_repeats(["folds=3", "seeds=2"]) == ["--multirun", *folds, "seed=0,1"]
    assert read_grids({"model": ["a", "b"]}, folds=2) == [{"model": "a,b", "data.folds": "2", "data.fold": "1,2"}]
    assert read_grids({"folds": 3}, folds=2) == [{"data.folds": "3", "data.fold": "1,2,3"}]


@pytest.mark.parametrize("value", ["1", "0", "-3", "2.5", "[1,2]", "many", "true", "", "10001"])
def test_what_is_no_number_of_folds_is_refused(value):
    with pytest.raises(RequestError, match="folds must be a number from 2 to 10,000"):
        expand_repeats([f"folds={value}"])


def test_folds_and_a_single_fold_exclude_each_other():
    with pytest.raises(RequestError, match="folds: give either folds= or data.fold="):
        expand_repeats(["folds=2", "data.fold=1"])


def test_a_command_that_only_shows_something_does_not_sweep():
    assert expand_repeats(["--cfg", "job", "seeds=3"]) == ["--cfg", "job"]


@pytest.mark.parametrize("value", ["0", "-1", "many", "1.5", "[]", "[a]", "[1,-2]", "true", "[1", "", "3,7"])
def test_what_is_no_number_of_seeds_is_refused(value):
    with pytest.raises(RequestError, match="seeds must be a number of seeds such as 5, or a list"):
        expand_repeats([f"seeds={value}"])


def test_a_number_of_seeds_that_would_fill_the_memory_is_refused():
    with pytest.raises(RequestError, match="seeds must be at most 10,000, got 1000000000"):
        expand_repeats(["seeds=1000000000"])
    with pytest.raises(RequestError, match="seeds must be at most 10,000, got 1000000000"):
        read_grids({"model": "lenet5"}, 1_000_000_000)


def test_seeds_and_seed_exclude_each_other():
    with pytest.raises(RequestError, match="either seeds= or seed="):
        expand_repeats(["seeds=2", "seed=1"])


@pytest.mark.parametrize(
    "value",
    [
        *(0, 1.5, 1e-3, True, False, None, "lenet5", "", "1", "true", "null", "1e-3", "a b", "a,b", "it's", "back\\"),
        *("q\\'", "[x]", "${x}", "a=b", "2024-01-01", "~", [1, "a b", None], {"a": 1, "b": [2]}, "~/data", "00:05:00"),
    ],
)
def test_hydra_reads_a_value_as_it_was(value):
    read = OverridesParser.create().parse_override(f"key={to_override(value)}").value()
    assert (read, type(read)) == (value, type(value)) or str(read) == value


def test_hydra_reads_joined_values_as_a_sweep():
    override = OverridesParser.create().parse_override(f"logger={join_values([['tensorboard', 'wandb'], 'none'])}")
    assert override.is_sweep_override()
    assert list(override.sweep_string_iterator()) == ["[tensorboard,wandb]", "none"]


@pytest.mark.parametrize(
    ("sweep", "seeds", "expected"),
    [
        ({"model": ["lenet5", "vgg11"], "recipe": "fast"}, None, [{"model": "lenet5,vgg11", "recipe": "fast"}]),
        ({"model.activation": ["relu", "tanh"], "seeds": 2}, None, [{"model.activation": "relu,tanh", "seed": "0,1"}]),
        ([{"model": "a", "recipe": "x"}, {"model": "b"}], [4], [
            {"model": "a", "recipe": "x", "seed": "4"},
            {"model": "b", "seed": "4"},
        ]),
        ([{"model": "a", "seeds": 1}, {"model": "b"}], 2, [
            {"model": "a", "seed": "0"},
            {"model": "b", "seed": "0,1"},
        ]),
        (None, 2, [{"seed": "0,1"}]),
    ],
)  # fmt: skip
def test_an_experiments_sweep_becomes_grids(sweep, seeds, expected):
    assert read_grids(sweep, seeds) == expected


@pytest.mark.parametrize("sweep", ["lenet5", 3, [], ["lenet5"], {"model": {"activation": "relu"}}, {"model": []}])
def test_a_sweep_of_another_form_is_refused(sweep):
    with pytest.raises(RequestError, match="sweep"):
        read_grids(sweep)
