"""Find the feature maps that a network computes for one image, and which of them belong together."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from cnnlab.inspection.activations import FUNCTIONS
from cnnlab.inspection.layers import Layer, LayerTable
from cnnlab.inspection.titles import in_words, is_shortcut

MOST_CHAINS = 6  # that are all shown
FOLLOWERS = ("norm", "pooling", "subsampling", "addition", "stretched tanh", *(name for name, _ in FUNCTIONS.values()))


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
    """Return the chains of a table with values, without shortcuts, layers that compute nothing, and single pixels."""
    found: list[list[Layer]] = []
    for layer in table.layers:
        does = in_words(layer.kind)
        if layer.values is None or layer.sides is None or is_shortcut(layer.name):
            continue
        if does.endswith("convolution"):
            found.append([layer])
        elif found and does.endswith(FOLLOWERS) and layer.values.shape[0] == maps_of(found[-1][0]).shape[0]:
            found[-1].append(layer)
    return [Chain(tuple(layers)) for layers in found if layers[0].sides != (1, 1)]


def shown_chains(chains: Sequence[Chain]) -> list[Chain]:
    """Return all of a few chains; of many, the first, and the last whose convolution has maps of a size."""
    if len(chains) <= MOST_CHAINS:
        return list(chains)
    last = {chain.layers[0].sides: chain for chain in chains}
    return [chain for chain in chains if chain is chains[0] or chain is last[chain.layers[0].sides]]


def last_of_each_size(table: LayerTable) -> list[Layer]:
    """Return the last maps of each size above one pixel, in the order of the calls.

    Maps count if they are square: others may have their channels last. Those inside a block that ends with another size
    count only if there are no others.
    """
    maps = [layer for layer in table.layers if layer.values is not None and layer.sides and not is_shortcut(layer.name)]
    maps = [layer for layer in maps if layer.sides and layer.sides[0] == layer.sides[1] > 1]
    ends = {layer.block: layer.sides for layer in maps}  # the last one stays
    last: dict[object, Layer] = {}
    for layer in maps:
        passing = bool(layer.block) and ends[layer.block] != layer.sides
        if not passing or layer.sides not in last:
            last.pop(layer.sides, None)  # so that the latest maps come last
            last[layer.sides] = layer
    return list(last.values())


def find_explaining(network: nn.Module, table: LayerTable, chains: Sequence[Chain]) -> Layer | None:
    """Return the layer from which class activation maps are computed; its values are the output of the module it names.

    It is the last one with the size of the last convolution. None if there is no such module, or no convolution after
    the first.
    """
    if len(chains) < 2:
        return None
    modules = dict(network.named_modules())
    for place in range(len(table.layers) - 1, -1, -1):
        layer = table.layers[place]
        # Neither the module nor one inside it is called later.
        is_last = not any(f"{later.name}.".startswith(f"{layer.name}.") for later in table.layers[place + 1 :])
        if layer.sides == chains[-1].layers[0].sides and layer.name in modules and is_last:
            return layer
    return None
