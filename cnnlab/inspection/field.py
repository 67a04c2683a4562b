"""Compute how operations change receptive fields: which rows and columns of the image each value depends on.

An operation that rearranges values rearranges their rows and columns alike, so only operations that slide, sum or
combine need a rule. Fields are theoretical: they are not cut at the border of the image, so padding counts.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

NOWHERE = 2**40  # all edges of a value that does not depend on the image


class UnknownFieldError(Exception):
    """The receptive field cannot be computed exactly."""


class Field(NamedTuple):
    """First and last row and column of the image that each value of a tensor depends on."""

    # int64 (4, ...): first row, first column, and the negatives of the last row and column. So the edges of what
    # several values depend on are always minima. In padding, rows and columns are negative or beyond the last. The
    # other dimensions are those of the values, with size 1 in each along which all values agree.
    edges: np.ndarray
    # Rows, and columns, from one position to the next, if there is only one; None if unknown.
    steps: tuple[int | None, ...] = (0, 0)

    def steps_along(self, dim: int) -> list[int | None]:
        """Return the rows, and columns, from one position to the next along a dimension; None if the number differs."""
        if self.edges.shape[dim + 1] == 1:
            return [0, 0]
        changes = np.diff(self.edges, axis=dim + 1)
        changes[2:] *= -1
        both = [changes[axis::2] for axis in (0, 1)]  # of the first and of the last row or column
        return [int(steps.flat[0]) if (steps == steps.flat[0]).all() else None for steps in both]

    def mix(self, *dims: int) -> "Field":
        """Let every result depend on all values along dimensions, as sums, means and linear layers do."""
        across = [self.steps_along(dim) for dim in dims if dim >= self.edges.ndim - 3]  # height and width
        # A value that depends on the whole height has no next row.
        steps = [0 if any(along[axis] != 0 for along in across) else step for axis, step in enumerate(self.steps)]
        return simplify(self.edges.min(axis=tuple(dim + 1 for dim in dims), keepdims=True), steps)

    def slide(self, dim: int, windows: np.ndarray, stride: int, single: int | None = None) -> "Field":
        """Move a window along a dimension, as convolution and pooling do.

        Args:
            dim: the dimension along which the window moves.
            windows: indices of the values in each window, int64 (windows, values); in padding they are negative or
                beyond the last value.
            stride: distance from one window to the next; 0 if there is no padding.
            single: 0 if the dimension is a single row, which padding may surround, 1 if it is a single column.

        Raises:
            UnknownFieldError: if the rows or columns of padding are not known.
        """
        along, steps = self.steps_along(dim), list(self.steps)
        if single is not None:
            along[single] = self.steps[single]
        inside = windows.clip(0, self.edges.shape[dim + 1] - 1)
        beyond = windows - inside
        if None in along and beyond.any():
            raise UnknownFieldError
        known = [step or 0 for step in along]
        moved = np.multiply.outer([*known, *(-step for step in known)], beyond)
        moved = moved.reshape(4, *[1] * dim, *windows.shape, *[1] * (self.edges.ndim - dim - 2))
        seen = self.edges.take(inside, axis=dim + 1) + moved
        for axis, step in enumerate(along):
            if step != 0 or axis == single:
                steps[axis] = step and step * stride
        return simplify(seen.min(axis=dim + 2), steps)


def image_field(height: int, width: int) -> Field:
    """Return the field of images (N, C, H, W) themselves: every value depends on its own pixel."""
    pixels = np.indices((height, width))
    return Field(np.concatenate([pixels, -pixels])[:, None, None], (1, 1))


def simplify(edges: np.ndarray, steps: Sequence[int | None] = (0, 0)) -> Field:
    """Return a field with size 1 in each dimension along which all values agree."""
    for axis in range(1, edges.ndim):
        first = edges.take([0], axis)
        if (edges == first).all():
            edges = first
    return Field(edges, tuple(steps))


def unite(fields: Sequence[Field], rank: int) -> Field:
    """Combine tensors value by value, as the addition of a shortcut does, into one with `rank` dimensions."""
    edges = [field.edges.reshape(4, *[1] * (rank + 1 - field.edges.ndim), *field.edges.shape[1:]) for field in fields]
    steps = []
    for axis in (0, 1):  # there is one step only if no rows differ within a tensor
        single = all((own[axis::2].reshape(2, -1) == own[axis::2].reshape(2, -1)[:, :1]).all() for own in edges)
        steps.append(max(field.steps[axis] or 0 for field in fields) if single else 0)
    return simplify(functools.reduce(np.minimum, edges), steps)
