"""Watch the activation functions of a network: what enters them, and which units are dead or saturated."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from cnnlab.errors import RequestError
from cnnlab.inspection.cost import QuickMode, run_image
from cnnlab.inspection.hooks import watch_calls

BINS = 150
SHOWN = 0.998  # share of the values in a histogram; outliers would squeeze all others into one bin
SATURATED = 0.95  # tanh is saturated beyond this, a sigmoid beyond this or below 1 - this

# `dead` values are zero; `saturated` values lie within 5 % of the function's limits; `left` values come from an input
# of zero or below, of which the function passes little or nothing on.
Quiet = Literal["dead", "saturated", "left"]

# PyTorch's operation: the common name of the function, and what makes its values quiet.
FUNCTIONS: dict[str, tuple[str, Quiet]] = {
    "relu": ("ReLU", "dead"),
    "hardtanh": ("ReLU6", "dead"),
    "tanh": ("tanh", "saturated"),
    "sigmoid": ("sigmoid", "saturated"),
    "hardsigmoid": ("hard sigmoid", "saturated"),
    "gelu": ("GELU", "left"),
    "silu": ("SiLU", "left"),
    "leaky_relu": ("leaky ReLU", "left"),
    "elu": ("ELU", "left"),
    "celu": ("CELU", "left"),
    "mish": ("Mish", "left"),
    "softplus": ("softplus", "left"),
    "hardswish": ("hard swish", "left"),
}


@dataclass(frozen=True)
class ActivationUse:
    """Use of an activation function at one place of a network, over some images.

    A unit is one value of the output for an image: a neuron, or one position of one channel.
    """

    name: str  # of the module that computes it; `forward` for the network itself
    function: str  # its common name
    quiet: Quiet  # what counts as quiet
    inputs: Tensor  # edges of the bins of a histogram of the inputs, ascending, (bins + 1,)
    counts: Tensor  # number of inputs in each bin, (bins,), without a few outliers
    apply: Callable[[Tensor], Tensor]  # computes the function of any values
    units: int  # number of units
    quiet_share: float  # share of quiet values, over all images
    quiet_units: int  # number of units that were quiet for every image
    channels: int | None  # number of channels; None if the output is no map
    quiet_channels: int | None  # number of channels with all units quiet for every image


def watch_activations(network: nn.Module, batches: Iterable[Tensor]) -> tuple[tuple[ActivationUse, ...], Tensor]:
    """Run images through a network and watch its activation functions, modules and functions alike, in their order.

    Returns their uses, and the logits, float32 (N, classes) on the CPU. The batches, one or more, are images (N, C, H,
    W), normalized and on the network's device.
    """
    watch = _Watch()
    logits: list[Tensor] = []
    begin, end = (lambda name, _: watch.running.append(name or "forward")), (lambda *_: watch.running.pop())
    with watch_calls(network, end, begin), watch:
        for images in batches:
            watch.place = 0
            logits.append(run_image(network, images).float().cpu())
    return tuple(counter.result() for counter in watch.counters), torch.cat(logits)


class _Counter:
    """Counts what passes through an activation function, an operation of PyTorch, at one place: in a module."""

    def __init__(self, name: str, operation: str, inputs: Tensor, function: Callable[[Tensor], Tensor]):
        self.name, self.function = name, function
        self.title: str = FUNCTIONS[operation][0]
        self.quiet: Quiet = FUNCTIONS[operation][1]
        low, high = inputs.aminmax()  # those of the first batch determine the range of the histogram
        if not (low.isfinite() and high.isfinite()):
            raise RequestError(f"checkpoint: the inputs of {name} are not finite: the network may have diverged")
        margin = max(float(high - low), 1e-3)
        self.range = float(low) - margin / 4, float(high) + margin / 4
        self.counts = torch.zeros(BINS, dtype=torch.float64)
        self.always_quiet = torch.ones(inputs.shape[1:], dtype=torch.bool, device=inputs.device)
        self.quiet_values = self.values = 0

    def add(self, inputs: Tensor, outputs: Tensor) -> None:
        """Count the inputs and outputs of a batch."""
        quiet = self._is_quiet(inputs, outputs)
        self.always_quiet &= quiet.all(dim=0)
        self.quiet_values += int(quiet.sum())
        self.values += quiet.numel()
        self.counts += torch.histc(inputs.float(), BINS, *self.range).double().cpu()

    def result(self) -> ActivationUse:
        """Return all counts."""
        edges = torch.linspace(*self.range, BINS + 1)
        first, last = self._shown_bins()
        edges, counts = edges[first : last + 2], self.counts[first : last + 1]
        is_map = self.always_quiet.ndim == 3
        return ActivationUse(
            name=self.name,
            function=self.title,
            quiet=self.quiet,
            inputs=edges,
            counts=counts,
            apply=self.function,
            units=self.always_quiet.numel(),
            quiet_share=self.quiet_values / self.values,
            quiet_units=int(self.always_quiet.sum()),
            channels=len(self.always_quiet) if is_map else None,
            quiet_channels=int(self.always_quiet.flatten(1).all(dim=1).sum()) if is_map else None,
        )

    def _is_quiet(self, inputs: Tensor, outputs: Tensor) -> Tensor:
        if self.quiet == "dead":
            return outputs == 0
        if self.quiet == "left":
            return inputs <= 0
        if self.title == "tanh":
            return outputs.abs() > SATURATED
        return (outputs > SATURATED) | (outputs < 1 - SATURATED)

    def _shown_bins(self) -> tuple[int, int]:
        """Return the first and last of the bins that hold all but a few outliers."""
        shares = self.counts.cumsum(0) / self.counts.sum()
        outside = (1 - SHOWN) / 2
        return int((shares <= outside).sum()), min(int((shares < 1 - outside).sum()), BINS - 1)


class _Watch(QuickMode):
    """Watches every activation function that is computed while the mode is active, and which module computes it.

    Every pass computes them in the same order. So `place` counts them, and must be set to 0 before each pass.
    """

    def __init__(self):
        super().__init__()
        self.counters: list[_Counter] = []
        self.place = 0
        self.running: list[str] = []  # names of the modules whose calls have begun and not ended

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, and count its values if it is an activation function."""
        kwargs = kwargs or {}
        operation = func._schema.name.removeprefix("aten::").removesuffix("_")
        if operation not in FUNCTIONS or (operation == "hardtanh" and args[1] != 0):  # ReLU6 is a hardtanh from 0
            return func(*args, **kwargs)
        inputs = args[0].clone()  # the function may overwrite them
        outputs = func(*args, **kwargs)
        if self.place == len(self.counters):

            def function(values: Tensor) -> Tensor:
                return func(values.clone(), *args[1:], **kwargs)

            self.counters.append(_Counter(self.running[-1], operation, inputs, function))
        self.counters[self.place].add(inputs, outputs)
        self.place += 1
        return outputs
