"""Draw the README's picture: networks by accuracy and cost, beside what one of them sees.

    python docs/make_pictures.py results=experiments/results/history_brief.json runs=RUN image=test:13

`results` is the JSON file of a published experiment or the `comparison.json` of `cnnlab compare`. `runs` is the run
directory of a trained network. `image` is a picture file, or `test:N` for a test image of the run's data.
"""

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import torch
import yaml
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import FuncFormatter
from PIL import Image
from torch import Tensor, nn

sys.path.append(str(Path(__file__).resolve().parents[1]))  # if cnnlab is not installed

from cnnlab import load
from cnnlab.data.splits import read_split
from cnnlab.inference.trained import TrainedNetwork
from cnnlab.style import COLOURS, LIGHT, LINE, PAGE_COLOURS, SOFT
from experiments.result_figure import place_names

DEFAULTS = {
    "results": "experiments/results/history.json",
    "runs": "",
    "image": "test:13",
    "x": "macs",
    "data": "JPEG copy of CIFAR-10",
    "title": "",
    "output": "docs/images/overview.png",
}
AXES = {"macs": "multiply-accumulate operations per image", "train_seconds": "seconds of training"}
FAMILIES = dict(zip(("vgg", "article", "alexnet", "lenet5", "resnet"), COLOURS, strict=False))
TILES = 6  # filters, and feature maps of a layer
TITLE, NOTE = 0.925, 0.855  # heights of the titles and of the lines below them


def draw(options: dict[str, str]) -> Figure:
    """Return the figure, 8 x 3.7 inches."""
    plt.rcParams.update(LIGHT)
    figure = plt.figure(figsize=(8, 3.7), facecolor="white")
    left, right = figure.subfigures(1, 2, width_ratios=[0.95, 1.05], squeeze=False)[0]
    left.text(0.17, TITLE, options["title"] or "What accuracy costs", weight="bold", fontsize=10)
    _draw_costs(left.add_axes((0.17, 0.14, 0.785, 0.69)), json.loads(Path(options["results"]).read_text()), options)
    net = load(options["runs"], device="cpu", precision="32-true")
    run = json.loads((Path(options["runs"]) / "summary.json").read_text())
    _draw_network(right, net, *_read_image(options, net), run)
    return figure


def _draw_costs(axes: Axes, record: dict[str, Any], options: dict[str, str]) -> None:
    """Draw a point for each network: mean test accuracy over the seeds, with its 95 % interval."""
    groups = record["sections"][0]["groups"]
    values = [group[options["x"]] for group in groups]
    axes.set_xscale("log")
    points, colours = [], {}
    for group, x in zip(groups, values, strict=True):
        colour = next((c for name, c in FAMILIES.items() if group["model"].startswith(name)), SOFT)
        y = 100 * group["mean"]
        low, high = (y if group[end] is None else 100 * group[end] for end in ("low", "high"))
        if group["low"] is not None:
            axes.errorbar(x, y, [[y - low], [high - y]], fmt="none", ecolor=colour, elinewidth=1.3, capsize=2.5)
        axes.plot(x, y, "o", color=colour, markersize=6)
        points.append((group["label"], x, y, low, high))
        colours[group["label"]] = colour
    axes.set_xlim(min(values) / 2, max(values) * 7)
    axes.xaxis.set_major_formatter(FuncFormatter(_short))
    axes.set_xlabel(AXES[options["x"]])
    axes.set_ylabel("test accuracy, %", labelpad=2)
    axes.grid()
    names = place_names(axes, points, weight="bold")
    if len(names) < len(points):
        sys.exit(f"There is no room for these names: {', '.join(colours.keys() - names.keys())}.")
    for name, text in names.items():
        text.set_color(colours[name])
    counts = sorted({group["n"] for group in groups})
    epochs = sorted({group["epochs"] for group in groups})
    length = f"{epochs[0]:g} epochs" if len(epochs) == 1 else f"{epochs[0]:g} to {epochs[-1]:g} epochs"
    seeds = f"n = {counts[0]} to {counts[-1]}" if counts[1:] else f"n = {counts[0]}"
    note = f"{options['data']}, {length}, {seeds}, 95 % intervals"
    axes.text(0, 1.035, note, transform=axes.transAxes, fontsize=7.5, color=SOFT)


def _short(value: float, _: int) -> str:
    """Return a number as 10 k or 1 M."""
    divisor, unit = next(((d, u) for d, u in ((1e9, " G"), (1e6, " M"), (1e3, " k")) if value >= d), (1, ""))
    return f"{value / divisor:g}{unit}"


def _draw_network(
    figure: SubFigure, net: TrainedNetwork, pixels: Tensor, truth: str | None, run: dict[str, Any]
) -> None:
    """Draw an image, the first layer's filters, the maps of the first and the last convolution, and the prediction."""
    convolutions = [module for module in net.network.modules() if isinstance(module, nn.Conv2d)]
    outputs: dict[nn.Module, Tensor] = {}
    for convolution in convolutions:
        convolution.register_forward_hook(lambda module, _, out: outputs.__setitem__(module, out[0].relu()))
    logits = net.logits(pixels[None])
    filters, maps, deep = convolutions[0].weight.detach(), outputs[convolutions[0]], outputs[convolutions[-1]]
    figure.text(0.03, TITLE, f"What {run['model']} sees in an image", weight="bold", fontsize=10)
    note = f"trained for {run['epochs']} epochs, {100 * run['test_accuracy']:.1f} % of the test images correct"
    figure.text(0.03, NOTE, note, fontsize=7.5, color=SOFT)
    _tile(figure, 0.03, 0.437, 0.30, pixels.numpy())
    _draw_prediction(figure, net, logits[0], truth)
    first, last = _strongest(maps), _strongest(deep)
    scaled = 0.5 + 0.5 * filters / filters.abs().amax(dim=(1, 2, 3), keepdim=True)
    colours = scaled.permute(0, 2, 3, 1) if filters.shape[1] == 3 else scaled[:, 0]
    rows = [
        (f"{len(first)} of {len(filters)} filters of the first layer, {_size(filters)}", colours[first], "gray"),
        (f"their feature maps, {_size(maps)}", maps[first], "magma"),
        (f"{len(last)} of {len(deep)} maps of the last convolution, {_size(deep)}", deep[last], "magma"),
    ]
    for row, (text, tiles, colourmap) in enumerate(rows):
        lower = 0.653 - 0.2565 * row
        figure.text(0.37, lower + 0.135, text, fontsize=7.5, color=SOFT)
        for column, tile in enumerate(tiles.numpy()):
            _tile(figure, 0.37 + 0.102 * column, lower, 0.0965, tile, cmap=colourmap)


def _strongest(maps: Tensor) -> list[int]:
    return maps.mean(dim=(1, 2)).argsort(descending=True)[:TILES].tolist()


def _size(maps: Tensor) -> str:
    return f"{maps.shape[-2]} x {maps.shape[-1]}"


def _draw_prediction(figure: SubFigure, net: TrainedNetwork, logits: Tensor, truth: str | None) -> None:
    """Draw a bar for each of the three most probable classes, the correct one in green."""
    figure.text(0.03, 0.370, f"prediction (correct: {truth})" if truth else "prediction", fontsize=7.5, color=SOFT)
    axes = figure.add_axes((0.03, 0.135, 0.30, 0.21))
    values, numbers = logits.softmax(dim=0).topk(3)
    for row, (value, number) in enumerate(zip(values.tolist(), numbers.tolist(), strict=True)):
        name = net.classes[number]
        weight = "bold" if name == truth else "normal"
        axes.barh(row, 1, color=LINE, height=0.26)
        axes.barh(row, value, color=PAGE_COLOURS["good"][0] if name == truth else SOFT, height=0.26)
        axes.text(0, row - 0.22, name, fontsize=7.5, va="bottom", weight=weight)
        axes.text(1, row - 0.22, f"{100 * value:.0f} %", fontsize=7.5, va="bottom", ha="right", weight=weight)
    axes.set(xlim=(0, 1), ylim=(2.2, -0.75))
    axes.axis("off")


def _tile(figure: SubFigure, x: float, y: float, width: float, pixels: Any, **how: Any) -> None:
    """Show pixels as squares in a square of the figure; `y` is its lower edge."""
    size = figure.bbox
    axes = figure.add_axes((x, y, width, width * size.width / size.height))
    axes.imshow(pixels, interpolation="nearest", **how)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set(color=LINE, linewidth=0.5)


def _read_image(options: dict[str, str], net: TrainedNetwork) -> tuple[Tensor, str | None]:
    """Return the image, uint8 (S, S, 3), and its class if it is a test image."""
    if not options["image"].startswith("test:"):
        return net.read(options["image"]), None
    data = yaml.safe_load((Path(options["runs"]) / "config.yaml").read_text())["data"]
    kept = {key: data[key] for key in ("source", "path", "classes", "residence", "cache")}
    images, _ = read_split("test", "article", net.classes, net.image_size, kept)
    found = images.take(torch.tensor([int(options["image"].removeprefix("test:"))]))
    return found.pixels[0], net.classes[int(found.labels[0])]


def main() -> None:
    """Read `key=value` arguments and write the picture with 256 colours, which keeps it small."""
    given = dict(argument.split("=", 1) for argument in sys.argv[1:])
    if unknown := set(given) - set(DEFAULTS):
        sys.exit(f"{', '.join(sorted(unknown))}: the arguments are {', '.join(DEFAULTS)}")
    options = DEFAULTS | given
    if not options["runs"]:
        sys.exit("runs=RUN names the run directory of a trained network")
    output = Path(options["output"])
    draw(options).savefig(output, dpi=200)
    Image.open(output).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(output, optimize=True)
    print(f"{output}, {output.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
