"""Compute receptive fields: which pixels of the image a value inside a network depends on."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from cnnlab.inspection.cost import QuickMode
from cnnlab.inspection.field import Field, UnknownFieldError, image_field
from cnnlab.inspection.receptive_field_rules import Call, Pair, Window, find_window, result_fields, tensors_in


@dataclass(frozen=True)
class ReceptiveField:
    """Theoretical receptive field of a layer's values, not cut at the border. In pixels, height before width."""

    size: Pair  # of one value's field; the largest if sizes differ, as after adaptive pooling or a concatenation
    start: Pair  # first row and column of the field of position (0, 0); negative if padding is seen
    # Distance between the fields of neighbouring positions; 0 if all see the same, None if the distances differ.
    step: tuple[int | None, int | None]

    @classmethod
    def of(cls, field: Field) -> "ReceptiveField":
        """Return the size, start and step of a field."""
        if field.edges.ndim == 5 and field.steps_along(2)[1] == 0:  # maps, unless their channels come last
            field = field.mix(1)
        along = [field.steps_along(dim) for dim in range(field.edges.ndim - 1)]
        moving = [[steps[axis] for steps in along if steps[axis] != 0] for axis in (0, 1)]
        step, step_across = (own[0] if len(own) == 1 else None if own else 0 for own in moving)
        first, last = field.edges[:2].reshape(2, -1), -field.edges[2:].reshape(2, -1)
        (height, width), (row, column) = (last - first + 1).max(axis=1).tolist(), first.min(axis=1).tolist()
        return cls((height, width), (row, column), (step, step_across))

    def exceeds(self, height: int, width: int) -> bool:
        """Return whether the field is larger than an image of that size."""
        return self.size[0] > height or self.size[1] > width

    def box(self, row: int, column: int, height: int, width: int) -> tuple[int, int, int, int] | None:
        """Return the field of one position, cut at the border of an image of height x width; None if the steps differ.

        It consists of top, left, bottom and right, the last two inside the field.
        """
        edges = []
        for index, start, step, size, length in zip(
            (row, column), self.start, self.step, self.size, (height, width), strict=True
        ):
            if step is None:
                return None
            first = start + index * step
            edges.append((max(first, 0), min(first + size, length) - 1))
        return edges[0][0], edges[1][0], edges[0][1], edges[1][1]


class FieldMode(QuickMode):
    """Computes the receptive field of every tensor that is computed from the image while the mode is active.

    Args:
        image: (1, C, H, W).
        on_operation: called after every operation that depends on the image, except for views and copies. It gets the
            operation's name (if possible that of the function in torch.nn.functional), its first result, and the
            window of a convolution or pooling over height and width.
    """

    def __init__(self, image: Tensor, on_operation: Callable[[str, Tensor, Window | None], None]):
        super().__init__()
        self._on_operation = on_operation
        self._fields: Any = WeakIdKeyDictionary()  # from a tensor to its field, or None if it is unknown
        self._overwritten: dict[int, Any] = {}  # memory in which values changed; held, so that no other takes its place
        self._fields[image] = image_field(*image.shape[2:])

    def field(self, tensor: Tensor) -> ReceptiveField | None:
        """Return the field of a tensor's values; None if they do not depend on the image, or it is unknown."""
        field = self._fields.get(tensor)
        return field and ReceptiveField.of(field)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, and compute the field of its results."""
        kwargs = kwargs or {}
        inputs = tensors_in((args, kwargs))
        sees_image = any(t in self._fields or _memory(t)._cdata in self._overwritten for t in inputs)
        output = func(*args, **kwargs)
        if not sees_image:
            return output
        call = Call(func, args, kwargs, output, self._field_of)
        if call.name in _READ_SHAPE_ONLY or not call.outputs:
            return output
        for tensor, field in zip(call.outputs, result_fields(call), strict=True):
            if any(tensor is t for t in inputs) and not _is_same(field, self._fields.get(tensor)):
                self._forget_memory(tensor)
            self._fields[tensor] = field
        if call.name.removesuffix("_") not in _REARRANGE_ONLY:
            self._on_operation(_kind(call.name), call.outputs[0], find_window(call))
        return output

    def _forget_memory(self, tensor: Tensor) -> None:
        """Forget the fields of all tensors that share memory with a tensor that was overwritten."""
        memory = _memory(tensor)
        self._overwritten[memory._cdata] = memory
        for other in list(self._fields):
            if _memory(other)._cdata == memory._cdata:
                del self._fields[other]

    def _field_of(self, tensor: Tensor) -> Field | None:
        """Return the field of a tensor, or None if it does not depend on the image.

        Raises:
            UnknownFieldError: if it depends on the image in an unknown way.
        """
        field = self._fields.get(tensor)
        if field is None and (tensor in self._fields or _memory(tensor)._cdata in self._overwritten):
            raise UnknownFieldError
        return field


def _is_same(field: Field | None, other: Field | None) -> bool:
    return field is not None and other is not None and np.array_equal(field.edges, other.edges)


def _memory(tensor: Tensor) -> Any:
    return tensor.untyped_storage()


def _kind(name: str) -> str:
    kind = name.strip("_").removesuffix("_with_indices").removeprefix("native_").removeprefix("safe_")
    return _COMMON_NAMES.get(kind, kind)


_COMMON_NAMES = {"addmm": "linear", "constant_pad_nd": "pad", **dict.fromkeys(("mm", "bmm", "baddbmm"), "matmul")}
_READ_SHAPE_ONLY = {
    *("empty_like", "zeros_like", "ones_like", "full_like", "rand_like", "randn_like"),
    *("new_empty", "new_zeros", "new_ones", "new_full", "new_empty_strided"),
}
_REARRANGE_ONLY = {  # views and copies
    *("view", "_unsafe_view", "reshape", "_reshape_alias", "permute", "transpose", "t", "unsqueeze", "squeeze"),
    *("expand", "slice", "select", "split", "split_with_sizes", "unbind", "detach", "alias", "clone", "_to_copy"),
    *("contiguous", "copy", "lift_fresh", "as_strided"),
}
