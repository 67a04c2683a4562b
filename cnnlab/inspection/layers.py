"""The layers of a network as a table: shapes, windows, parameters, multiplications, memory and receptive fields."""

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
    """One call of a module that calls no other, a function that is called between modules, or parameters.

    Attributes:
        name: the path of the module as `named_modules` has it; of a function, that of the module that calls it, and
            `forward` for the network itself; of parameters that a module with sub-modules holds, their own.
        kind: the module's class; in lower case the function; `Parameter`; or a class, `not called` behind it.
        window: of the one convolution or pooling over height and width inside; None where there is none, or several.
        output: its shape without the batch; None where nothing comes out.
        parameters: counted where they are used first.
        macs: multiply-accumulate operations of convolutions and matrix products for one image.
        activation_bytes: of its output for one image in float32, also where it is computed in place; 0 where nothing
            is computed, as by a dropout in evaluation.
        field: of its values; None where it sees no image, or the field is not known.
        compression: values of the image per value of its output; None where nothing comes out.
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
    """A network on images of one shape.

    Attributes:
        image_shape: (C, H, W).
        layers: in the order in which they are called; what is not called comes last.
        parameters: of the whole network.
        trainable_parameters: those of them that training changes.
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
        """The outputs of all layers for one image, in float32."""
        return sum(layer.activation_bytes for layer in self.layers)

    @property
    def weighted_layers(self) -> int:
        """Convolutions and linear layers: what a network's name counts, and projections in shortcuts."""
        return sum(layer.macs > 0 and layer.parameters > 0 for layer in self.layers)

    @property
    def last_map(self) -> Layer | None:
        """The end of the features: the last map as high and wide as the last window larger than 1x1 leaves it."""
        outputs = [layer for layer in self.layers if layer.output]
        windows = [i for i, layer in enumerate(outputs) if layer.sides and _looks_around(layer)]
        if not windows:
            return None
        sides = outputs[windows[-1]].sides
        return list(itertools.takewhile(lambda layer: layer.sides == sides, outputs[windows[-1] :]))[-1]

    @property
    def smallest_map(self) -> Pair | None:
        """Height and width of the smallest map that a window larger than 1x1 gives."""
        maps = [layer.sides for layer in self.layers if layer.sides and _looks_around(layer)]
        return min(maps, key=math.prod, default=None)


def tabulate(network: nn.Module, image_shape: tuple[int, int, int]) -> LayerTable:
    """Runs one empty image through the network, and looks at every layer on the way.

    Args:
        network: images (N, C, H, W) to logits (N, classes), on any device; on `meta` nothing is computed.
        image_shape: (C, H, W).

    Raises:
        ValueError: when such images do not fit the network.
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
    """A module's call that is going on.

    Attributes:
        begin: the number of rows when it began.
        told: the multiplications that rows had by then.
        computed: whether an operation was run in it.
        calls: whether it called another module.
        windows: of the convolutions and poolings in it.
    """

    name: str
    begin: int
    told: int
    computed: bool = False
    calls: bool = False
    windows: list[Window] = field(default_factory=list)


class _Watch:
    """Writes a row whenever a module has been called, or a function between modules.

    A call's own functions get rows as they come; when it turns out that it called no other module, one row takes their
    place.
    """

    def __init__(self, network: nn.Module, image: Tensor, counter: FlopCounterMode):
        self.layers: list[Layer] = []
        self._network = network
        self._names = {module: name for name, module in network.named_modules()}
        self._image = image
        self._counter = counter
        self._told = 0  # multiplications that rows have
        self._fields = FieldMode(image, self._on_operation)
        self._running: list[_Running] = []
        self._counted: set[nn.Parameter] = set()
        self._called: set[nn.Module] = set()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Looks at what is called inside."""
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
        """Rows for parameters that no module took with it when it was called."""
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
        self._running.append(_Running(self._names[module] or "forward", len(self.layers), self._told))
        self._called.add(module)

    def _on_end(self, module: nn.Module, inputs: Any, output: Any) -> None:
        call = self._running.pop()
        if call.calls or not self._running:  # the network itself is shown by what it does, even without modules
            self.layers[call.begin : call.begin] = self._own_parameters(module)
            return
        parent = self._running[-1]
        parent.computed = parent.computed or call.computed
        del self.layers[call.begin :]
        self._told = call.told
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
        """A row that takes the multiplications that no row has yet."""
        macs = self._counter.get_total_flops() // 2
        told, self._told = self._told, macs
        if output is None:
            return Layer(name, kind, None, None, 0, macs - told, 0, None, None)
        return Layer(
            name,
            kind,
            None,
            tuple(output.shape[1:]),
            0,
            macs - told,
            BYTES * output.numel() if computed else 0,
            self._fields.field(output),
            self._image.numel() / output.numel(),
        )

    def _own_parameters(self, module: nn.Module) -> list[Layer]:
        """A row for each parameter that a module with sub-modules holds itself."""
        path = f"{self._names[module]}.".removeprefix(".")
        return [
            _parameters_row(path + name, "Parameter", count)
            for name, parameter in module.named_parameters(recurse=False)
            if (count := self._count([parameter]))
        ]

    def _count(self, parameters: Iterable[nn.Parameter]) -> int:
        """The number of values of those that have not been counted."""
        new = [p for p in dict.fromkeys(parameters) if p not in self._counted]
        self._counted.update(new)
        return sum(p.numel() for p in new)


def _parameters_row(name: str, kind: str, count: int) -> Layer:
    return Layer(name, kind, None, None, count, 0, 0, None, None)


def _tensor(output: Any) -> Tensor | None:
    """What a module gave, the first where it gave several."""
    while isinstance(output, tuple | list) and output:
        output = output[0]
    return output if isinstance(output, Tensor) and output.numel() else None
