"""List the layers of a network: shapes, windows, parameters, multiplications, memory and receptive fields."""

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor, nn

from cnnlab.inspection.cost import MISFITS, MacCounter, empty_image, misfit, run_image
from cnnlab.inspection.hooks import watch_calls
from cnnlab.inspection.receptive_field import FieldMode, ReceptiveField
from cnnlab.inspection.receptive_field_rules import Pair, Window
from cnnlab.inspection.titles import titles

BYTES = 4  # of a float32


@dataclass(frozen=True)
class Layer:
    """Row of the table: one call of a module without sub-modules, a function called between modules, or parameters."""

    # Path of the module, as in `named_modules`. For a function, that of the module that calls it, or `forward` for the
    # network itself. For a parameter beside sub-modules, its own path.
    name: str
    kind: str  # the module's class; the function, in lower case; `Parameter`; or a class followed by `, not called`
    window: Window | None = None  # of the convolution or pooling over height and width inside; None if not exactly one
    output: tuple[int, ...] | None = None  # shape of the output without the batch; None if there is no output
    parameters: int = 0  # counted in the first row that uses them
    macs: int = 0  # multiply-accumulate operations of convolutions and matrix products for one image
    # Size of the output for one image in float32, even if it is computed in place; 0 if nothing is computed, as by a
    # dropout in evaluation.
    activation_bytes: int = 0
    field: ReceptiveField | None = None  # None if it is unknown, or the layer does not see the image
    compression: float | None = None  # values of the image per value of the output; None if there is no output
    title: str = ""  # what it does, and where: `Block 2, first convolution`; see `titles`
    values: Tensor | None = None  # the output for the image, float32 on the CPU; None if it was not asked for

    @property
    def sides(self) -> Pair | None:
        """Height and width of the output; None if it is no map (channels, height, width)."""
        return (self.output[1], self.output[2]) if self.output and len(self.output) == 3 else None

    @property
    def block(self) -> str:
        """Block that it belongs to, such as `Block 2`; empty if it is in none."""
        return self.title.partition(",")[0] if self.title.startswith("Block ") else ""


@dataclass(frozen=True)
class LayerTable:
    """Layers of a network for images of one shape."""

    image_shape: tuple[int, int, int]  # (C, H, W)
    layers: tuple[Layer, ...]  # in the order of the calls; modules that are not called come last
    parameters: int  # of the whole network
    trainable_parameters: int  # parameters that training changes

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


def tabulate(network: nn.Module, image_shape: tuple[int, int, int], image: Tensor | None = None) -> LayerTable:
    """Run one image (C, H, W) through the network, on any device, and list its layers.

    The image is empty, or a given one, (1, C, H, W) on the network's device, for which the layers' values are kept. On
    the device `meta`, nothing is computed.

    Raises:
        ValueError: if such images do not fit the network.
    """
    keep = image is not None
    image = image if image is not None else empty_image(network, image_shape)
    counter = MacCounter()
    watch = _Watch(network, image, counter, keep)
    try:
        with counter, watch_calls(network, watch.on_end, watch.on_begin), watch.fields:
            run_image(network, image)
    except MISFITS as error:
        raise ValueError(misfit(image_shape, error)) from None
    parameters = list(network.parameters())
    named = titles(network, [(layer.name, layer.kind) for layer in watch.layers])
    return LayerTable(
        image_shape,
        (*map(lambda layer, title: replace(layer, title=title), watch.layers, named), *watch.not_called()),
        sum(p.numel() for p in parameters),
        sum(p.numel() for p in parameters if p.requires_grad),
    )


def _looks_around(layer: Layer) -> bool:
    return layer.window is not None and layer.window.kernel != (1, 1)


@dataclass
class _Running:
    """Call of a module that has begun and not ended."""

    name: str  # of the module
    rows_before: int  # number of rows when it began
    macs_before: int  # multiplications in these rows
    computed: bool = False  # whether it ran an operation
    calls: bool = False  # whether it called another module
    windows: list[Window] = field(default_factory=list)  # of its convolutions and poolings


class _Watch:
    """Adds a row for every call of a module, and for every function called between modules.

    The functions that a module calls get rows first. If the module has called no other module when it ends, one row for
    the module replaces them.
    """

    def __init__(self, network: nn.Module, image: Tensor, counter: MacCounter, keep: bool):
        self.layers: list[Layer] = []
        self._network = network
        self._image = image
        self._counter = counter
        self._keep = keep
        self._macs = 0  # multiplications in all rows so far
        self.fields = FieldMode(image, self._on_operation)
        self._running: list[_Running] = []
        self._counted: set[nn.Parameter] = set()
        self._called: set[nn.Module] = set()

    def not_called(self) -> list[Layer]:
        """Return rows for the parameters of modules that were not called."""
        rows = []
        for name, module in self._network.named_modules():
            if module in self._called:
                continue
            if not self._called.isdisjoint(module.modules()):
                rows += self._own_parameters(name, module)  # a container
            elif count := self._count(module.parameters()):
                rows.append(Layer(name, f"{type(module).__name__}, not called", parameters=count))
        return rows

    def on_begin(self, name: str, module: nn.Module) -> None:
        """Note that a call begins."""
        if self._running:
            self._running[-1].calls = True
        self._running.append(_Running(name or "forward", len(self.layers), self._macs))
        self._called.add(module)

    def on_end(self, name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        """Add the row of a call, or the parameters that a module holds beside its sub-modules."""
        call = self._running.pop()
        if call.calls or not self._running:  # the network itself keeps the rows of its functions
            self.layers[call.rows_before : call.rows_before] = self._own_parameters(name, module)
            return
        parent = self._running[-1]
        parent.computed = parent.computed or call.computed
        del self.layers[call.rows_before :]
        self._macs = call.macs_before
        window = call.windows[0] if len(call.windows) == 1 else None
        row = Layer(call.name, type(module).__name__, window, parameters=self._count(module.parameters()))
        self._add(row, _tensor(output), call.computed)

    def _on_operation(self, kind: str, output: Tensor, window: Window | None) -> None:
        if not self._running:
            return
        call = self._running[-1]
        call.computed = True
        call.windows += [window] if window else []
        self._add(Layer(call.name, kind, window), output)

    def _add(self, row: Layer, output: Tensor | None, computed: bool = True) -> None:
        """Complete and add a row. It gets the multiplications since the last row."""
        total = self._counter.macs
        row = replace(row, macs=total - self._macs)
        self._macs = total
        if output is not None:
            row = replace(
                row,
                output=tuple(output.shape[1:]),
                activation_bytes=BYTES * output.numel() if computed else 0,
                field=self.fields.field(output),
                compression=self._image.numel() / output.numel() if output.numel() else None,
                # A copy, because later layers may work in place.
                values=output[0].float().cpu().clone() if self._keep else None,
            )
        self.layers.append(row)

    def _own_parameters(self, name: str, module: nn.Module) -> list[Layer]:
        """Return a row for each parameter that a module holds beside its sub-modules."""
        return [
            Layer(f"{name}.{own}".removeprefix("."), "Parameter", parameters=count)
            for own, parameter in module.named_parameters(recurse=False)
            if (count := self._count([parameter]))
        ]

    def _count(self, parameters: Iterable[nn.Parameter]) -> int:
        """Return the number of values of the parameters that are not yet counted."""
        new = [p for p in dict.fromkeys(parameters) if p not in self._counted]
        self._counted.update(new)
        return sum(p.numel() for p in new)


def _tensor(output: Any) -> Tensor | None:
    """Return a module's output, or the first of several; None if it is no tensor or empty."""
    while isinstance(output, tuple | list) and output:
        output = output[0]
    return output if isinstance(output, Tensor) and output.numel() else None
