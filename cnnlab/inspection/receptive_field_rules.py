"""Say which rule of `receptive_field_algebra` applies to each of PyTorch's basic operations.

PyTorch breaks every layer and function down to a few hundred operations (`aten`). There are rules for those of
convolutional networks and simple transformers. All others give an unknown field, unless every value that goes in
depends on the same pixels: unusual networks get no number rather than a wrong one.

Two conventions: norms count as if they used running averages, though a group norm depends on the whole map; and a gate
such as squeeze-and-excitation counts, so every value after it depends on what the gate depends on.
"""

import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from cnnlab.inspection import receptive_field_algebra as algebra
from cnnlab.inspection.receptive_field_algebra import Field, UnknownFieldError

Pair = tuple[int, int]
FieldOf = Callable[[Tensor], Field | None]


@dataclass(frozen=True)
class Window:
    """Window of a convolution or pooling, height before width.

    Attributes:
        input: height and width of the input, without padding.
        kernel: height and width of the window.
        stride: distance from one window to the next.
        padding: rows and columns added at each border.
        dilation: distance between neighbouring values in the window.
        groups: number of groups of channels that are convolved separately.
        ceil_mode: whether a last window may reach beyond the border.
    """

    input: Pair
    kernel: Pair
    stride: Pair
    padding: Pair
    dilation: Pair = (1, 1)
    groups: int = 1
    ceil_mode: bool = False

    def along(self, axis: int) -> tuple[int, int, int, int, int]:
        """Return input size, kernel, stride, padding and dilation along the height (0) or the width (1)."""
        size, kernel, stride, padding, dilation = self.input, self.kernel, self.stride, self.padding, self.dilation
        return size[axis], kernel[axis], stride[axis], padding[axis], dilation[axis]


class Call:
    """An operation with its arguments by name.

    Args:
        func: the operation.
        args: positional arguments.
        kwargs: named arguments.
        output: the result.
        field_of: returns the field of a tensor, or None if it does not depend on the image.
    """

    def __init__(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any], output: Any, field_of: FieldOf):
        schema = func._schema
        self.name: str = schema.name.removeprefix("aten::")
        self.pointwise: bool = torch.Tag.pointwise in func.tags
        self.arguments: dict[str, Any] = {a.name: a.default_value for a in schema.arguments if a.has_default_value()}
        self.arguments |= {a.name: value for a, value in zip(schema.arguments, args, strict=False)} | kwargs
        self.first: Any = next(iter(args), None)
        self.output = output
        self.outputs = tensors_in(output)
        self._field_of = field_of

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    @property
    def shape(self) -> list[int]:
        """Shape of the (first) result."""
        return list(self.outputs[0].shape)

    def seeing(self) -> list[tuple[Tensor, Field]]:
        """Return the arguments that depend on the image, with their fields."""
        fields = [(tensor, self._field_of(tensor)) for tensor in tensors_in(self.arguments)]
        return [(tensor, field) for tensor, field in fields if field is not None]

    def input(self) -> Field:
        """Return the field of the first argument.

        Raises:
            UnknownFieldError: if another argument depends on the image too.
        """
        seeing = self.seeing()
        if len(seeing) != 1 or seeing[0][0] is not self.first:
            raise UnknownFieldError
        return seeing[0][1]


def tensors_in(values: Any) -> list[Tensor]:
    """Return the tensors in nested tuples, lists and dictionaries."""
    return [value for value in tree_leaves(values) if isinstance(value, Tensor)]


def result_fields(call: Call) -> list[Field | None]:
    """Return the field of every result; None if it is unknown."""
    name = call.name if call.name in _RULES else call.name.removesuffix("_")  # in place, as `relu_`
    rule = _RULES.get(name, _elementwise if call.pointwise else _any_operation)
    try:
        fields = rule(call)
    except UnknownFieldError:
        return [None] * len(call.outputs)
    return [fields] * len(call.outputs) if isinstance(fields, Field) else list(fields)


def find_window(call: Call) -> Window | None:
    """Return the window of a convolution or pooling over height and width; None for other operations."""
    if call.name not in ("convolution", "max_pool2d_with_indices", "avg_pool2d") or len(call.shape) != 4:
        return None
    kernel, stride, padding, dilation = zip(*_window_sizes(call), strict=True)
    sides = tuple(call.first.shape[2:])
    groups = call.arguments.get("groups", 1)
    return Window(sides, kernel, stride, padding, dilation, groups, call.arguments.get("ceil_mode", False))


def _window_sizes(call: Call) -> list[tuple[int, int, int, int]]:
    """Return kernel, stride, padding and dilation for each dimension along which a window moves."""
    if call.name == "convolution":
        kernel: Sequence[int] = call["weight"].shape[2:]
        stride = call["stride"]
    else:
        kernel = _repeated(call["kernel_size"], 3 if "3d" in call.name else 2)
        stride = call["stride"] or kernel
    others = (stride, call["padding"], call.arguments.get("dilation", 1))
    return list(zip(kernel, *(_repeated(value, len(kernel)) for value in others), strict=True))


def _repeated(value: int | Sequence[int], length: int) -> Sequence[int]:
    """Return one number for each dimension: PyTorch takes a single one for all of them."""
    values = [value] if isinstance(value, int) else value
    return values if len(values) == length else [values[0]] * length


# --- a rule per operation --------------------------------------------------------------------------------------------


def _unite(fields: Sequence[Field]) -> Field:
    return functools.reduce(lambda a, b: Field(*map(algebra.unite, a, b)), fields)


def _elementwise(call: Call) -> Field:
    return _unite([field.map(algebra.broadcast, tensor.shape, call.shape) for tensor, field in call.seeing()])


def _any_operation(call: Call) -> Field:
    """Whatever is computed from values that all depend on the same pixels depends on these."""
    fields = [field for _, field in call.seeing()]
    if call.name == "copy_" or any(span.travel for field in fields for span in field):  # copy_ may overwrite a part
        raise UnknownFieldError
    return _unite([field.map(lambda span: algebra.Span(span.first, span.last)) for field in fields])


def _window(call: Call) -> Field:
    field = call.input()
    if call.name == "convolution":
        if call["transposed"]:
            raise UnknownFieldError
        field = field.map(algebra.mix, 1)
    sizes = _window_sizes(call)
    for dim, size in enumerate(sizes, start=len(call.shape) - len(sizes)):
        field = field.map(algebra.slide, dim, *size, call.shape[dim])
    return field


def _adaptive_pooling(call: Call) -> Field:
    field = call.input()
    for dim in (len(call.shape) - 2, len(call.shape) - 1):
        field = field.map(algebra.pool_to, dim, call.first.shape[dim], call.shape[dim])
    return field


def _reduction(call: Call) -> Field:
    field = call.input()
    dims = _dims(call)
    for dim in dims:
        field = field.map(algebra.mix, dim)
    return field if call.arguments.get("keepdim") else _without(field, dims)


def _softmax(call: Call) -> Field:
    return call.input().map(algebra.mix, _dims(call)[0])


def _product(call: Call) -> Field:
    """Multiply matrices (..., rows, inner) and (..., inner, columns), and add a bias that does not see the image.

    If both see the image, as queries and keys do, every result counts as seeing all that the product sees. For
    attention this is exact, because every query is weighted with all of them.
    """
    *bias, left, right = tensors_in(call.arguments)
    fields = {id(tensor): field for tensor, field in call.seeing()}
    if any(id(tensor) in fields for tensor in bias):
        raise UnknownFieldError
    rows, columns = len(call.shape) - 2, len(call.shape) - 1
    if id(left) in fields and id(right) in fields:
        return _unite([fields[id(t)].map(algebra.mix, rows).map(algebra.mix, columns) for t in (left, right)])
    if id(left) in fields:
        return fields[id(left)].map(algebra.mix, columns)
    return fields[id(right)].map(algebra.mix, rows)


def _concatenation(call: Call) -> Field:
    dim = call["dim"] % len(call.shape)
    seeing = call.seeing()
    before = itertools.takewhile(lambda tensor: tensor is not seeing[0][0], call["tensors"])
    start = sum(tensor.shape[dim] for tensor in before if tensor.ndim > dim)
    rows, columns = zip(*(field for _, field in seeing), strict=True)
    return Field(algebra.concatenate(rows, dim, start), algebra.concatenate(columns, dim, start))


def _stack(call: Call) -> Field:
    dim = call["dim"] % len(call.shape)
    return _unite([field.map(algebra.insert, dim) for _, field in call.seeing()])


def _padding(call: Call) -> Field:
    field = call.input()
    pad = call.arguments.get("pad") or call.arguments["padding"]  # before and after, from the last dimension on
    for i in range(len(pad) // 2):
        dim = len(call.shape) - 1 - i
        if pad[2 * i] or pad[2 * i + 1]:
            field = field.map(algebra.cut, dim, -pad[2 * i], 1, call.shape[dim])
    return field


def _reshape(call: Call) -> Field:
    return call.input().map(algebra.reshape, call.first.shape, call.shape)


def _permute(call: Call) -> Field:
    return call.input().map(algebra.permute, [dim % len(call.shape) for dim in call["dims"]])


def _transpose(call: Call) -> Field:
    order = list(range(len(call.shape)))
    a, b = (call["dim0"], call["dim1"]) if call.name == "transpose" else (0, -1)
    order[a], order[b] = order[b], order[a]
    return call.input().map(algebra.permute, order)


def _squeeze(call: Call) -> Field:
    return _without(call.input(), [dim for dim in _dims(call) if call.first.shape[dim] == 1])


def _slice(call: Call) -> Field:
    dim, field = call["dim"] % call.first.ndim, call.input()
    length, start = call.first.shape[dim], call["start"] or 0
    start = min(max(start + length if start < 0 else start, 0), length)
    return field if call.shape[dim] == length else field.map(algebra.cut, dim, start, call["step"], call.shape[dim])


def _unbind(call: Call) -> list[Field]:
    return [_index(call, index) for index in range(len(call.outputs))]


def _index(call: Call, index: int) -> Field:
    dim = call["dim"] % call.first.ndim
    return _without(call.input().map(algebra.cut, dim, index % call.first.shape[dim], 1, 1), [dim])


def _split(call: Call) -> list[Field]:
    dim = call["dim"] % len(call.shape)
    sizes = [part.shape[dim] for part in call.outputs]
    starts = itertools.accumulate(sizes, initial=0)
    return [call.input().map(algebra.cut, dim, start, 1, size) for start, size in zip(starts, sizes, strict=False)]


def _dims(call: Call) -> list[int]:
    """Return the dimensions of the input that `dim` names, or all of them, the last one first."""
    rank, dims = max(call.first.ndim, 1), call.arguments.get("dim")
    dims = range(rank) if dims is None or dims == [] else [dims] if isinstance(dims, int) else dims
    return sorted((dim % rank for dim in dims), reverse=True)


def _without(field: Field, dims: Sequence[int]) -> Field:
    """Remove dimensions of size 1, the last one first."""
    for dim in dims:
        field = field.map(algebra.remove, dim)
    return field


_RULES: dict[str, Callable[[Call], Field | list[Field]]] = {
    **dict.fromkeys(("convolution", "max_pool2d_with_indices", "avg_pool2d", "avg_pool3d"), _window),
    **dict.fromkeys(("_adaptive_avg_pool2d", "adaptive_max_pool2d"), _adaptive_pooling),
    **dict.fromkeys(("mean", "sum", "amax", "amin", "max", "min", "var", "std", "linalg_vector_norm"), _reduction),
    **dict.fromkeys(("_softmax", "_safe_softmax", "_log_softmax"), _softmax),
    **dict.fromkeys(("mm", "addmm", "bmm", "baddbmm"), _product),
    **dict.fromkeys(("native_batch_norm", "cudnn_batch_norm", "miopen_batch_norm"), Call.input),
    **dict.fromkeys(("_native_batch_norm_legit", "_native_batch_norm_legit_no_training"), Call.input),
    **dict.fromkeys(("native_layer_norm", "_fused_rms_norm", "native_group_norm"), Call.input),
    **dict.fromkeys(("detach", "alias", "clone", "_to_copy", "contiguous", "lift_fresh"), Call.input),
    "hardswish": _elementwise,  # PyTorch does not mark it as such
    "cat": _concatenation,
    "stack": _stack,
    **dict.fromkeys(("constant_pad_nd", "reflection_pad2d", "replication_pad2d"), _padding),
    **dict.fromkeys(("view", "_unsafe_view", "reshape", "_reshape_alias"), _reshape),
    "permute": _permute,
    **dict.fromkeys(("transpose", "t"), _transpose),
    "unsqueeze": lambda call: call.input().map(algebra.insert, call["dim"] % len(call.shape)),
    "squeeze": _squeeze,
    "expand": _elementwise,
    "slice": _slice,
    "select": lambda call: _index(call, call["index"]),
    "unbind": _unbind,
    **dict.fromkeys(("split", "split_with_sizes"), _split),
}
