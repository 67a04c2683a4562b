"""Say how each of PyTorch's basic operations changes a receptive field.

PyTorch breaks every layer and function down to a few hundred operations (`aten`). There are rules for those of
convolutional networks and transformers. All others give an unknown field, unless every value that goes in depends on
the same pixels: unusual networks get no number rather than a wrong one.

Two conventions: norms count as if they used running averages, though a group norm depends on the whole map; and a gate
such as squeeze-and-excitation counts, so every value after it depends on what the gate depends on.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from cnnlab.inspection.field import NOWHERE, Field, UnknownFieldError, simplify, unite

Pair = tuple[int, int]
FieldOf = Callable[[Tensor], Field | None]


@dataclass(frozen=True)
class Window:
    """Window of a convolution or pooling, height before width."""

    input: Pair  # height and width of the input, without padding
    kernel: Pair
    stride: Pair  # distance from one window to the next
    padding: Pair  # rows and columns added at each border
    dilation: Pair = (1, 1)  # distance between neighbouring values in the window
    groups: int = 1  # of channels that are convolved separately
    ceil_mode: bool = False  # whether a last window may reach beyond the border

    def along(self, axis: int) -> tuple[int, int, int, int, int]:
        """Return input size, kernel, stride, padding and dilation along the height (0) or the width (1)."""
        size, kernel, stride, padding, dilation = self.input, self.kernel, self.stride, self.padding, self.dilation
        return size[axis], kernel[axis], stride[axis], padding[axis], dilation[axis]


class Call:
    """An operation with its arguments by name, and its results.

    `field_of` returns the field of a tensor, or None if it does not depend on the image.
    """

    def __init__(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any], output: Any, field_of: FieldOf):
        schema = func._schema
        self.func, self.args, self.kwargs, self.field_of = func, args, kwargs, field_of
        self.name: str = schema.name.removeprefix("aten::")
        self.pointwise: bool = torch.Tag.pointwise in func.tags
        self.arguments: dict[str, Any] = {a.name: a.default_value for a in schema.arguments if a.has_default_value()}
        self.arguments |= {a.name: value for a, value in zip(schema.arguments, args, strict=False)} | kwargs
        self.first: Any = next(iter(args), None)
        self.outputs = tensors_in(output)

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    @property
    def shape(self) -> list[int]:
        """Shape of the (first) result."""
        return list(self.outputs[0].shape)

    def seeing(self) -> list[Field]:
        """Return the fields of the arguments that depend on the image."""
        return [field for tensor in tensors_in(self.arguments) if (field := self.field_of(tensor))]

    def input(self) -> Field:
        """Return the field of the first argument.

        Raises:
            UnknownFieldError: if another argument depends on the image too.
        """
        field = self.field_of(self.first) if isinstance(self.first, Tensor) else None
        if field is None or len(self.seeing()) != 1:
            raise UnknownFieldError
        return field


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


def _elementwise(call: Call) -> Field:
    return unite(call.seeing(), len(call.shape))


def _any_operation(call: Call) -> Field:
    """Whatever is computed from values that all depend on the same pixels depends on these."""
    if call.name == "copy_" or any(field.edges.size > 4 for field in call.seeing()):
        raise UnknownFieldError  # copy_ may overwrite a part
    edges, steps = _elementwise(call)
    return Field(edges.reshape(4, *[1] * len(call.shape)), steps)


def _window(call: Call) -> Field:
    field = call.input()
    if call.name == "convolution":
        if call["transposed"]:
            raise UnknownFieldError
        field = field.mix(1)
    sizes = _window_sizes(call)
    for dim, (kernel, stride, padding, dilation) in enumerate(sizes, start=len(call.shape) - len(sizes)):
        places = np.arange(call.shape[dim]) * stride - padding
        field = _slide(call, field, dim, places[:, None] + dilation * np.arange(kernel), stride)
    return field


def _padding(call: Call) -> Field:
    field = call.input()
    pad = call.arguments.get("pad") or call.arguments["padding"]  # before and after, from the last dimension on
    for dim, before in zip(range(len(call.shape) - 1, -1, -1), pad[::2], strict=False):
        field = _slide(call, field, dim, (np.arange(call.shape[dim]) - before)[:, None], stride=1)
    return field


def _adaptive_pooling(call: Call) -> Field:
    """Let output i depend on the inputs from floor(i x length / size) to ceil((i + 1) x length / size)."""
    field = call.input()
    for dim in (len(call.shape) - 2, len(call.shape) - 1):
        length, size = call.first.shape[dim], call.shape[dim]
        starts, ends = np.arange(size) * length // size, -(-np.arange(1, size + 1) * length // size)
        windows = starts[:, None] + np.arange((ends - starts).max())
        field = _slide(call, field, dim, np.minimum(windows, ends[:, None] - 1), stride=0)
    return field


def _slide(call: Call, field: Field, dim: int, windows: np.ndarray, stride: int) -> Field:
    axis = dim - (len(call.shape) - 2)
    return field.slide(dim, windows, stride, axis if call.first.shape[dim] == 1 and axis >= 0 else None)


def _reduction(call: Call) -> Field:
    edges, steps = _softmax(call)
    return Field(
        edges if call.arguments.get("keepdim") else edges.squeeze(tuple(dim + 1 for dim in _dims(call))), steps
    )


def _softmax(call: Call) -> Field:
    return call.input().mix(*_dims(call))


def _dims(call: Call) -> tuple[int, ...]:
    """Return the dimensions of the input that `dim` names, or all of them."""
    rank, dims = max(call.first.ndim, 1), call.arguments.get("dim")
    dims = range(rank) if dims is None or dims == [] else [dims] if isinstance(dims, int) else dims
    return tuple(dim % rank for dim in dims)


def _product(call: Call) -> Field:
    """Multiply matrices (..., rows, inner) and (..., inner, columns), and add a bias that does not see the image.

    If both see the image, as queries and keys do, every result counts as seeing all that the product sees. For
    attention this is exact, because every query is weighted with all of them.
    """
    *bias, left, right = tensors_in(call.arguments)
    if any(call.field_of(tensor) for tensor in bias):
        raise UnknownFieldError
    first, second, rows, columns = call.field_of(left), call.field_of(right), len(call.shape) - 2, len(call.shape) - 1
    if first and second:
        return unite([field.mix(rows, columns) for field in (first, second)], len(call.shape))
    return first.mix(columns) if first else call.seeing()[0].mix(rows)


def _rearrangement(call: Call) -> list[Field]:
    """Rearrange the field of the values as the operation rearranges the values."""

    def rearranged(edge: int) -> list[Tensor]:
        def numbers(value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value
            field = call.field_of(value)
            own = field.edges[edge] if field else np.array(NOWHERE)
            return torch.from_numpy(np.broadcast_to(own, value.shape).copy())

        if call.name in _RESHAPES:  # their arguments may count on an order in memory
            return [numbers(call.first).view(call.shape)]
        return tensors_in(call.func(*tree_map(numbers, call.args), **call.kwargs))

    steps = [max(field.steps[axis] or 0 for field in call.seeing()) for axis in (0, 1)]
    return [simplify(np.stack(edges), steps) for edges in zip(*map(rearranged, range(4)), strict=True)]


_RESHAPES = ("view", "_unsafe_view", "reshape", "_reshape_alias")
_RULES: dict[str, Callable[[Call], Field | list[Field]]] = {
    **dict.fromkeys(("convolution", "max_pool2d_with_indices", "avg_pool2d", "avg_pool3d"), _window),
    **dict.fromkeys(("constant_pad_nd", "reflection_pad2d", "replication_pad2d"), _padding),
    **dict.fromkeys(("_adaptive_avg_pool2d", "adaptive_max_pool2d"), _adaptive_pooling),
    **dict.fromkeys(("mean", "sum", "amax", "amin", "max", "min", "var", "std", "linalg_vector_norm"), _reduction),
    **dict.fromkeys(("_softmax", "_safe_softmax", "_log_softmax"), _softmax),
    **dict.fromkeys(("mm", "addmm", "bmm", "baddbmm"), _product),
    **dict.fromkeys(("native_batch_norm", "cudnn_batch_norm", "miopen_batch_norm"), Call.input),
    **dict.fromkeys(("_native_batch_norm_legit", "_native_batch_norm_legit_no_training"), Call.input),
    **dict.fromkeys(("native_layer_norm", "_fused_rms_norm", "native_group_norm"), Call.input),
    **dict.fromkeys(("detach", "alias", "clone", "_to_copy", "contiguous", "lift_fresh"), Call.input),
    **dict.fromkeys(("hardswish", "expand"), _elementwise),  # PyTorch does not mark hardswish as such
    **dict.fromkeys((*_RESHAPES, "permute", "transpose", "t", "squeeze", "unsqueeze", "roll"), _rearrangement),
    **dict.fromkeys(("slice", "select", "unbind", "split", "split_with_sizes", "cat", "stack"), _rearrangement),
}
