"""The algebra of receptive fields: which pixels of the input a value of any tensor in a network can depend on.

A `Field` says it for a whole tensor. For position zero it is a box of pixels; every dimension of the tensor is a
product of factors, and a step along a factor moves the box by so many pixels. So feature maps (N, C, H, W), flattened
ones, sequences of patches and windows of them are all described, and the functions below say what an operation does to
them. Boxes are theoretical: they are not cut at the image's border, which padding crosses.

The rule for one convolution or pooling is the well-known one (Araujo, Norris, Sim 2019, "Computing receptive fields of
convolutional neural networks"): size grows by (kernel - 1) x dilation x step, the step is multiplied by the stride.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

Pixels = tuple[int, int]  # down and right

NOWHERE: Pixels = (0, 0)


class UnknownFieldError(Exception):
    """The field of a result cannot be said exactly."""


@dataclass(frozen=True)
class Factor:
    """A dimension of a tensor, or a part of one that was merged from several.

    Attributes:
        size: how many indices.
        step: how far the box moves from one index to the next.
        span: how far the boxes of all indices lie apart; (size - 1) x step where they are evenly spaced.
    """

    size: int
    step: Pixels = NOWHERE
    span: Pixels = NOWHERE

    @property
    def even(self) -> bool:
        """Whether index i lies i steps from index zero."""
        return self.span == _scaled(self.step, self.size - 1)


@dataclass(frozen=True)
class Field:
    """The pixels that each value of a tensor depends on.

    Attributes:
        first: the upper left pixel of the box of position zero.
        last: its lower right pixel.
        dims: the factors of each dimension, the slowest first; none is empty.
    """

    first: Pixels
    last: Pixels
    dims: tuple[tuple[Factor, ...], ...]

    @property
    def span(self) -> Pixels:
        """How far the boxes of all positions lie apart."""
        return _total(factor for dim in self.dims for factor in dim)


def even(size: int, step: Pixels = NOWHERE) -> Factor:
    """A factor of that many indices, evenly spaced."""
    return Factor(size, step, _scaled(step, size - 1))


def image_field(shape: Sequence[int]) -> Field:
    """Of the images (N, C, H, W) themselves: every value sees its own pixel."""
    batch, channels, height, width = shape
    return Field(NOWHERE, NOWHERE, ((even(batch),), (even(channels),), (even(height, (1, 0)),), (even(width, (0, 1)),)))


# --- operations that slide, sum or combine ---------------------------------------------------------------------------


def slide(field: Field, dim: int, kernel: int, stride: int, padding: int, dilation: int, size: int) -> Field:
    """A window moves along a dimension: convolution and pooling.

    Args:
        field: of the input.
        dim: along which the window moves.
        kernel: indices in the window.
        stride: indices from one window to the next.
        padding: indices that are added before the first.
        dilation: indices from one of the window's to the next.
        size: of the output in this dimension.
    """
    if (kernel, stride, padding) == (1, 1, 0):
        return field
    step = _only_step(field.dims[dim])
    return _with_dim(
        replace(
            field,
            first=_plus(field.first, _scaled(step, -padding)),
            last=_plus(field.last, _scaled(step, dilation * (kernel - 1) - padding)),
        ),
        dim,
        (even(size, _scaled(step, stride)),),
    )


def pool_to(field: Field, dim: int, size: int) -> Field:
    """Adaptive pooling: output i sees the inputs from floor(i x n / size) to ceil((i + 1) x n / size)."""
    n = _size(field.dims[dim])
    if size == n:
        return field
    if size == 1 or _total(field.dims[dim]) == NOWHERE:
        return _with_dim(mix(field, dim), dim, (even(size),))
    if n % size == 0:
        return slide(field, dim, n // size, n // size, 0, 1, size)
    step = _only_step(field.dims[dim])
    window = max(math.ceil((i + 1) * n / size) - i * n // size for i in range(size))
    wider = replace(field, last=_plus(field.last, _scaled(step, window - 1)))
    return _with_dim(wider, dim, (Factor(size, NOWHERE, _scaled(step, n - window)),))


def mix(field: Field, dim: int) -> Field:
    """Every value along a dimension goes into every result, of which one is left: sums, means, linear layers."""
    return _with_dim(replace(field, last=_plus(field.last, _total(field.dims[dim]))), dim, (even(1),))


def unite(fields: Sequence[Field], shape: Sequence[int]) -> Field:
    """Tensors are combined value by value, as a shortcut is added; dimensions of size 1 are repeated.

    Raises:
        UnknownFieldError: when their boxes move differently and none of them holds the others.
    """
    united, *others = (_broadcast(field, shape) for field in fields)
    for other in others:
        united = _unite_two(united, other)
    return united


def multiply(a: Field | None, b: Field | None, shape: Sequence[int]) -> Field:
    """A product of matrices (..., rows, inner) and (..., inner, columns); None stands for one that sees no image.

    Where both see it, as queries and keys do, every result is said to see what the whole product sees. In an attention
    that is exact, because every query is weighted with all of them.
    """
    if a is not None and b is not None:
        a, b = (mix(mix(field, -1), -2) for field in (a, b))
        return unite([a, b], shape)
    if a is not None:
        return _with_dim(mix(a, -1), -1, (even(shape[-1]),))
    assert b is not None
    return _with_dim(mix(b, -2), -2, (even(shape[-2]),))


def concatenate(fields: Sequence[Field | None], dim: int, shape: Sequence[int]) -> Field:
    """Tensors are put one after the other; None stands for one that sees no image."""
    seeing = [field for field in fields if field is not None]
    dim %= len(shape)
    if all(_total(field.dims[dim]) == NOWHERE for field in seeing):
        return unite([_with_dim(field, dim, (even(shape[dim]),)) for field in seeing], shape)
    if len(seeing) > 1:
        raise UnknownFieldError
    return _with_dim(seeing[0], dim, (Factor(shape[dim], NOWHERE, _total(seeing[0].dims[dim])),))


# --- operations that rearrange ---------------------------------------------------------------------------------------


def reshape(field: Field, shape: Sequence[int]) -> Field:
    """The same values in the same order, with other dimensions.

    Raises:
        UnknownFieldError: when a dimension would have to be cut where it is not a product.
    """
    if list(shape) == sizes(field):
        return field
    rest = _simplified([factor for dim in field.dims for factor in dim])
    dims: list[tuple[Factor, ...]] = []
    for size in shape:
        taken: list[Factor] = []
        missing = size
        while missing > 1:
            factor = rest.pop(0)
            if factor.size == 1:
                continue
            if missing % factor.size:
                outer, inner = _split(factor, missing)
                rest.insert(0, inner)
                factor = outer
            taken.append(factor)
            missing //= factor.size
        if size == 1:
            taken.append(rest.pop(0) if rest and rest[0].size == 1 else even(1))
        dims.append(tuple(taken))
    return replace(field, dims=tuple(dims))


def permute(field: Field, order: Sequence[int]) -> Field:
    """Dimensions in another order."""
    return replace(field, dims=tuple(field.dims[dim] for dim in order))


def cut(field: Field, dim: int, start: int, stride: int, size: int) -> Field:
    """`size` indices of a dimension, every `stride`-th from `start` on; a negative start pads before the first."""
    if (start, stride, size) == (0, 1, _size(field.dims[dim])):
        return field
    step = _only_step(field.dims[dim])
    moved = _scaled(step, start)
    moved_field = replace(field, first=_plus(field.first, moved), last=_plus(field.last, moved))
    return _with_dim(moved_field, dim, (even(size, _scaled(step, stride)),))


def select(field: Field, dim: int, index: int) -> Field:
    """One index of a dimension, which is gone afterwards."""
    dim %= len(field.dims)
    one = cut(field, dim, index % _size(field.dims[dim]), 1, 1)
    return replace(one, dims=one.dims[:dim] + one.dims[dim + 1 :])


def expand(field: Field, shape: Sequence[int]) -> Field:
    """Dimensions of size 1 are repeated, and new ones put in front."""
    return _broadcast(field, shape)


def repeat_each(field: Field, dim: int, times: int) -> Field:
    """Every index `times` in a row: upsampling to the nearest pixel."""
    return _with_dim(field, dim, (*field.dims[dim], even(times)))


def sizes(field: Field) -> list[int]:
    """The shape of the tensor."""
    return [_size(dim) for dim in field.dims]


# --- parts -----------------------------------------------------------------------------------------------------------


def _unite_two(a: Field, b: Field) -> Field:
    pairs = [_common_factors(x, y) for x, y in zip(a.dims, b.dims, strict=True)]
    flat_a = [factor for x, _ in pairs for factor in x]
    flat_b = [factor for _, y in pairs for factor in y]
    winners = [_winner(a, b, list(zip(flat_a, flat_b, strict=True)), axis) for axis in (0, 1)]
    first, last = [], []
    for axis, winner in enumerate(winners):
        boxes = (a, b) if winner is None else ((a, b)[winner],)
        first.append(min(field.first[axis] for field in boxes))
        last.append(max(field.last[axis] for field in boxes))
    down, right = (winner or 0 for winner in winners)
    dims = tuple(
        tuple(
            Factor(pair[0].size, (pair[down].step[0], pair[right].step[1]), (pair[down].span[0], pair[right].span[1]))
            for pair in zip(x, y, strict=True)
        )
        for x, y in pairs
    )
    return Field((first[0], first[1]), (last[0], last[1]), dims)


def _winner(a: Field, b: Field, factors: list[tuple[Factor, Factor]], axis: int) -> int | None:
    """Which of two fields holds the other at every position, 0 or 1; None where they move alike.

    Raises:
        UnknownFieldError: when neither is so.
    """

    def moves(factor: Factor) -> tuple[int, int]:
        return factor.step[axis], factor.span[axis]

    unlike = [(x, y) for x, y in factors if moves(x) != moves(y)]
    if not unlike:
        return None
    for winner, (whole, part) in enumerate(((a, b), (b, a))):
        stands = all(moves(pair[winner]) == NOWHERE for pair in unlike)
        reach = part.last[axis] + sum(pair[1 - winner].span[axis] for pair in unlike)
        if stands and whole.first[axis] <= part.first[axis] and reach <= whole.last[axis]:
            return winner
    raise UnknownFieldError


def _common_factors(a: Sequence[Factor], b: Sequence[Factor]) -> tuple[list[Factor], list[Factor]]:
    """Two ways to make up a dimension, cut so that their factors have the same sizes."""
    if _size(a) == 1:
        # With one index a step only matters to later padding; a tensor that does not move has lost it.
        step = max(a[0].step, b[0].step)
        return [even(1, step)], [even(1, step)]
    left, right = (_simplified([factor for factor in dim if factor.size > 1]) for dim in (a, b))
    cut_a: list[Factor] = []
    cut_b: list[Factor] = []
    while left:
        x, y = left.pop(0), right.pop(0)
        if x.size > y.size:
            x, inner = _split(x, y.size)
            left.insert(0, inner)
        elif y.size > x.size:
            y, inner = _split(y, x.size)
            right.insert(0, inner)
        cut_a.append(x)
        cut_b.append(y)
    return cut_a, cut_b


def _split(factor: Factor, outer: int) -> tuple[Factor, Factor]:
    inner, rest = divmod(factor.size, outer)
    if rest or not factor.even:
        raise UnknownFieldError
    return even(outer, _scaled(factor.step, inner)), even(inner, factor.step)


def _simplified(factors: Sequence[Factor]) -> list[Factor]:
    """Neighbours that are one evenly spaced dimension, joined."""
    joined: list[Factor] = []
    for factor in factors:
        if joined and factor.size > 1 and joined[-1].size > 1 and joined[-1].even and factor.even:
            before = joined[-1]
            if before.step == _scaled(factor.step, factor.size):
                joined[-1] = even(before.size * factor.size, factor.step)
                continue
        joined.append(factor)
    return joined


def _only_step(dim: Sequence[Factor]) -> Pixels:
    """The step along a whole dimension.

    Raises:
        UnknownFieldError: when it is not evenly spaced.
    """
    factors = [factor for factor in _simplified(dim) if factor.size > 1] or list(dim[:1])
    if len(factors) > 1 or not factors[0].even:
        raise UnknownFieldError
    return factors[0].step


def _broadcast(field: Field, shape: Sequence[int]) -> Field:
    missing = len(shape) - len(field.dims)
    dims = [(even(1),)] * missing + list(field.dims)
    for i, size in enumerate(shape):
        if _size(dims[i]) == 1 and size > 1:
            dims[i] = (even(size),)
    return replace(field, dims=tuple(dims))


def _with_dim(field: Field, dim: int, factors: tuple[Factor, ...]) -> Field:
    dims = list(field.dims)
    dims[dim] = factors
    return replace(field, dims=tuple(dims))


def _size(dim: Sequence[Factor]) -> int:
    return math.prod(factor.size for factor in dim)


def _total(factors: Iterable[Factor]) -> Pixels:
    total = NOWHERE
    for factor in factors:
        total = _plus(total, factor.span)
    return total


def _plus(a: Pixels, b: Pixels) -> Pixels:
    return a[0] + b[0], a[1] + b[1]


def _scaled(step: Pixels, times: int) -> Pixels:
    return step[0] * times, step[1] * times
