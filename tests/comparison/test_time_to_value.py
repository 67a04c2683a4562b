"""Test the time that runs take to reach a value."""

from pathlib import Path

import pytest

from cnnlab.comparison.spec import Reach
from cnnlab.comparison.time_to_value import reach_times, target_times, time_to_reach, with_ratios
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
    found = time_to_reach(run_with(metric, values), Reach(metric, value))
    assert found == (expected and pytest.approx(expected))


def test_targets_are_reported_in_whole_epochs():
    found = target_times([run_with("val/accuracy", values) for values in ([0.4, 0.6, 0.8], [0.8], [0.1])], 0.5)
    assert found == {"target": 0.5, "reached": 2, "seconds": 15, "epoch": 1.5}


def groups_of(**epochs):
    """Return the times and sizes of groups whose runs rise linearly from 0 to 1 in so many epochs."""
    reach = Reach("train/accuracy", 0.5)
    curves = {name: [[n / count for n in range(count + 1)] for count in counts] for name, counts in epochs.items()}
    runs = {name: [run_with("train/accuracy", values) for values in curve] for name, curve in curves.items()}
    return {name: reach_times(its, reach) for name, its in runs.items()}, {name: len(its) for name, its in runs.items()}


def test_a_ratio_has_an_interval_over_the_seeds():
    made = with_ratios(*groups_of(fast=[10, 12, 14], slow=[30, 32, 34]), None)
    fast, slow = made["fast"], made["slow"]
    low, high = slow["epochs_ratio_interval"]
    assert 1.7 < low < slow["epochs_ratio"] < high < 3.4
    assert (fast["epochs_ratio"], fast["epochs_ratio_interval"]) == (1, None)
    assert slow["epochs_each"] == [16, 17, 18]


def test_a_ratio_of_single_runs_has_no_interval_and_an_unknown_group_gives_no_ratio():
    groups = groups_of(fast=[10], slow=[20])
    slow = with_ratios(*groups, "fast")["slow"]
    assert slow["epochs_ratio"] == pytest.approx(11 / 6)
    assert slow["epochs_ratio_interval"] is None
    assert with_ratios(*groups, "unknown")["slow"]["epochs_ratio"] is None
