"""Compute how each kind of operation changes a receptive field.

A `Field` describes all values of a tensor at once. It treats the rows and the columns of the image separately: each has
a `Span`, which says which pixels the first value depends on, and how this range moves along a dimension of the tensor.
Fields are theoretical: they are not cut at the border of the image, so padding counts.

Convolution and pooling follow Araujo, Norris, Sim 2019, "Computing receptive fields of convolutional neural networks":
the size grows by (kernel - 1) x dilation x step, and the step is multiplied by the stride.
"""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple


class UnknownFieldError(Exception):
    """The receptive field cannot be computed exactly."""


@dataclass(frozen=True)
class Span:
    """Range of pixels, along the rows or the columns of the image, that the values of a tensor depend on.

    Attributes:
        first: the first pixel of the range at index 0; negative in padding.
        last: the last pixel of the range at index 0.
        dim: the tensor's dimension along which the range moves; None if all values depend on the same range.
        step: pixels of one move; None if the moves differ.
        travel: pixels between the first range and the last.
        merged: None if every index is one move. (every, count) if the dimension was merged from several: index i is
            (i // every) % count moves away from index 0.
        uneven: the numbers that describe moves that differ; with the same numbers, two ranges move alike.
    """

    first: int
    last: int
    dim: int | None = None
    step: int | None = 0
    travel: int = 0
    merged: tuple[int, int] | None = None
    uneven: tuple[int, ...] = ()

    @property
    def even_step(self) -> int | None:
        """Pixels from one index to the next; None if they differ."""
        return self.step if self.travel and not self.merged else None if self.travel else 0


class Field(NamedTuple):
    """Pixels that each value of a tensor depends on."""

    rows: Span
    columns: Span

    def map(self, change: Callable[..., Span], *arguments: object) -> "Field":
        """Return the field with `change` applied to the rows and to the columns."""
        return Field(change(self.rows, *arguments), change(self.columns, *arguments))


def image_field(height: int, width: int) -> Field:
    """Return the field of images (N, C, H, W) themselves: every value depends on its own pixel."""
    return Field(Span(0, 0, 2, 1, height - 1), Span(0, 0, 3, 1, width - 1))


# --- operations that slide, sum or combine ---------------------------------------------------------------------------


def slide(span: Span, dim: int, kernel: int, stride: int, padding: int, dilation: int, size: int) -> Span:
    """Move a window along a dimension, as convolution and pooling do.

    Args:
        span: of the input.
        dim: the dimension along which the window moves.
        kernel: number of indices in the window.
        stride: distance from one window to the next.
        padding: number of indices added before the first.
        dilation: distance from one index in the window to the next.
        size: of the output in this dimension.
    """
    if span.dim != dim or (kernel, stride, padding) == (1, 1, 0):
        return span
    step = _step(span)
    first = span.first - padding * step
    last = span.last + (dilation * (kernel - 1) - padding) * step
    return Span(first, last, dim, step * stride, step * stride * (size - 1))


def pool_to(span: Span, dim: int, length: int, size: int) -> Span:
    """Pool a dimension of `length` adaptively to `size`.

    Output i depends on the inputs from floor(i x length / size) to ceil((i + 1) x length / size).
    """
    if span.dim != dim or size == length:
        return span
    if size == 1:
        return mix(span, dim)
    if length % size == 0:
        window = length // size
        return slide(span, dim, window, window, 0, 1, size)
    step = _step(span)
    window = max(math.ceil((i + 1) * length / size) - i * length // size for i in range(size))
    travel = step * (length - window)
    return Span(span.first, span.last + step * (window - 1), dim, None, travel, uneven=(step, length, size))


def mix(span: Span, dim: int) -> Span:
    """Let every result depend on all values along a dimension, as sums, means and linear layers do."""
    return Span(span.first, span.last + span.travel) if span.dim == dim else span


def unite(a: Span, b: Span) -> Span:
    """Combine two tensors of one shape value by value, as the addition of a shortcut does.

    Raises:
        UnknownFieldError: if the ranges move differently and neither contains the other everywhere.
    """
    first, last = min(a.first, b.first), max(a.last, b.last)
    if replace(a, first=first, last=last) == (united := replace(b, first=first, last=last)):
        return united
    if a.travel == b.travel == 0:  # with a single index, only later padding depends on the step
        return replace(max(a, b, key=lambda span: span.step or 0), first=first, last=last)
    for whole, part in ((a, b), (b, a)):
        if not whole.travel and whole.first <= part.first and part.last + part.travel <= whole.last:
            return Span(whole.first, whole.last)
    raise UnknownFieldError


def concatenate(spans: Sequence[Span], dim: int, start: int) -> Span:
    """Join the tensors that depend on the image along a dimension.

    Args:
        spans: of these tensors.
        dim: the dimension along which they are joined.
        start: index at which the first of them begins in the result.

    Raises:
        UnknownFieldError: if several are joined along the dimension in which a range moves.
    """
    spans = [Span(span.first, span.last) if span.dim == dim and not span.travel else span for span in spans]
    if all(span.dim != dim for span in spans):
        return functools.reduce(unite, spans)
    if len(spans) > 1:
        raise UnknownFieldError
    return replace(spans[0], step=None, merged=None, uneven=(start, *_moves(spans[0])))


# --- operations that rearrange ---------------------------------------------------------------------------------------


def reshape(span: Span, old: Sequence[int], new: Sequence[int]) -> Span:
    """Give the values other dimensions without changing their order.

    Raises:
        UnknownFieldError: if moves of the range would be split between dimensions.
    """
    if span.dim is None or list(old) == list(new):
        return span
    if not span.travel:
        return Span(span.first, span.last)
    every, count = span.merged or (1, old[span.dim])
    # In the flat order of all values, the range moves after `move` values, and is back after `turn` values.
    move = every * math.prod(old[span.dim + 1 :])
    turn = move * count
    for dim, size in enumerate(new):
        inside = math.prod(new[dim + 1 :])
        if size > 1 and move % inside == 0 and inside * size % turn == 0:
            return replace(span, dim=dim, merged=None if size == count else (move // inside, count))
    raise UnknownFieldError


def permute(span: Span, order: Sequence[int]) -> Span:
    """Reorder the dimensions."""
    return span if span.dim is None else replace(span, dim=list(order).index(span.dim))


def cut(span: Span, dim: int, start: int, stride: int, size: int) -> Span:
    """Take `size` indices of a dimension, every `stride`-th from `start` on; a negative start adds padding."""
    if span.dim != dim:
        return span
    step = _step(span)
    moved = start * step
    return Span(span.first + moved, span.last + moved, dim, step * stride, step * stride * (size - 1))


def insert(span: Span, dim: int) -> Span:
    """Add a dimension of size 1."""
    return span if span.dim is None or span.dim < dim else replace(span, dim=span.dim + 1)


def remove(span: Span, dim: int) -> Span:
    """Remove a dimension of size 1."""
    if span.dim == dim:
        return Span(span.first, span.last)
    return span if span.dim is None or span.dim < dim else replace(span, dim=span.dim - 1)


def broadcast(span: Span, old: Sequence[int], new: Sequence[int]) -> Span:
    """Repeat dimensions of size 1, and add new ones in front."""
    if span.dim is None:
        return span
    dim = span.dim + len(new) - len(old)
    return replace(span, dim=dim) if new[dim] == old[span.dim] else Span(span.first, span.last)


def _step(span: Span) -> int:
    if span.step is None or span.merged:
        raise UnknownFieldError
    return span.step


def _moves(span: Span) -> tuple[int, ...]:
    return (span.step or 0, *(span.merged or ()), *span.uneven)
