"""Compute how operations change receptive fields.

A `Span` says for each value of a tensor which rows of the image it depends on, as two tensors of row numbers. So an
operation that rearranges values rearranges their rows alike, and only operations that slide, sum or combine need a
rule. A `Field` has a span for the rows and one for the columns. Fields are theoretical: they are not cut at the border
of the image, so padding counts.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

NOWHERE = 2**40  # first row of a value that does not depend on the image; its last row is the negative of it


class UnknownFieldError(Exception):
    """The receptive field cannot be computed exactly."""


class Span(NamedTuple):
    """First and last row, or column, of the image that each value of a tensor depends on.

    The rows are int64 and have the dimensions of the values, with size 1 in each along which all values agree.
    """

    first: Tensor  # in padding negative, or beyond the last
    last: Tensor
    step: int | None = 0  # rows from one position to the next, if there is only one; None if unknown

    def equals(self, other: "Span") -> bool:
        """Return whether two spans are the same."""
        return torch.equal(self.first, other.first) and torch.equal(self.last, other.last)

    def moves(self, dim: int) -> bool:
        """Return whether the rows differ along a dimension."""
        return self.first.shape[dim] > 1

    def step_along(self, dim: int) -> int | None:
        """Return the number of rows from one position to the next along a dimension; None if it differs."""
        if not self.moves(dim):
            return self.step
        steps = torch.cat([rows.diff(dim=dim).flatten() for rows in (self.first, self.last)]).unique()
        return int(steps) if len(steps) == 1 else None

    def apply(self, change: Callable[[Tensor], Tensor]) -> "Span":
        """Return the span with `change` applied to the first rows and to the last."""
        return Span(change(self.first), change(self.last), self.step)

    def mix(self, *dims: int) -> "Span":
        """Let every result depend on all values along dimensions, as sums, means and linear layers do."""
        if not any(map(self.moves, dims)):
            return self
        whole = any(self.moves(dim) for dim in dims if dim >= self.first.ndim - 2)  # then there is no next row
        first, last = self.first.amin(dims, keepdim=True), self.last.amax(dims, keepdim=True)
        return simplify(first, last, 0 if whole else self.step)

    def slide(self, dim: int, windows: Tensor, stride: int) -> "Span":
        """Move a window along a dimension, as convolution and pooling do.

        Args:
            dim: the dimension along which the window moves.
            windows: indices of the values in each window, int64 (windows, values); in padding they are negative or
                beyond the last value.
            stride: distance from one window to the next; 0 if there is no padding.

        Raises:
            UnknownFieldError: if the rows of padding are not known.
        """
        inside, step = windows.clamp(0, self.first.shape[dim] - 1), self.step_along(dim)
        beyond = windows - inside
        if step is None and beyond.any():
            raise UnknownFieldError
        moved = (beyond * (step or 0)).view(*windows.shape, *[1] * (self.first.ndim - dim - 1))
        seen = self.apply(lambda rows: rows.index_select(dim, inside.flatten()).unflatten(dim, windows.shape) + moved)
        return simplify(seen.first.amin(dim + 1), seen.last.amax(dim + 1), step and step * stride)


class Field(NamedTuple):
    """Pixels that each value of a tensor depends on."""

    rows: Span
    columns: Span

    def map(self, change: Callable[..., Span], *arguments: object) -> "Field":
        """Return the field with `change` applied to the rows and to the columns."""
        return Field(change(self.rows, *arguments), change(self.columns, *arguments))


def image_field(height: int, width: int) -> Field:
    """Return the field of images (N, C, H, W) themselves: every value depends on its own pixel."""
    rows = torch.arange(height, device="cpu").view(1, 1, -1, 1)
    columns = torch.arange(width, device="cpu").view(1, 1, 1, -1)
    return Field(Span(rows, rows, 1), Span(columns, columns, 1))


def simplify(first: Tensor, last: Tensor, step: int | None = 0) -> Span:
    """Return a span with size 1 in each dimension along which all values agree."""
    for dim in range(first.ndim):
        if all(bool((rows == rows.narrow(dim, 0, 1)).all()) for rows in (first, last)):
            first, last = first.narrow(dim, 0, 1), last.narrow(dim, 0, 1)
    return Span(first, last, step)


def unite(spans: Sequence[Span], rank: int) -> Span:
    """Combine tensors value by value, as the addition of a shortcut does, into one with `rank` dimensions."""
    first = functools.reduce(torch.minimum, [span.first for span in spans])
    last = functools.reduce(torch.maximum, [span.last for span in spans])
    single = all(span.first.numel() == 1 for span in spans)
    step = max(span.step or 0 for span in spans) if single else 0
    return simplify(first[(None,) * (rank - first.ndim)], last[(None,) * (rank - last.ndim)], step)
