"""How long runs take to get to a value."""

from pathlib import Path

import pytest

from cnnlab.comparison.spec import Reach
from cnnlab.comparison.time_to_value import add_ratios, reach_times, reached, target_times
from cnnlab.runs.reading import Run


def run_with(metric, values):
    epochs = list(range(1, len(values) + 1))
    curve = {metric: values, "seconds": [10.0 * epoch for epoch in epochs], "epoch": epochs}
    return Run(Path("run"), {}, None, curve)


@pytest.mark.parametrize(
    ("metric", "values", "value", "expected"),
    [
        ("train/accuracy", [0.4, 0.6, 0.8], 0.75, (27.5, 2.75)),  # between two epochs
        ("train/accuracy", [0.4, 0.6, 0.8], 0.6, (20, 2)),  # at one
        ("train/accuracy", [0.8, 0.9], 0.5, (10, 1)),  # at the first: what was before is not known
        ("train/accuracy", [0.4, None, 0.8], 0.6, (20, 2)),  # over a gap
        ("train/accuracy", [0.4, 0.8, 0.5, 0.9], 0.6, (15, 1.5)),  # the first time counts
        ("val/loss", [2.0, 1.0], 1.5, (15, 1.5)),  # a loss comes from above
        ("train/accuracy", [0.4, 0.5], 0.6, None),
        ("train/accuracy", [], 0.6, None),
    ],
)
def test_times_are_interpolated_between_epochs(metric, values, value, expected):
    found = reached(run_with(metric, values), Reach(metric, value))
    assert found == (expected and pytest.approx(expected))


def test_targets_are_told_by_whole_epochs():
    found = target_times([run_with("val/accuracy", values) for values in ([0.4, 0.6, 0.8], [0.8], [0.1])], 0.5)
    assert found == {"target": 0.5, "reached": 2, "seconds": 15, "epoch": 1.5}


def groups_of(**epochs):
    """Groups whose runs get from 0 to 1 along a line in so many epochs, to half of it in half as many."""
    reach = Reach("train/accuracy", 0.5)
    curves = {name: [[n / count for n in range(count + 1)] for count in counts] for name, counts in epochs.items()}
    runs = {name: [run_with("train/accuracy", values) for values in curve] for name, curve in curves.items()}
    return [{"label": name, "n": len(its), "reach": reach_times(its, reach)} for name, its in runs.items()]


def test_a_ratio_has_an_interval_over_the_seeds():
    groups = groups_of(fast=[10, 12, 14], slow=[30, 32, 34])
    add_ratios(groups, None)
    fast, slow = (group["reach"] for group in groups)
    low, high = slow["epochs_ratio_interval"]
    assert 1.7 < low < slow["epochs_ratio"] < high < 3.4
    assert (fast["epochs_ratio"], fast["epochs_ratio_interval"]) == (1, None)
    assert slow["epochs_each"] == [16, 17, 18]


def test_a_ratio_of_single_runs_or_to_a_group_that_is_not_there_has_none():
    groups = groups_of(fast=[10], slow=[20])
    add_ratios(groups, "fast")
    assert groups[1]["reach"]["epochs_ratio"] == pytest.approx(11 / 6)
    assert groups[1]["reach"]["epochs_ratio_interval"] is None
    add_ratios(groups, "other")
    assert groups[1]["reach"]["epochs_ratio"] is None
