"""Draw what ReLU, tanh and sigmoid make of the values that enter an activation function of the network."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from cnnlab.inspection.activations import SATURATED, ActivationUse
from cnnlab.inspection.feature_maps import Chain, maps_of, strongest
from cnnlab.inspection.page.style import HEAD, WIDTH, Sheet
from cnnlab.inspection.page.tiles import signed_colours

Function = Callable[[Tensor], Tensor]
COMPARED: dict[str, Function] = {"ReLU": torch.relu, "tanh": torch.tanh, "sigmoid": torch.sigmoid}


@dataclass(frozen=True)
class Verdict:
    """What a function would make of the inputs that an activation function of the network gets."""

    function: str
    share: float  # of the inputs that become zero, or lie where the function is nearly flat

    def __str__(self) -> str:
        """Say it in words."""
        return f"{100 * self.share:.0f} % {'become zero' if self.function == 'ReLU' else 'saturated'}"


def judge(use: ActivationUse) -> list[Verdict]:
    """Tell of each of the three functions what it would make of the inputs of this one."""
    places, counts = (use.inputs[1:] + use.inputs[:-1]) / 2, use.counts / use.counts.sum()
    quiet = {
        "ReLU": places <= 0,
        "tanh": torch.tanh(places).abs() > SATURATED,
        "sigmoid": (torch.sigmoid(places) - 0.5).abs() > SATURATED - 0.5,
    }
    return [Verdict(name, float(counts[quiet[name]].sum())) for name in COMPARED]


def input_map(use: ActivationUse, chains: Sequence[Chain]) -> Tensor | None:
    """Return the strongest map that enters an activation function, (H, W); None if no map is known."""
    for chain in chains:
        for before, layer in zip(chain.layers, chain.layers[1:], strict=False):
            if layer.name == use.name:
                maps = maps_of(before)
                return maps[strongest(maps_of(layer), 1)[0]]
    return None


def draw_functions(use: ActivationUse, values: Tensor | None, title: str) -> Figure:
    """Draw ReLU, tanh and sigmoid over the histogram of a layer's inputs, and below what each makes of a map (H, W).

    If the layer's own function is another one, it comes last.
    """
    functions = COMPARED if use.function in COMPARED else COMPARED | {use.function: use.apply}
    across, down = WIDTH / len(functions), 1.9
    side = 0.0 if values is None else min(0.72 * across, 1.1)
    sheet = Sheet(HEAD + down + (side and side + 0.62))
    sheet.title(title)
    verdicts = {verdict.function: verdict for verdict in judge(use)}
    for column, (name, function) in enumerate(functions.items()):
        x, own = column * across, name == use.function
        words = f"{name}: this network" if own and name in verdicts else name
        sheet.text(x + 0.42, HEAD, words, ha="left", fontsize=8)
        sheet.text(x + 0.42, HEAD + 0.16, str(verdicts.get(name, "this network")), ha="left", fontsize=8, color="C1")
        axes = sheet.inset(x + 0.42, HEAD + 0.38, across - 0.88, down - 0.62)
        _draw_function(axes, use, function, first=column == 0, last=column == len(functions) - 1)
    if values is not None:
        top, colours = HEAD + down + 0.35, signed_colours()
        across = WIDTH / (len(functions) + 1)
        sheet.text(0.1, top - 0.22, "a map before, and after each function:", ha="left", fontsize=8)
        for column, (name, function) in enumerate({"before": lambda x: x, **functions}.items()):
            after = function(values).numpy()
            limit, x = max(float(np.abs(after).max()), 1e-12), column * across + (across - side) / 2
            sheet.image(x, top, side, side, after, norm=Normalize(-limit, limit), cmap=colours)
            sheet.box(x, top, side, side, edgecolor="C2", linewidth=0.6)
            reach = f"{name}: {after.min():.2g} to {after.max():.2g}"
            sheet.text(x + side / 2, top + side + 0.05, reach, fontsize=8)
    return sheet.figure


def _draw_function(axes: Axes, use: ActivationUse, function: Function, first: bool, last: bool) -> None:
    edges, counts = use.inputs, (use.counts / use.counts.sum() * 100).numpy()
    reach = max(3.0, float(edges.abs().max()))
    axes.stairs(counts, edges.numpy(), fill=True, color="C0", alpha=0.35)
    axes.set(xlim=(-reach, reach), ylim=(0, 1.08 * counts.max()), xlabel="input")
    axes.yaxis.set_major_locator(MaxNLocator(3))
    curve = axes.twinx()
    places = torch.linspace(-reach, reach, 301)
    outputs = function(places).numpy()
    curve.plot(places.numpy(), outputs, color="C1", linewidth=1.6)
    curve.axhline(0, color="C2", linewidth=0.8)
    curve.axvline(0, color="C2", linewidth=0.8)
    curve.set_ylim(min(-1.1, float(outputs.min()) - 0.1), max(1.1, float(outputs.max()) * 1.05))
    curve.spines["right"].set(visible=True, color="C1")
    curve.yaxis.set_major_locator(MaxNLocator(4))
    if first:
        axes.set_ylabel("share of inputs, %", color="C0", fontsize=8)
    if last:
        curve.set_ylabel("output", color="C1", fontsize=8)
    for one in (axes, curve):
        one.tick_params(labelsize=7, length=2)
