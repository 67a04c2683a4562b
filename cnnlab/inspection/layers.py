"""List the layers of a network: shapes, windows, parameters, multiplications, memory and receptive fields."""

import itertools
import math
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from cnnlab.inspection.cost import MISFITS, empty_image, misfit, run_image
from cnnlab.inspection.receptive_field import FieldMode, Operation, ReceptiveField
from cnnlab.inspection.receptive_field_rules import Pair, Window

BYTES = 4  # of a float32


@dataclass(frozen=True)
class Layer:
    """Row of the table: one call of a module without sub-modules, a function called between modules, or parameters.

    Attributes:
        name: path of the module, as in `named_modules`. For a function, the path of the module that calls it, or
            `forward` for the network itself. For a parameter beside sub-modules, its own path.
        kind: the module's class; the function, in lower case; `Parameter`; or a class followed by `, not called`.
        window: of the convolution or pooling over height and width inside; None if there is none, or several.
        output: shape of the output without the batch; None if there is no output.
        parameters: counted in the first row that uses them.
        macs: multiply-accumulate operations of convolutions and matrix products for one image.
        activation_bytes: size of the output for one image in float32, even if it is computed in place; 0 if nothing is
            computed, as by a dropout in evaluation.
        field: receptive field of a value; None if it is unknown, or the layer does not see the image.
        compression: values of the image per value of the output; None if there is no output.
    """

    name: str
    kind: str
    window: Window | None
    output: tuple[int, ...] | None
    parameters: int
    macs: int
    activation_bytes: int
    field: ReceptiveField | None
    compression: float | None

    @property
    def sides(self) -> Pair | None:
        """Height and width of the output; None if it is no map (channels, height, width)."""
        return (self.output[1], self.output[2]) if self.output and len(self.output) == 3 else None


@dataclass(frozen=True)
class LayerTable:
    """Layers of a network for images of one shape.

    Attributes:
        image_shape: (C, H, W).
        layers: in the order of the calls; modules that are not called come last.
        parameters: of the whole network.
        trainable_parameters: parameters that training changes.
    """

    image_shape: tuple[int, int, int]
    layers: tuple[Layer, ...]
    parameters: int
    trainable_parameters: int

    @property
    def macs(self) -> int:
        """Multiply-accumulate operations for one image."""
        return sum(layer.macs for layer in self.layers)

    @property
    def activation_bytes(self) -> int:
        """Size of all layers' outputs for one image in float32."""
        return sum(layer.activation_bytes for layer in self.layers)

    @property
    def weighted_layers(self) -> int:
        """Number of convolutions and linear layers, those of shortcuts included."""
        return sum(layer.macs > 0 and layer.parameters > 0 for layer in self.layers)

    @property
    def last_map(self) -> Layer | None:
        """End of the features: the last map of the size that the last window larger than 1x1 produces."""
        outputs = [layer for layer in self.layers if layer.output]
        windows = [i for i, layer in enumerate(outputs) if layer.sides and _looks_around(layer)]
        if not windows:
            return None
        sides = outputs[windows[-1]].sides
        return list(itertools.takewhile(lambda layer: layer.sides == sides, outputs[windows[-1] :]))[-1]

    @property
    def smallest_map(self) -> Pair | None:
        """Height and width of the smallest map that a window larger than 1x1 produces."""
        maps = [layer.sides for layer in self.layers if layer.sides and _looks_around(layer)]
        return min(maps, key=math.prod, default=None)


def tabulate(network: nn.Module, image_shape: tuple[int, int, int]) -> LayerTable:
    """Run one empty image through the network and list its layers.

    Args:
        network: maps images (N, C, H, W) to logits (N, classes), on any device; on `meta` nothing is computed.
        image_shape: (C, H, W).

    Raises:
        ValueError: if such images do not fit the network.
    """
    image = empty_image(network, image_shape)
    counter = FlopCounterMode(display=False)
    watch = _Watch(network, image, counter)
    try:
        with counter, watch.watching():
            run_image(network, image)
    except MISFITS as error:
        raise ValueError(misfit(image_shape, error)) from None
    parameters = list(network.parameters())
    return LayerTable(
        image_shape,
        (*watch.layers, *watch.not_called()),
        sum(p.numel() for p in parameters),
        sum(p.numel() for p in parameters if p.requires_grad),
    )


def _looks_around(layer: Layer) -> bool:
    return layer.window is not None and layer.window.kernel != (1, 1)


@dataclass
class _Running:
    """Call of a module that has begun and not ended.

    Attributes:
        name: of the module.
        rows_before: number of rows when it began.
        macs_before: multiplications in these rows.
        computed: whether it ran an operation.
        calls: whether it called another module.
        windows: of its convolutions and poolings.
    """

    name: str
    rows_before: int
    macs_before: int
    computed: bool = False
    calls: bool = False
    windows: list[Window] = field(default_factory=list)


class _Watch:
    """Adds a row for every call of a module, and for every function called between modules.

    The functions that a module calls get rows first. If the module has called no other module when it ends, one row for
    the module replaces them.
    """

    def __init__(self, network: nn.Module, image: Tensor, counter: FlopCounterMode):
        self.layers: list[Layer] = []
        self._network = network
        self._names = {module: name for name, module in network.named_modules()}
        self._image = image
        self._counter = counter
        self._macs = 0  # multiplications in all rows so far
        self._fields = FieldMode(image, self._on_operation)
        self._running: list[_Running] = []
        self._counted: set[nn.Parameter] = set()
        self._called: set[nn.Module] = set()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Record all calls inside the `with` block."""
        with ExitStack() as stack:
            for module in self._names:
                for handle in (
                    module.register_forward_pre_hook(self._on_begin),
                    module.register_forward_hook(self._on_end),
                ):
                    stack.callback(handle.remove)
            stack.enter_context(self._fields)
            yield

    def not_called(self) -> list[Layer]:
        """Return rows for the parameters of modules that were not called."""
        rows = []
        for module, name in self._names.items():
            if module in self._called:
                continue
            if not self._called.isdisjoint(module.modules()):
                rows += self._own_parameters(module)  # a container
            elif count := self._count(module.parameters()):
                rows.append(_parameters_row(name, f"{type(module).__name__}, not called", count))
        return rows

    def _on_begin(self, module: nn.Module, inputs: Any) -> None:
        if self._running:
            self._running[-1].calls = True
        self._running.append(_Running(self._names[module] or "forward", len(self.layers), self._macs))
        self._called.add(module)

    def _on_end(self, module: nn.Module, inputs: Any, output: Any) -> None:
        call = self._running.pop()
        if call.calls or not self._running:  # the network itself keeps the rows of its functions
            self.layers[call.rows_before : call.rows_before] = self._own_parameters(module)
            return
        parent = self._running[-1]
        parent.computed = parent.computed or call.computed
        del self.layers[call.rows_before :]
        self._macs = call.macs_before
        row = self._row(call.name, type(module).__name__, _tensor(output), call.computed)
        window = call.windows[0] if len(call.windows) == 1 else None
        self.layers.append(replace(row, window=window, parameters=self._count(module.parameters())))

    def _on_operation(self, operation: Operation) -> None:
        if not self._running:
            return
        call = self._running[-1]
        call.computed = True
        call.windows += [operation.window] if operation.window else []
        row = self._row(call.name, operation.kind, operation.output)
        self.layers.append(replace(row, window=operation.window))

    def _row(self, name: str, kind: str, output: Tensor | None, computed: bool = True) -> Layer:
        """Return a row with the multiplications since the last row."""
        total = self._counter.get_total_flops() // 2
        macs, self._macs = total - self._macs, total
        if output is None:
            return Layer(name, kind, None, None, 0, macs, 0, None, None)
        return Layer(
            name,
            kind,
            window=None,
            output=tuple(output.shape[1:]),
            parameters=0,
            macs=macs,
            activation_bytes=BYTES * output.numel() if computed else 0,
            field=self._fields.field(output),
            compression=self._image.numel() / output.numel(),
        )

    def _own_parameters(self, module: nn.Module) -> list[Layer]:
        """Return a row for each parameter that a module holds beside its sub-modules."""
        path = f"{self._names[module]}.".removeprefix(".")
        return [
            _parameters_row(path + name, "Parameter", count)
            for name, parameter in module.named_parameters(recurse=False)
            if (count := self._count([parameter]))
        ]

    def _count(self, parameters: Iterable[nn.Parameter]) -> int:
        """Return the number of values of the parameters that are not yet counted."""
        new = [p for p in dict.fromkeys(parameters) if p not in self._counted]
        self._counted.update(new)
        return sum(p.numel() for p in new)


def _parameters_row(name: str, kind: str, count: int) -> Layer:
    return Layer(name, kind, None, None, count, 0, 0, None, None)


def _tensor(output: Any) -> Tensor | None:
    """Return a module's output, or the first of several; None if it is no tensor or empty."""
    while isinstance(output, tuple | list) and output:
        output = output[0]
    return output if isinstance(output, Tensor) and output.numel() else None
