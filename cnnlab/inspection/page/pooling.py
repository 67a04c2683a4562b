"""Cut a few windows of a pooling out of a network's maps, with their numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional

from cnnlab.inspection.feature_maps import Chain, maps_of, strongest
from cnnlab.inspection.layers import Layer
from cnnlab.inspection.receptive_field_rules import Window
from cnnlab.inspection.titles import in_words

LARGEST_KERNEL, SHOWN = 4, 2  # SHOWN windows beside each other


@dataclass(frozen=True)
class Pooling:
    """Part of a map before and after a pooling."""

    layer: Layer  # the pooling
    window: Window
    channel: int
    before: Tensor  # (H, W); nan is padding
    winners: Tensor  # bool, which of these are the largest of a window
    maxima: Tensor  # of the windows
    means: Tensor

    @property
    def takes_maximum(self) -> bool:
        """Tell whether the network takes the maximum."""
        return in_words(self.layer.kind) == "max pooling"


def find_pooling(chains: Sequence[Chain]) -> Pooling | None:
    """Return windows around the strongest value of the first pooling with small windows; None if there is none."""
    for chain in chains:
        for before, layer in pairwise(chain.layers):
            window = layer.window
            small = window and max(window.kernel) <= LARGEST_KERNEL and window.dilation == (1, 1)
            if window and small and in_words(layer.kind) in ("max pooling", "average pooling"):
                return _cut(before, layer, window)
    return None


def _cut(before: Layer, layer: Layer, window: Window) -> Pooling:
    channel = strongest(maps_of(layer), 1)[0]
    pooled, (kernel, across), (stride, step) = maps_of(layer)[channel], window.kernel, window.stride
    peak = divmod(int(pooled.argmax()), pooled.shape[1])
    first = [max(min(place - 1, side - SHOWN), 0) for place, side in zip(peak, pooled.shape, strict=True)]
    # The last windows may reach beyond the padding.
    (above, left), beyond = window.padding, LARGEST_KERNEL
    padded = functional.pad(maps_of(before)[channel], (left, left + beyond, above, above + beyond), value=torch.nan)
    top, begin = first[0] * stride, first[1] * step
    rows, columns = ((min(SHOWN, side) - 1) for side in pooled.shape)
    cut = padded[top : top + rows * stride + kernel, begin : begin + columns * step + across]
    windows = cut.unfold(0, kernel, stride).unfold(1, across, step).flatten(2)
    maxima, winners = windows.nan_to_num(nan=-torch.inf).amax(dim=2), torch.zeros_like(cut, dtype=torch.bool)
    for y, x in torch.cartesian_prod(*map(torch.arange, maxima.shape)).tolist():
        place = slice(y * stride, y * stride + kernel), slice(x * step, x * step + across)
        winners[place] |= cut[place] == maxima[y, x]
    return Pooling(layer, window, channel, cut, winners, maxima, windows.nanmean(dim=2))
