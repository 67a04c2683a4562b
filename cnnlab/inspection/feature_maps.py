"""Collect the feature maps that a network computes for one image."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from cnnlab.inspection.activations import FUNCTIONS
from cnnlab.inspection.cost import run_image
from cnnlab.inspection.hooks import watch_calls
from cnnlab.inspection.layers import Layer, LayerTable
from cnnlab.inspection.receptive_field import FieldMode, ReceptiveField
from cnnlab.inspection.receptive_field_rules import Pair, Window
from cnnlab.inspection.titles import in_words, is_shortcut

MOST_CHAINS = 6  # that are all shown
FOLLOWERS = ("norm", "pooling", "addition", "stretched tanh", *(name for name, _ in FUNCTIONS.values()))


@dataclass(frozen=True)
class Stage:
    """Last maps of one size that a network computes for an image."""

    name: str  # of the module that outputs them, as in `named_modules`: the innermost one that is called once
    kind: str  # the module's class
    maps: Tensor  # float32 (C, H, W), on the CPU
    field: ReceptiveField | None  # receptive field of their values; None if it is unknown

    @property
    def sides(self) -> Pair:
        """Height and width."""
        return self.maps.shape[1], self.maps.shape[2]


@dataclass(frozen=True)
class Chain:
    """Convolution, and the layers after it up to the next one: their channels belong together."""

    layers: tuple[Layer, ...]  # with values (C, H, W), all with as many channels

    @property
    def silent_channels(self) -> int:
        """Number of channels that are zero everywhere at the end."""
        return int((maps_of(self.layers[-1]) == 0).flatten(1).all(dim=1).sum())

    def strongest(self, count: int) -> list[int]:
        """Return the channels with the largest mean absolute values at the end, the largest first."""
        return strongest(maps_of(self.layers[-1]), count)


def strongest(maps: Tensor, count: int) -> list[int]:
    """Return the channels of maps (C, H, W) with the largest mean absolute values, the largest first."""
    return maps.abs().mean(dim=(1, 2)).argsort(descending=True, stable=True)[:count].tolist()


def maps_of(layer: Layer) -> Tensor:
    """Return the values of a layer that has maps, float32 (C, H, W)."""
    assert layer.values is not None and layer.sides is not None
    return layer.values


def find_chains(table: LayerTable) -> list[Chain]:
    """Return the chains of a table with values, without shortcuts and layers that compute nothing."""
    found: list[list[Layer]] = []
    for layer in table.layers:
        does = in_words(layer.kind)
        if layer.values is None or layer.sides is None or is_shortcut(layer.name):
            continue
        if does == "convolution":
            found.append([layer])
        elif found and does.endswith(FOLLOWERS) and layer.values.shape[0] == maps_of(found[-1][0]).shape[0]:
            found[-1].append(layer)
    return [Chain(tuple(layers)) for layers in found]


def shown_chains(chains: Sequence[Chain]) -> list[Chain]:
    """Return all of a few chains; of many, the first, and the last whose convolution has maps of a size."""
    if len(chains) <= MOST_CHAINS:
        return list(chains)
    last = {chain.layers[0].sides: chain for chain in chains}
    return [chain for chain in chains if chain is chains[0] or chain is last[chain.layers[0].sides]]


@dataclass(frozen=True)
class FeatureMaps:
    """Feature maps of one image, one of each size."""

    first: Stage | None  # output of the first convolution itself; None if no module is a convolution
    filters: Tensor | None  # weights of this convolution, (out, in / groups, height, width), on the CPU
    stages: tuple[Stage, ...]  # the last maps of each size above one pixel, in the order in which they are computed
    # The stage of the size that the last convolution produces; class activation maps are computed from it. None if it
    # is the output of the first convolution, or there is no convolution.
    explaining: Stage | None
    logits: Tensor  # float32 (classes,), on the CPU


def trace_maps(network: nn.Module, image: Tensor) -> FeatureMaps:
    """Run an image through a network and keep the last maps of each size.

    Outputs of shape (1, C, H, W) with H = W > 1 count as maps. Images are square, so this excludes tensors with
    channels last. Maps inside a block that reduces the size count as the last ones of the larger size only if there
    are no others. The image is normalized, (1, C, H, W), and on the network's device.
    """
    calls = _count_calls(network, image)
    watch = _Watch(network, image, calls)
    with watch_calls(network, watch.on_end), watch.fields:
        logits = run_image(network, image)
    stages = tuple(found.stage for found in watch.latest.values())
    explaining = next((stage for stage in stages if stage.sides == watch.last_convolved), None)
    if watch.first is not None and explaining is not None and explaining.name == watch.first.name:
        explaining = None
    return FeatureMaps(watch.first, watch.filters, stages, explaining, logits[0].float().cpu())


@dataclass
class _Calls:
    """Calls of a module while an image runs through the network."""

    count: int = 0  # number of calls
    leaves: Pair | None = None  # height and width of the input, if the module is a block that outputs another size


def _count_calls(network: nn.Module, image: Tensor) -> dict[str, _Calls]:
    calls = {name: _Calls() for name, _ in network.named_modules()}

    def count(name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        calls[name].count += 1
        before, after = (_sides(value) for value in (next(iter(inputs), None), output))
        # A Sequential is no block: it may be the whole network.
        if before and after and before != after and type(module) is not nn.Sequential:
            calls[name].leaves = before

    with watch_calls(network, count):
        run_image(network, image)
    return calls


@dataclass(frozen=True)
class _Found:
    """Tensor with maps, and their description."""

    tensor: Tensor  # the output of a module
    version: int  # PyTorch's count of changes to the tensor; layers that work in place increase it
    stage: Stage  # named after the first module that output the tensor
    passing: bool  # whether it was computed inside a block that reduces the size


class _Watch:
    """Keeps the last maps of each size while an image runs through a network."""

    def __init__(self, network: nn.Module, image: Tensor, calls: dict[str, _Calls]):
        self.first: Stage | None = None
        self.filters: Tensor | None = None
        self.latest: dict[Pair, _Found] = {}
        self.last_convolved: Pair | None = None  # height and width of the last convolution's output
        self._network = network
        self._calls = calls
        self.fields = FieldMode(image, self._on_operation)

    def on_end(self, name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        """Keep the output of a module if it has maps."""
        sides = _sides(output)
        if sides is None or self._calls[name].count > 1 or module is self._network:
            return
        known = self.latest.get(sides)
        if known and known.tensor is output and known.version == output._version:
            return  # a container that returns the output of an inner module
        passing = any(self._calls[name[:end]].leaves == sides for end, letter in enumerate(name) if letter == ".")
        if known and passing and not known.passing:
            return
        field = self.fields.field(output)
        # A copy, because later layers may work in place.
        stage = Stage(name, type(module).__name__, output[0].float().cpu().clone(), field)
        self.latest.pop(sides, None)  # so that the latest maps come last
        self.latest[sides] = _Found(output, output._version, stage, passing)
        if self.first is None and isinstance(module, nn.Conv2d):
            self.first, self.filters = stage, module.weight.detach().float().cpu()

    def _on_operation(self, kind: str, output: Tensor, window: Window | None) -> None:
        if kind == "convolution":
            self.last_convolved = _sides(output) or self.last_convolved


def _sides(output: Any) -> Pair | None:
    """Return height and width of maps; None for anything else."""
    if isinstance(output, Tensor) and output.ndim == 4 and output.shape[2] == output.shape[3] > 1:
        return output.shape[2], output.shape[3]
    return None
