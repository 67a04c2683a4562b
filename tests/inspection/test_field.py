"""Fields on their own; tests/inspection/test_receptive_field.py holds fields against measured ones."""

import numpy as np
import pytest

from cnnlab.inspection.field import Field, UnknownFieldError, image_field, simplify, unite

IMAGE = image_field(8, 5)
WHOLE = Field(np.array([0, 0, -7, -4])[:, None])


def rows(field: Field) -> list[tuple[int, int]]:
    """Return the first and last row of each value, at the first column."""
    first, _, last, _ = field.edges
    return list(zip(first[..., 0].flatten().tolist(), (-last[..., 0]).flatten().tolist(), strict=True))


def windows(kernel: int, stride: int, padding: int, dilation: int, count: int) -> np.ndarray:
    return (np.arange(count) * stride - padding)[:, None] + dilation * np.arange(kernel)


def test_a_window_widens_the_range_and_multiplies_the_step() -> None:
    once = IMAGE.slide(2, windows(3, 2, 1, 1, 4), 2)
    assert (rows(once), once.steps_along(2)) == ([(-1, 1), (1, 3), (3, 5), (5, 7)], [2, 0])
    twice = once.slide(2, windows(3, 1, 0, 2, 1), 1)
    assert (rows(twice), twice.steps_along(2), twice.steps) == ([(-1, 9)], [0, 0], (2, 1))


def test_padding_goes_on_by_the_step() -> None:
    single = IMAGE.slide(2, windows(4, 4, 0, 1, 2), 4).slide(2, windows(2, 1, 0, 1, 1), 1)
    assert (rows(single), single.steps) == ([(0, 7)], (4, 1))
    assert rows(single.slide(2, windows(3, 1, 1, 1, 1), 1, single=0)) == [(-4, 11)]
    assert rows(single.slide(2, windows(3, 1, 1, 1, 1), 1)) == [(0, 7)]  # all positions see the same
    uneven = simplify(IMAGE.edges[:, :, :, [0, 1, 4]])
    assert rows(uneven.slide(2, windows(2, 1, 0, 1, 2), 1)) == [(0, 1), (1, 4)]
    with pytest.raises(UnknownFieldError):
        uneven.slide(2, windows(3, 1, 1, 1, 3), 1)


def test_a_mean_depends_on_all_rows() -> None:
    assert (rows(IMAGE.mix(2)), IMAGE.mix(2).steps) == ([(0, 7)], (0, 1))
    assert np.array_equal(IMAGE.mix(1).edges, IMAGE.edges)
    assert IMAGE.mix(1).steps == (1, 1)


def test_each_value_has_the_smallest_range_with_all_that_it_sees() -> None:
    assert rows(unite([IMAGE, WHOLE], 4)) == [(0, 7)]
    half = Field(np.array([0, 0, -3, -4])[:, None])
    assert rows(unite([IMAGE, half], 4)) == [(0, 3)] * 4 + [(0, 4), (0, 5), (0, 6), (0, 7)]
    assert unite([IMAGE, half], 4).steps_along(2)[0] is None


def test_a_step_is_kept_for_each_axis_of_which_a_tensor_has_a_single_position() -> None:
    line = simplify(IMAGE.edges[:, :, :, 3:4], (2, 1))
    assert unite([line, line], 4).steps == (2, 0)


def test_values_of_a_lower_rank_are_broadcast() -> None:
    assert unite([WHOLE], 4).edges.shape == (4, 1, 1, 1, 1)
    assert unite([IMAGE, Field(IMAGE.edges[:, 0])], 5).edges.ndim == 6
