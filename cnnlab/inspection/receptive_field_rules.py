"""Follows one image through a network operation by operation, and says what each result can see of it.

PyTorch breaks every layer and every function down to a few operations (`aten`), so whatever a network is made of, a
rule per operation is enough. A rule that is missing gives no field, and nothing that is computed from its result has
one.

Left out are the statistics of norms: a group norm reads the whole map, but is counted like a batch norm, which uses
running averages. A gate such as squeeze-and-excitation is counted: after it, every value sees what the gate sees.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from cnnlab.inspection import receptive_field_algebra as fields
from cnnlab.inspection.receptive_field_algebra import Field, UnknownFieldError

Pair = tuple[int, int]


@dataclass(frozen=True)
class Window:
    """Of a convolution or pooling, height before width.

    Attributes:
        input: height and width of the map that it moves over, without padding.
        kernel: how many values it covers.
        stride: how far it moves from one output to the next.
        padding: values that are added at each border.
        dilation: how far the values that it covers lie apart.
        groups: of channels that are convolved apart.
        ceil_mode: whether a last step that does not fit wholly is taken all the same.
    """

    input: Pair
    kernel: Pair
    stride: Pair
    padding: Pair
    dilation: Pair = (1, 1)
    groups: int = 1
    ceil_mode: bool = False


@dataclass(frozen=True)
class Operation:
    """One that computed something from the image.

    Attributes:
        kind: its name, as torch.nn.functional has it where it has one.
        output: what it gave.
        window: of a convolution or pooling over height and width.
    """

    kind: str
    output: Tensor
    window: Window | None


class Call:
    """An operation and its arguments by name.

    Args:
        func: the operation.
        args: positional arguments.
        kwargs: named arguments.
        output: what it gave.
        field_of: the field of a tensor; None when it does not see the image.
    """

    def __init__(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any], output: Any, field_of: Callable):
        self.func = func
        schema = func._schema
        self.name: str = schema.name.removeprefix("aten::")
        self.arguments: dict[str, Any] = {a.name: a.default_value for a in schema.arguments if a.has_default_value()}
        self.arguments |= {a.name: value for a, value in zip(schema.arguments, args, strict=False)} | kwargs
        self.first: Any = next(iter(args), None)
        self.output = output
        self._field_of = field_of

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    @property
    def shape(self) -> list[int]:
        """Of the result, or of the first of several."""
        return list(next(t for t in tree_leaves(self.output) if isinstance(t, Tensor)).shape)

    def field(self, tensor: Any) -> Field | None:
        """Of one of the arguments; None when it does not see the image."""
        return self._field_of(tensor) if isinstance(tensor, Tensor) else None

    def input(self) -> Field:
        """Of the first argument, in a call where no other may see the image."""
        others = [t for t in tree_leaves(self.arguments) if isinstance(t, Tensor) and t is not self.first]
        field = self.field(self.first)
        if field is None or any(self.field(t) is not None for t in others):
            raise UnknownFieldError
        return field


class FieldMode(TorchDispatchMode):
    """Computes the field of every tensor that is computed from the image while it is active.

    Args:
        image: (1, C, H, W).
        on_operation: told of every operation on what was computed from the image, views and copies left out.
    """

    def __init__(self, image: Tensor, on_operation: Callable[[Operation], None]):
        super().__init__()
        self._on_operation = on_operation
        self._fields: Any = WeakIdKeyDictionary()  # tensor: (field or None where it is not known, when)
        self._clock = 0
        self._overwritten: dict[int, tuple[Any, int]] = {}  # memory: (the memory, when)
        self._record(image, fields.image_field(image.shape))

    def field(self, tensor: Tensor) -> Field | None:
        """What a tensor sees of the image; None when it sees nothing of it, or it is not known."""
        try:
            return self._field_of(tensor)
        except UnknownFieldError:
            return None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs an operation and computes the field of its result."""
        kwargs = kwargs or {}
        inputs = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        sees = any(self._sees(t) for t in inputs)
        output = func(*args, **kwargs)
        outputs = [t for t in tree_leaves(output) if isinstance(t, Tensor)]
        if not sees or not outputs:
            return output
        self._clock += 1
        call = Call(func, args, kwargs, output, self._field_of)
        if call.name not in _SEES_NOTHING:
            results = _results(call, len(outputs))
            for tensor, field in zip(outputs, results, strict=True):
                if any(tensor is t for t in inputs):
                    self._overwrite(tensor, field)
                self._record(tensor, field)
            if call.name.removesuffix("_") not in _REARRANGES:
                self._on_operation(Operation(_kind(call.name), outputs[0], window(call)))
        return output

    def _record(self, tensor: Tensor, field: Field | None) -> None:
        self._fields[tensor] = (field, self._clock)

    def _overwrite(self, tensor: Tensor, field: Field | None) -> None:
        """What else is a name of the same memory has another content now, and perhaps another field."""
        before = self._fields.get(tensor, (None, 0))[0]
        if before is None or before != field:
            memory = tensor.untyped_storage()
            self._overwritten[memory._cdata] = (memory, self._clock)

    def _sees(self, tensor: Tensor) -> bool:
        return tensor in self._fields or tensor.untyped_storage()._cdata in self._overwritten

    def _field_of(self, tensor: Tensor) -> Field | None:
        """None for a tensor that does not see the image.

        Raises:
            UnknownFieldError: for one that does, when its field is not known.
        """
        _, overwritten = self._overwritten.get(tensor.untyped_storage()._cdata, (None, -1))
        field, recorded = self._fields.get(tensor, (None, -1))
        if overwritten > recorded or (recorded >= 0 and field is None):
            raise UnknownFieldError
        return field


def window(call: Call) -> Window | None:
    """Of a convolution or pooling over height and width."""
    if call.name not in ("convolution", "max_pool2d_with_indices", "avg_pool2d") or len(call.shape) != 4:
        return None
    if call.name == "convolution":
        kernel = tuple(call["weight"].shape[2:])
        stride, dilation, groups = call["stride"], call["dilation"], call["groups"]
    else:
        kernel = _pair(call["kernel_size"])
        stride, dilation, groups = call["stride"] or kernel, call.arguments.get("dilation", 1), 1
    ceil_mode = call.arguments.get("ceil_mode", False)
    sides = _pair(call.first.shape[2:])
    return Window(sides, _pair(kernel), _pair(stride), _pair(call["padding"]), _pair(dilation), groups, ceil_mode)


def _pair(value: Any) -> Pair:
    values = [value] if isinstance(value, int) else list(value)
    return values[0], values[-1]


def _kind(name: str) -> str:
    kind = name.strip("_").removesuffix("_with_indices").removeprefix("native_").removeprefix("safe_")
    kind = "scaled_dot_product_attention" if kind.startswith("scaled_dot_product") else kind
    return {"addmm": "linear", "mm": "matmul", "bmm": "matmul", "baddbmm": "matmul", "constant_pad_nd": "pad"}.get(
        kind, kind
    )


def _results(call: Call, count: int) -> list[Field | None]:
    """The field of every result; None where it is not known."""
    name = call.name if call.name in _RULES else call.name.removesuffix("_")
    try:
        if name in _RULES:
            result = _RULES[name](call)
        elif torch.Tag.pointwise in call.func.tags or name in _VALUE_BY_VALUE:
            result = _unite(call)
        else:
            result = _wherever(call)
    except UnknownFieldError:
        return [None] * count
    return list(result) if isinstance(result, list) else [result] * count


# --- a rule per operation --------------------------------------------------------------------------------------------


def _unite(call: Call) -> Field:
    """Value by value."""
    found = [call.field(t) for t in tree_leaves(call.arguments)]
    return fields.unite([field for field in found if field is not None], call.shape)


def _wherever(call: Call) -> Field:
    """Whatever is done to values that all see the same, every result sees that."""
    found = [field for t in tree_leaves(call.arguments) if (field := call.field(t)) is not None]
    if any(field.span != fields.NOWHERE for field in found):
        raise UnknownFieldError
    shape = call.shape
    same = [Field(f.first, f.last, tuple((fields.even(size),) for size in shape)) for f in found]
    return fields.unite(same, shape)


def _same(call: Call) -> Field:
    return call.input()


def _first_alone(call: Call) -> Field:
    field = call.field(call.first)
    if field is None:
        raise UnknownFieldError
    return field


def _convolution(call: Call) -> Field:
    field = call.input()
    shape = call.shape
    rank = len(shape)
    field = fields.expand(fields.mix(field, 1), [*shape[:2], *fields.sizes(field)[2:]])
    for i in range(rank - 2):
        kernel, stride, padding, dilation = (
            call["weight"].shape[2 + i],
            *(call[key][min(i, len(call[key]) - 1)] for key in ("stride", "padding", "dilation")),
        )
        if not call["transposed"]:
            field = fields.slide(field, 2 + i, kernel, stride, padding, dilation, shape[2 + i])
        elif (kernel, padding, shape[2 + i]) == (stride, 0, fields.sizes(field)[2 + i] * stride) and dilation == 1:
            field = fields.repeat_each(field, 2 + i, stride)
        else:  # windows of unequal size in turn
            raise UnknownFieldError
    return field


def _pooling(call: Call) -> Field:
    field = call.input()
    shape = call.shape
    kernel = call["kernel_size"]
    rank = 3 if call.name.startswith(("avg_pool3d", "max_pool3d")) else 2

    def at(value: Any, i: int) -> int:
        values = [value] if isinstance(value, int) else list(value)
        return values[min(i, len(values) - 1)]

    for i in range(rank):
        dim = len(shape) - rank + i
        stride = at(call["stride"] or kernel, i)
        dilation = at(call.arguments.get("dilation", 1), i)
        field = fields.slide(field, dim, at(kernel, i), stride, at(call["padding"], i), dilation, shape[dim])
    return field


def _adaptive_pooling(call: Call) -> Field:
    field = call.input()
    shape = call.shape
    for dim in (-2, -1):
        field = fields.pool_to(field, dim, shape[dim])
    return field


def _reduction(call: Call) -> Field:
    field = call.input()
    dims = call.arguments.get("dim")
    dims = range(len(field.dims)) if dims is None or dims == [] else [dims] if isinstance(dims, int) else dims
    for dim in dims:
        field = fields.mix(field, dim)
    return fields.reshape(field, call.shape) if not call.arguments.get("keepdim") else field


def _softmax(call: Call) -> Field:
    field = call.input()
    return fields.unite([field, fields.mix(field, call["dim"])], call.shape)


def _product(call: Call) -> Field:
    a, b = ("mat1", "mat2") if "mat1" in call.arguments else ("self", "mat2")
    a, b = ("batch1", "batch2") if "batch1" in call.arguments else (a, b)
    product = fields.multiply(call.field(call[a]), call.field(call[b]), call.shape)
    added = call.field(call["self"]) if a != "self" else None
    return product if added is None else fields.unite([product, added], call.shape)


def _linear(call: Call) -> Field:
    field = call.input()
    return fields.expand(fields.mix(field, -1), call.shape)


def _attention(call: Call) -> Field:
    found = [call.field(call[name]) for name in ("query", "key", "value")]
    mixed = [fields.mix(fields.mix(field, -1), -2) for field in found if field is not None]
    return fields.unite(mixed, call.shape)


def _concatenation(call: Call) -> Field:
    tensors = [t for t in call["tensors"] if tuple(t.shape) != (0,)]
    return fields.concatenate([call.field(t) for t in tensors], call["dim"], call.shape)


def _stack(call: Call) -> Field:
    dim = call["dim"] % len(call.shape)
    found = [call.field(t) for t in call["tensors"]]
    one = [*call.shape[:dim], 1, *call.shape[dim + 1 :]]
    return fields.concatenate([None if f is None else fields.reshape(f, one) for f in found], dim, call.shape)


def _padding(call: Call) -> Field:
    field = call.input()
    shape = call.shape
    pad = call.arguments.get("pad") or call.arguments["padding"]
    for i in range(len(pad) // 2):
        dim = len(shape) - 1 - i
        if fields.sizes(field)[dim] != shape[dim] or pad[2 * i]:
            field = fields.cut(field, dim, -pad[2 * i], 1, shape[dim])
    return field


def _reshape(call: Call) -> Field:
    return fields.reshape(call.input(), call.shape)


def _permute(call: Call) -> Field:
    return fields.permute(call.input(), [dim % len(call.shape) for dim in call["dims"]])


def _transpose(call: Call) -> Field:
    order = list(range(len(call.shape)))
    a, b = (call["dim0"], call["dim1"]) if "dim0" in call.arguments else (0, len(order) - 1)
    order[a], order[b] = order[b], order[a]
    return fields.permute(call.input(), order)


def _unsqueeze(call: Call) -> Field:
    field, dim = call.input(), call["dim"] % len(call.shape)
    return Field(field.first, field.last, (*field.dims[:dim], (fields.even(1),), *field.dims[dim:]))


def _squeeze(call: Call) -> Field:
    field = call.input()
    given = call.arguments.get("dim", range(len(field.dims)))
    dims = {dim % len(field.dims) for dim in ([given] if isinstance(given, int) else given)}
    keep = [d for i, d in enumerate(field.dims) if not (i in dims and fields.sizes(field)[i] == 1)]
    return Field(field.first, field.last, tuple(keep))


def _expand(call: Call) -> Field:
    return fields.expand(call.input(), call.shape)


def _restride(call: Call) -> Field:
    """The same values in another order of memory; nothing is said of views that overlap or leave values out."""
    field = call.input()
    if (
        fields.sizes(field) != call.shape
        or call.output.numel() * call.output.itemsize != call.output.untyped_storage().nbytes()
    ):
        raise UnknownFieldError
    return field


def _slice(call: Call) -> Field:
    field, dim = call.input(), call["dim"]
    length, start = fields.sizes(field)[dim], call["start"] or 0
    start = min(max(start + length if start < 0 else start, 0), length)
    return fields.cut(field, dim, start, call["step"], call.shape[dim])


def _select(call: Call) -> Field:
    return fields.select(call.input(), call["dim"], call["index"])


def _split(call: Call) -> list[Field]:
    field, start, parts = call.input(), 0, []
    for part in call.output:
        size = part.shape[call["dim"]]
        parts.append(fields.cut(field, call["dim"], start, 1, size))
        start += size
    return parts


def _unbind(call: Call) -> list[Field]:
    return [fields.select(call.input(), call["dim"], i) for i in range(len(call.output))]


def _upsample(call: Call) -> Field:
    field = call.input()
    for dim in (-2, -1):
        times, rest = divmod(call.shape[dim], fields.sizes(field)[dim])
        if rest:
            raise UnknownFieldError
        field = fields.repeat_each(field, dim, times) if times > 1 else field
    return field


def _copy(call: Call) -> Field:
    source = call.field(call["src"])
    if source is None:
        raise UnknownFieldError
    return fields.expand(source, call.shape)


def _shuffle(call: Call) -> Field:
    """Channels change places; nothing is known of which, but they see alike."""
    field = call.input()
    if any(factor.span != fields.NOWHERE for factor in field.dims[1]):
        raise UnknownFieldError
    return field


_RULES: dict[str, Callable[[Call], Field | list[Field]]] = {
    "convolution": _convolution,
    **dict.fromkeys(("max_pool2d_with_indices", "avg_pool2d", "max_pool3d_with_indices", "avg_pool3d"), _pooling),
    **dict.fromkeys(("_adaptive_avg_pool2d", "adaptive_max_pool2d"), _adaptive_pooling),
    **dict.fromkeys(("mean", "sum", "amax", "amin", "max", "min", "var", "std", "linalg_vector_norm"), _reduction),
    **dict.fromkeys(("_softmax", "_safe_softmax", "_log_softmax"), _softmax),
    **dict.fromkeys(("mm", "addmm", "bmm", "baddbmm"), _product),
    "linear": _linear,
    **dict.fromkeys(
        (
            "_scaled_dot_product_flash_attention_for_cpu",
            "_scaled_dot_product_flash_attention",
            "_scaled_dot_product_efficient_attention",
            "_scaled_dot_product_cudnn_attention",
        ),
        _attention,
    ),
    **dict.fromkeys(
        (
            "native_batch_norm",
            "_native_batch_norm_legit",
            "_native_batch_norm_legit_no_training",
            "cudnn_batch_norm",
            "miopen_batch_norm",
            "native_layer_norm",
            "_fused_rms_norm",
            "native_group_norm",
        ),
        _first_alone,
    ),
    "cat": _concatenation,
    "stack": _stack,
    **dict.fromkeys(("constant_pad_nd", "reflection_pad2d", "replication_pad2d"), _padding),
    **dict.fromkeys(("view", "_unsafe_view", "reshape", "_reshape_alias"), _reshape),
    "permute": _permute,
    **dict.fromkeys(("transpose", "t"), _transpose),
    "unsqueeze": _unsqueeze,
    "squeeze": _squeeze,
    "expand": _expand,
    "as_strided_": _restride,
    "slice": _slice,
    "select": _select,
    **dict.fromkeys(("split", "split_with_sizes"), _split),
    "unbind": _unbind,
    "upsample_nearest2d": _upsample,
    "copy_": _copy,
    **dict.fromkeys(("channel_shuffle", "native_channel_shuffle"), _shuffle),
    **dict.fromkeys(("detach", "alias", "clone", "_to_copy", "contiguous", "lift_fresh"), _same),
}
# Value by value, though torch does not tag them so.
_VALUE_BY_VALUE = {"hardswish", "dropout", "native_dropout", "rrelu_with_noise", "bernoulli"}
# They ask an input for its shape only.
_SEES_NOTHING = {
    *("empty_like", "zeros_like", "ones_like", "full_like", "rand_like", "randn_like"),
    *("new_empty", "new_zeros", "new_ones", "new_full", "new_empty_strided"),
}
# Views and copies: nothing is computed.
_REARRANGES = {
    *("view", "_unsafe_view", "reshape", "_reshape_alias", "permute", "transpose", "t", "unsqueeze", "squeeze"),
    *("expand", "slice", "select", "split", "split_with_sizes", "unbind", "detach", "alias", "clone", "_to_copy"),
    *("contiguous", "copy", "lift_fresh", "as_strided"),
}
