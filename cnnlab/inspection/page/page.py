"""Draw the inside of a network, and write a page that explains the pictures and needs no other file."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from cnnlab.files import write_atomically
from cnnlab.inspection.attribution import agreement, spread_over_image
from cnnlab.inspection.feature_maps import Chain, last_of_each_size, shown_chains
from cnnlab.inspection.inside import Inside
from cnnlab.inspection.page.functions import draw_functions, input_map, judge
from cnnlab.inspection.page.pooling import find_pooling
from cnnlab.inspection.page.sizes import draw_path, in_words, steps
from cnnlab.inspection.page.style import Picture, picture
from cnnlab.inspection.page.tiles import CHANNELS, draw_chain, draw_class_maps, draw_filters, weak_filters
from cnnlab.style import templates


@dataclass(frozen=True)
class Mistake:
    """Watched image that the network classifies wrongly."""

    pixels: Tensor  # uint8 (H, W, 3)
    name: str  # of the image
    truth: str  # its class
    predicted: str
    confidence: float  # of the predicted class


def write_inside(inside: Inside, mistakes: Sequence[Mistake], folder: Path) -> list[Path]:
    """Write `index.html` and the pictures on white into an existing folder; return the files, the page first.

    `mistakes` are those of all watched images that the page shows.
    """
    pictures = draw(inside)
    has_live = (folder / "live.html").is_file()
    files = {folder / "index.html": render(inside, mistakes, pictures, has_live)}
    files |= {folder / f"{one.name}.png": one.light for one in pictures.values()}
    for file, content in files.items():
        write_atomically(file, content)
    return list(files)


def draw(inside: Inside) -> dict[str, Picture]:
    """Draw all pictures that apply to the network, and return them by name."""
    pictures: dict[str, Picture] = {}

    def add(name: str, alt: str, draw: Callable[..., Figure], *arguments: Any, smooth: bool = False) -> None:
        pictures[name] = picture(name, alt, lambda: draw(*arguments), smooth)

    if inside.filters is not None:
        add("filters", f"{len(inside.filters)} filters as small tiles", draw_filters, inside.filters, inside.grey)
    for name, chain in _named_chains(inside).items():
        alt = f"maps of the strongest channels: {', '.join(layer.title for layer in chain.layers)}"
        first = chain is inside.chains[0] and inside.filters is not None and inside.filters.shape[1] in (1, 3)
        add(name, alt, draw_chain, chain, inside.filters if first else None, inside.grey)
    if sizes := last_of_each_size(inside.table):
        alt = "the image, a map of each size drawn to scale, and the receptive field of its middle value"
        add("path", alt, draw_path, inside.pixels, sizes, steps(inside.table))
    if inside.uses:
        use = inside.uses[0]
        alt = "ReLU, tanh and sigmoid over a histogram of their inputs, and a map before and after each"
        title = f"What three functions make of the inputs of one layer: {_titles(inside).get(use.name, use.name)}"
        add("activations", alt, draw_functions, use, input_map(use, inside.chains), title)
    if inside.class_maps and inside.explaining:
        alt = "the image, and for each class a heat map laid over it"
        shown = inside.pixels, inside.class_maps, inside.explaining.field
        add("class_maps", alt, draw_class_maps, *shown, smooth=True)
    return pictures


def _agreements(inside: Inside) -> list[tuple[str, float]]:
    """Return for each class how alike its activation map and its occlusion map are, where both have an answer."""
    if not (inside.class_maps and inside.explaining):
        return []
    size = inside.pixels.shape[:2]
    values = torch.stack([one.values for one in inside.class_maps])
    spread = spread_over_image(values, inside.explaining.field, *size)
    found = [(one.name, agreement(maps, one.occlusion)) for one, maps in zip(inside.class_maps, spread, strict=True)]
    return [(name, value) for name, value in found if value is not None]


def render(inside: Inside, mistakes: Sequence[Mistake], pictures: dict[str, Picture], has_live: bool = False) -> str:
    """Return the page as HTML that contains the pictures, which `draw` has made."""
    filters = inside.filters
    environment = templates(Path(__file__).parent)
    environment.filters["png"] = _png
    return environment.get_template("page.html").render(
        inside=inside,
        agreements=_agreements(inside),
        mistakes=mistakes,
        has_live=has_live,
        pictures=pictures,
        chains=_named_chains(inside),
        channels=CHANNELS,
        has_shortcuts=any("shortcut" in layer.title for chain in inside.chains for layer in chain.layers),
        steps=steps(inside.table),
        in_words=in_words,
        pooling=find_pooling(inside.chains),
        verdicts=judge(inside.uses[0]) if inside.uses else [],
        titles=_titles(inside),
        weak=[] if filters is None else weak_filters(filters),
    )


def _titles(inside: Inside) -> dict[str, str]:
    """Return the title of each module, or of its last call."""
    return {layer.name: layer.title for layer in inside.table.layers}


def _named_chains(inside: Inside) -> dict[str, Chain]:
    """Return the chains that are shown by the names of their pictures, such as `maps_1_features.0`."""
    chains = enumerate(shown_chains(inside.chains), start=1)
    return {f"maps_{number}_{chain.layers[0].name.replace('/', '_')}": chain for number, chain in chains}


def _png(pixels: Tensor) -> bytes:
    packed = io.BytesIO()
    Image.fromarray(pixels.numpy()).save(packed, "PNG")
    return packed.getvalue()
