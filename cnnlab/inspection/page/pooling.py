"""Cut a few windows of a pooling out of a network's maps, with their numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

from cnnlab.inspection.feature_maps import Chain, maps_of, strongest
from cnnlab.inspection.layers import Layer
from cnnlab.inspection.receptive_field_rules import Window
from cnnlab.inspection.titles import in_words

Table = list[list[float | None]]  # None is padding
LARGEST_KERNEL = 4


@dataclass(frozen=True)
class Pooling:
    """Part of a map before and after a pooling."""

    layer: Layer  # the pooling
    window: Window
    channel: int
    before: Table
    maxima: Table
    means: Table

    @property
    def takes_maximum(self) -> bool:
        """Tell whether the network takes the maximum."""
        return in_words(self.layer.kind) == "max pooling"

    @property
    def largest(self) -> float:
        """Size of the largest value before."""
        return max((abs(value) for row in self.before for value in row if value is not None), default=0) or 1.0

    def wins(self, row: int, column: int) -> bool:
        """Tell whether the value at this place is the largest of a window."""
        value = self.before[row][column]
        return value is not None and any(
            value == self.maxima[y][x]
            for y in range(len(self.maxima))
            for x in range(len(self.maxima[0]))
            if self.begin(0, y) <= row < self.begin(0, y) + self.window.kernel[0]
            and self.begin(1, x) <= column < self.begin(1, x) + self.window.kernel[1]
        )

    def begin(self, axis: int, place: int) -> int:
        """Return the first row, or with `axis` 1 column, of the window of an output."""
        return place * self.window.stride[axis]


def find_pooling(chains: Sequence[Chain]) -> Pooling | None:
    """Return windows around the strongest value of the first pooling with small windows; None if there is none."""
    for chain in chains:
        for before, layer in zip(chain.layers, chain.layers[1:], strict=False):
            window = layer.window
            small = window and max(window.kernel) <= LARGEST_KERNEL and window.dilation == (1, 1)
            if window and small and in_words(layer.kind) in ("max pooling", "average pooling"):
                return _cut(before, layer, window)
    return None


def _cut(before: Layer, layer: Layer, window: Window) -> Pooling:
    channel = strongest(maps_of(layer), 1)[0]
    values, pooled = maps_of(before)[channel], maps_of(layer)[channel]
    shown = [min(side, 2) for side in pooled.shape]
    peak = divmod(int(pooled.argmax()), pooled.shape[1])
    first = [min(max(peak[axis] - 1, 0), pooled.shape[axis] - shown[axis]) for axis in (0, 1)]
    begins = [
        [(first[axis] + place) * window.stride[axis] - window.padding[axis] for place in range(shown[axis])]
        for axis in (0, 1)
    ]
    rows, columns = (range(begins[axis][0], begins[axis][-1] + window.kernel[axis]) for axis in (0, 1))

    def at(row: int, column: int) -> float | None:
        inside = 0 <= row < values.shape[0] and 0 <= column < values.shape[1]
        return float(values[row, column]) if inside else None

    def inside(y: int, x: int) -> list[float]:
        places = ((y + i, x + j) for i in range(window.kernel[0]) for j in range(window.kernel[1]))
        return [value for place in places if (value := at(*place)) is not None]

    return Pooling(
        layer,
        window,
        channel,
        before=[[at(row, column) for column in columns] for row in rows],
        maxima=[[max(inside(y, x)) for x in begins[1]] for y in begins[0]],
        means=[[sum(found := inside(y, x)) / len(found) for x in begins[1]] for y in begins[0]],
    )
