import pytest

from cnnlab.runs.plain import check_plain


def test_lists_that_hold_each_other_many_times_are_refused_soon():
    assert check_plain({"a": [1, "b", None], "c": {"d": 2.5}}, depth=3) == 10
    several: list = [0] * 1000
    for _ in range(3):
        several = [several] * 1000  # stands for 10^12 values
    with pytest.raises(ValueError, match="it holds more than 2,097,152 values"):
        check_plain({"width": several}, depth=6)
