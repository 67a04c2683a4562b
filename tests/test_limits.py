from typing import Any

import pytest

from cnnlab.limits import limits_of, outside, read_seconds


@pytest.mark.parametrize(
    ("value", "interval", "expected"),
    [
        (0, "[0, inf)", None),
        (-1, "[0, inf)", "0 or more"),
        (0.0, "(0, inf)", "above 0"),
        (1, "[0, 1)", "at least 0 and below 1"),
        (1, "[0, 1]", None),
        (1.1, "[0, 1]", "from 0 to 1"),
        (0, "(0, 1]", "above 0 and at most 1"),
        (1, "(0, 1)", "between 0 and 1"),
        ([0.9, 0.999], "[0, 1)", None),
        ([0.9, 1.0], "[0, 1)", "at least 0 and below 1"),
        (None, "[0, 1)", None),
        ("text", "[0, 1)", None),
        (True, "[2, 3]", None),
        ("min", "min|max", None),
        ("up", "min|max", "one of min, max"),
        ("cuda:1", "cpu|cuda:[0-9]", None),
        ("cuda:x", "cpu|cuda:[0-9]", "one of cpu, cuda:[0-9]"),
    ],
)
def test_intervals(value: Any, interval: str, expected: str | None) -> None:
    assert outside(value, interval) == expected


def test_limits_of_other_packages_are_found_by_name() -> None:
    assert limits_of("torch.optim.AdamW")["betas"] == "[0, 1)"
    assert limits_of("torch.optim.lr_scheduler.StepLR")["step_size"] == "[1, inf)"
    assert limits_of("mynet.Optimizer") == {}


@pytest.mark.parametrize(
    ("time", "seconds"),
    [("00:05:00", 300), ("1:30:05", 5405), ("00:00:05:00", 300), ("1:00:00:00", 86400), ("0:00:00", 0)],
)
def test_a_time_is_read_in_seconds(time: str, seconds: float) -> None:
    assert read_seconds(time) == seconds


@pytest.mark.parametrize("time", ["5:00", "five", "1:2:3", "", 300, None])
def test_another_text_is_no_time(time: Any) -> None:
    assert read_seconds(time) is None
