"""Spans on their own; tests/inspection/test_receptive_field.py holds fields against measured ones."""

import pytest
import torch

from cnnlab.inspection.receptive_field_span import Span, UnknownFieldError, image_field, simplify, unite

ROWS = image_field(8, 5).rows
WHOLE = Span(torch.tensor([0]), torch.tensor([7]))


def values(span: Span) -> list[tuple[int, int]]:
    return list(zip(span.first.flatten().tolist(), span.last.flatten().tolist(), strict=True))


def windows(kernel: int, stride: int, padding: int, dilation: int, count: int) -> torch.Tensor:
    return (torch.arange(count) * stride - padding)[:, None] + dilation * torch.arange(kernel)


def test_a_window_widens_the_range_and_multiplies_the_step() -> None:
    once = ROWS.slide(2, windows(3, 2, 1, 1, 4), 2)
    assert (values(once), once.step_along(2)) == ([(-1, 1), (1, 3), (3, 5), (5, 7)], 2)
    twice = once.slide(2, windows(3, 1, 0, 2, 1), 1)
    assert (values(twice), twice.moves(2), twice.step) == ([(-1, 9)], False, 2)


def test_padding_goes_on_by_the_step() -> None:
    single = ROWS.slide(2, windows(4, 4, 0, 1, 2), 4).slide(2, windows(2, 1, 0, 1, 1), 1)
    assert (values(single), single.step) == ([(0, 7)], 4)
    assert values(single.slide(2, windows(3, 1, 1, 1, 1), 1)) == [(-4, 11)]
    uneven = simplify(ROWS.first[:, :, [0, 1, 4]], ROWS.last[:, :, [0, 1, 4]])
    assert values(uneven.slide(2, windows(2, 1, 0, 1, 2), 1)) == [(0, 1), (1, 4)]
    with pytest.raises(UnknownFieldError):
        uneven.slide(2, windows(3, 1, 1, 1, 3), 1)


def test_a_mean_depends_on_all_rows() -> None:
    assert values(ROWS.mix(2)) == [(0, 7)]
    assert ROWS.mix(1) is ROWS


def test_each_value_has_the_smallest_range_with_all_that_it_sees() -> None:
    assert values(unite([ROWS, WHOLE], 4)) == [(0, 7)]
    half = Span(torch.tensor([0]), torch.tensor([3]))
    assert values(unite([ROWS, half], 4)) == [(0, 3)] * 4 + [(0, 4), (0, 5), (0, 6), (0, 7)]
    assert unite([ROWS, half], 4).step_along(2) is None


def test_values_of_a_lower_rank_are_broadcast() -> None:
    assert unite([WHOLE], 4).first.shape == (1, 1, 1, 1)
    assert unite([ROWS, WHOLE.apply(lambda rows: rows[0])], 5).first.ndim == 5
