"""Groups that an experiment names, and groups that are chosen among others."""

import re

import pytest

from cnnlab.comparison.compare import compare_runs
from cnnlab.comparison.spec import read_spec
from cnnlab.comparison.text import render_markdown
from cnnlab.errors import RequestError
from cnnlab.runs.reading import find_runs, read_run

NAMES = {"ReLU": {"model.activation": "relu"}, "tanh": {"model.activation": "tanh"}}


@pytest.fixture
def compared(make_run, tmp_path):
    """Compares runs of a net with some settings; returns the only section and the record."""

    def compare(*runs, **asked):
        for number, (activation, lr, seed, accuracy, epochs) in enumerate(runs):
            config = {"model": {"activation": activation}, "optimizer": {"lr": lr}, "trainer": {"max_epochs": epochs}}
            make_run(tmp_path / str(number), "net", seed, accuracy, images=100, epochs=epochs, config=config)
        found = [read_run(path) for path in find_runs([str(tmp_path)])]
        record = compare_runs(found, read_spec(asked))
        return record.sections[0], record

    return compare


def labels(section):
    return {group.label: group.n for group in section.groups}


def test_groups_are_called_as_the_experiment_says(compared):
    section, record = compared(
        ("relu", 0.1, 0, 0.9, 5), ("relu", 0.1, 1, 0.9, 5), ("tanh", 0.1, 0, 0.8, 5), labels=NAMES
    )
    assert labels(section) == {"ReLU": 2, "tanh": 1}
    assert record.notices == []


def test_namesakes_are_told_apart_and_the_rest_is_noted(compared):
    section, record = compared(
        ("relu", 0.1, 0, 0.9, 5), ("relu", 0.2, 0, 0.8, 5), ("tanh", 0.1, 0, 0.7, 5), labels=NAMES
    )
    assert labels(section) == {"ReLU, lr 0.1": 1, "ReLU, lr 0.2": 1, "tanh": 1}
    assert "optimizer.lr (0.2; else 0.1)" in record.notices[0]


def test_the_best_learning_rate_is_kept_by_the_validation_images(compared):
    runs = [("relu", lr, 0, accuracy, 5) for lr, accuracy in ((0.01, 0.6), (0.1, 0.9), (1.0, 0.7))]
    section, record = compared(*runs, ("tanh", 0.1, 0, 0.8, 5), choose="optimizer.lr", labels=NAMES)
    assert labels(section) == {"ReLU": 1, "tanh": 1}
    choice = section.groups[0].choice
    assert (choice["value"], choice["at_edge"]) == (0.1, False)
    assert [entry["value"] for entry in choice["tried"]] == [0.01, 0.1, 1.0]
    assert section.groups[1].choice is None
    assert record.notices == []


def test_every_network_keeps_the_recipe_that_suits_it_best(compared, make_run, tmp_path):
    accuracies = {("net", "fast"): 0.6, ("net", "standard"): 0.7, ("other", "fast"): 0.9, ("other", "standard"): 0.8}
    for (model, recipe), accuracy in accuracies.items():
        lr = {"fast": 0.1, "standard": 0.2}[recipe]
        place = tmp_path / f"{model}_{recipe}"
        make_run(place, model, 0, accuracy, images=100, config={"optimizer": {"lr": lr}}, recipe=recipe)
    section, record = compared(choose="recipe")
    kept = {group.label: (group.recipe, group.choice["value"]) for group in section.groups}
    assert kept == {"net": ("standard", "standard"), "other": ("fast", "fast")}
    assert record.notices == []


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"choose": "optimizer.lrr"}, "choose: no run has a setting optimizer.lrr; did you mean optimizer.lr?"),
        ({"choose": "colour"}, "choose: no run has a setting colour"),
        (
            {"choose": "optimizer.lr", "search": {"trainer.max_epoch": 3}},
            "search: no run has a setting trainer.max_epoch; did you mean trainer.max_epochs?",
        ),
        (
            {"labels": {"ReLU": {"model.activatoin": "relu"}}},
            "labels: no run has a setting model.activatoin; did you mean model.activation?",
        ),
        ({"axis": {"name": "rate", "values": "optimizer.lrr"}}, "axis: no run has a setting optimizer.lrr"),
        ({"against": "RELU", "labels": NAMES}, "against: no group is called RELU; known: ReLU, lr 0.1, "),
        ({"against": "sigmoid"}, "against: no group is called sigmoid; known: "),
    ],
)
def test_what_no_run_has_is_refused(compared, asked, message):
    with pytest.raises(RequestError, match=re.escape(message)):
        compared(("relu", 0.1, 0, 0.8, 5), ("relu", 0.2, 0, 0.9, 5), **asked)


def test_names_of_runs_that_are_still_to_come_are_noted(compared):
    names = {"ReLU": {"model.activation": "relu"}, "short": {"colour": "red"}}
    section, record = compared(("relu", 0.1, 0, 0.8, 5), labels=names, against="short")
    assert labels(section) == {"ReLU": 1}
    assert "labels: no run has a setting colour" in record.notices[0]
    assert "against: no group is called short, so there are no ratios." in record.notices


def test_more_seeds_for_one_value_are_no_advantage(compared):
    section, record = compared(
        ("relu", 0.1, 0, 0.8, 5), ("relu", 0.1, 1, 0.99, 5), ("relu", 0.2, 0, 0.9, 5), choose="optimizer.lr"
    )
    choice = section.groups[0].choice
    assert (choice["value"], choice["seeds"]) == (0.2, (0,))
    assert "a better one may lie beyond" in record.notices[0]


def test_the_first_to_reach_the_value_is_kept_else_the_nearest(compared):
    reach = {"metric": "val/accuracy", "value": 0.75}
    section, _ = compared(
        *(("relu", 0.1, 0, 0.8, 5), ("relu", 0.2, 0, 0.9, 5)),  # the second climbs faster
        *(("tanh", 0.1, 0, 0.5, 5), ("tanh", 0.2, 0, 0.6, 5)),
        **{"choose": "optimizer.lr", "reach": reach, "labels": NAMES},
    )
    chosen = {group.label: group.choice and group.choice["value"] for group in section.groups}
    assert chosen == {"ReLU": 0.2, "tanh": 0.2}


def test_trainings_of_other_lengths_are_no_rivals(compared):
    runs = [("relu", lr, 0, accuracy, epochs) for lr in (0.1, 0.2) for accuracy, epochs in ((0.7 + lr, 3), (0.8, 5))]
    asked = {"choose": "optimizer.lr", "search": {"trainer.max_epochs": 2}, "labels": NAMES}
    section, record = compared(*runs, *(("relu", lr, 0, lr, 2) for lr in (0.1, 0.2)), **asked)
    assert labels(section) == {"ReLU, 3 epochs": 1, "ReLU, 5 epochs": 1}
    assert record.set_aside == []


def test_values_without_a_seed_in_common_are_noted(compared):
    _, record = compared(("relu", 0.1, 0, 0.8, 5), ("relu", 0.2, 1, 0.9, 5), choose="optimizer.lr")
    assert any("have no seed in common, so all seeds count" in notice for notice in record.notices)


def test_a_search_is_reported_and_not_compared(compared):
    searched = [("relu", 0.1, 0, 0.5, 2), ("relu", 0.2, 0, 0.6, 2), ("tanh", 0.1, 0, 0.6, 2), ("tanh", 0.2, 0, 0.5, 2)]
    asked = {"choose": "optimizer.lr", "search": {"trainer.max_epochs": 2}, "labels": NAMES}
    final = [("relu", 0.2, seed, 0.9, 5) for seed in range(3)] + [("tanh", 0.2, 0, 0.8, 5)]
    section, record = compared(*searched, *final, **asked)
    assert labels(section) == {"ReLU": 3, "tanh": 1}
    assert [group.choice["best"] for group in section.groups] == [0.2, 0.1]
    assert any("tanh uses optimizer.lr=0.2, but 0.1 was the best value that was tried" in n for n in record.notices)


def test_the_best_of_several_trainings_after_a_search_is_kept(compared):
    searched = [("relu", lr, 0, accuracy, 2) for lr, accuracy in ((0.1, 0.5), (0.2, 0.7), (0.4, 0.6), (0.8, 0.2))]
    final = [("relu", lr, seed, accuracy, 5) for lr, accuracy in ((0.2, 0.8), (0.4, 0.9)) for seed in range(2)]
    asked = {"choose": "optimizer.lr", "search": {"trainer.max_epochs": 2}, "labels": NAMES}
    section, record = compared(*searched, *final, *(("tanh", 0.1, 0, 0.3, 5),), **asked)
    assert labels(section) == {"ReLU": 2, "tanh": 1}
    choice = section.groups[0].choice
    assert (choice["value"], choice["seeds"], choice["at_edge"]) == (0.4, (0, 1), False)
    told = [(entry["value"], entry["runs"], entry["dropped"]) for entry in choice["tried"]]
    assert told == [(0.1, 1, True), (0.2, 2, False), (0.4, 2, False), (0.8, 1, True)]
    assert record.notices == []


def test_a_search_that_no_training_followed_is_compared_itself(compared):
    section, record = compared(
        *(("relu", 0.1, 0, 0.5, 2), ("relu", 0.2, 0, 0.6, 2)),
        **{"choose": "optimizer.lr", "search": {"trainer.max_epochs": 2}, "labels": NAMES},
    )
    assert labels(section) == {"ReLU": 1}
    assert any("only searched for optimizer.lr (trainer.max_epochs=2) are compared" in n for n in record.notices)


def test_the_epochs_to_a_value_with_ratios(compared):
    runs = [("relu", 0.1, seed, 0.9, 4) for seed in range(2)] + [("tanh", 0.1, 0, 0.9, 8), ("tanh", 0.1, 1, 0.3, 8)]
    section, _ = compared(*runs, labels=NAMES, reach={"metric": "train/accuracy", "value": 0.6}, against="ReLU")
    relu, tanh = ({g.label: g.reach for g in section.groups}[name] for name in ("ReLU", "tanh"))
    # Accuracy climbs along a line to 0.9 in the last epoch: 0.6 is after two thirds of the epochs.
    assert (relu["reached"], relu["epochs_sd"], relu["epochs_ratio"]) == (2, 0, 1)
    assert (tanh["reached"], tanh["epochs_sd"]) == (1, None)
    assert (relu["epochs"], tanh["epochs"], tanh["epochs_ratio"]) == pytest.approx((4 * 2 / 3, 8 * 2 / 3, 2))
    assert tanh["epochs_ratio_interval"] is None  # one of its runs never got there


def test_a_place_on_an_axis_and_a_published_curve(compared):
    section, record = compared(
        ("relu", 0.1, 0, 0.8, 4),
        ("tanh", 0.2, 0, 0.4, 4),
        labels=NAMES,
        axis={"name": "year", "values": {"ReLU": 2012}, "lines": {"new": {"model.activation": "relu"}}},
        reference={"name": "theirs", "points": {2: 0.3, 50: 0.9}},
    )
    assert [(group.place, group.line) for group in section.groups] == [(2012, "new"), (None, None)]
    assert section.reference["groups"] == [[0.4, None], [0.2, None]]
    words = " ".join(record.notices)
    assert "there is no year for tanh" in words
    text = render_markdown(record)
    assert "- **year**: as the experiment says." in text
    assert "{" not in text


def test_a_place_on_an_axis_may_be_that_of_the_network(compared):
    """Labels tell what differs, such as the recipe; the year of a network is the same with all of them."""
    axis = {"name": "year", "values": {"net": 2012, "tanh": 1998}}
    section, record = compared(("relu", 0.1, 0, 0.8, 4), ("tanh", 0.2, 0, 0.4, 4), labels=NAMES, axis=axis)
    assert {group.label: group.place for group in section.groups} == {"ReLU": 2012, "tanh": 1998}
    assert "there is no year" not in " ".join(record.notices)


def test_a_search_is_set_aside_if_trainings_followed_only_others(compared):
    runs = [("relu", 0.1, 0, 0.5, 2), ("relu", 0.2, 0, 0.6, 2), ("relu", 0.2, 0, 0.9, 5)]
    runs += [("tanh", 0.1, 0, 0.6, 2), ("tanh", 0.2, 0, 0.5, 2)]
    asked = {"choose": "optimizer.lr", "search": {"trainer.max_epochs": 2}, "labels": NAMES}
    section, record = compared(*runs, **asked)
    assert labels(section) == {"ReLU": 1}
    reasons = [entry["reason"] for entry in record.set_aside]
    assert reasons == ["it only searched for optimizer.lr, and no full training followed"] * 2


def test_a_choice_by_the_test_images_is_noted(compared, make_run, tmp_path):
    for number, (lr, accuracy) in enumerate(((0.1, 0.8), (0.2, 0.9))):
        config = {"optimizer": {"lr": lr}}
        place = tmp_path / "article" / str(number)
        make_run(place, "net", 0, accuracy, images=100, config=config, protocol="article")
    _, record = compared(choose="optimizer.lr")
    assert any("optimizer.lr was chosen by the test images" in notice for notice in record.notices)
