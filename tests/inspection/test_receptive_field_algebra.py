"""The algebra on its own; tests/inspection/test_receptive_field.py holds it against measured fields."""

import pytest

from cnnlab.inspection.receptive_field_algebra import (
    Span,
    UnknownFieldError,
    concatenate,
    cut,
    mix,
    pool_to,
    reshape,
    slide,
    unite,
)

ROWS = Span(0, 0, dim=2, step=1, travel=7)  # of an image with 8 rows


def test_a_window_widens_the_range_and_multiplies_the_step() -> None:
    span = slide(slide(ROWS, 2, 3, 2, 1, 1, 4), 2, 3, 1, 0, 2, 2)
    assert span == Span(-1, 9, dim=2, step=2, travel=2)
    assert slide(ROWS, 3, 3, 2, 1, 1, 4) == ROWS  # along the columns


def test_a_mean_depends_on_all_rows() -> None:
    assert mix(ROWS, 2) == Span(0, 7)
    assert mix(ROWS, 1) == ROWS


def test_flattened_rows_can_be_restored_in_the_same_order_only() -> None:
    flat = reshape(ROWS, (1, 3, 8, 5), (1, 3, 40))
    assert (flat.dim, flat.travel, flat.even_step) == (2, 7, None)
    assert reshape(flat, (1, 3, 40), (1, 3, 8, 5)) == ROWS
    with pytest.raises(UnknownFieldError):
        reshape(flat, (1, 3, 40), (1, 3, 5, 8))
    with pytest.raises(UnknownFieldError):
        slide(flat, 2, 3, 1, 1, 1, 40)
    columns_first = reshape(Span(0, 0, dim=3, step=1, travel=7), (1, 3, 8, 8), (1, 3, 64))
    with pytest.raises(UnknownFieldError):
        unite(reshape(ROWS, (1, 3, 8, 8), (1, 3, 64)), columns_first)


def test_a_range_that_contains_another_everywhere_stands_for_both() -> None:
    assert unite(ROWS, Span(-1, 7)) == Span(-1, 7)
    with pytest.raises(UnknownFieldError):
        unite(ROWS, Span(0, 6))


def test_uneven_adaptive_pooling_has_no_step() -> None:
    pooled = pool_to(ROWS, 2, 8, 5)
    assert (pooled.last, pooled.even_step, pooled.travel) == (2, None, 5)  # the largest window has 3 rows
    assert pool_to(ROWS, 2, 8, 4) == Span(0, 1, dim=2, step=2, travel=6)


def test_only_one_tensor_may_be_joined_along_moving_rows() -> None:
    assert concatenate([ROWS], 2, 1).even_step is None
    assert concatenate([ROWS, Span(-1, 1, dim=2, step=1, travel=7)], 1, 0) == Span(-1, 1, dim=2, step=1, travel=7)
    with pytest.raises(UnknownFieldError):
        concatenate([ROWS, ROWS], 2, 0)


def test_a_slice_begins_later_and_takes_larger_steps() -> None:
    assert cut(ROWS, 2, 1, 2, 4) == Span(1, 1, dim=2, step=2, travel=6)
