"""Draw the inside of a network, and write a page that explains the pictures and needs no other file."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from PIL import Image

from cnnlab.files import write_atomically
from cnnlab.inspection.feature_maps import FeatureMaps, Stage
from cnnlab.inspection.inside import Inside
from cnnlab.inspection.page.functions import draw_functions, drawn_uses
from cnnlab.inspection.page.sizes import draw_path, draw_windows, drawn_steps, in_words, steps
from cnnlab.inspection.page.style import Picture, picture
from cnnlab.inspection.page.tiles import MAPS_SHOWN, draw_class_maps, draw_filters, draw_maps, weak_filters
from cnnlab.style import templates


def write_inside(inside: Inside, folder: Path) -> list[Path]:
    """Write `index.html` and the pictures on white into an existing folder; return the files, the page first."""
    pictures = draw(inside)
    files = {folder / "index.html": render(inside, pictures)}
    files |= {folder / f"{one.name}.png": one.light for one in pictures.values()}
    for file, content in files.items():
        write_atomically(file, content)
    return list(files)


def draw(inside: Inside) -> dict[str, Picture]:
    """Draw all pictures that apply to the network, and return them by name."""
    maps, found = inside.maps, steps(inside.table)
    pictures: dict[str, Picture] = {}

    def add(name: str, alt: str, draw: Callable[..., Figure], *arguments: Any, smooth: bool = False) -> None:
        pictures[name] = picture(name, alt, lambda: draw(*arguments), smooth)

    if maps.filters is not None:
        add("filters", f"{len(maps.filters)} filters as small tiles", draw_filters, maps.filters)
    for name, stage in _named_stages(maps).items():
        add(name, f"{min(MAPS_SHOWN, len(stage.maps))} feature maps of {stage.name}", draw_maps, stage)
    if maps.stages:
        alt = "the image, a map of each stage drawn to scale, and the receptive field of its middle value"
        add("path", alt, draw_path, inside.pixels, maps.stages, found)
    if drawn := drawn_steps(found):
        add("windows", "rows of pixels with the positions of the window", draw_windows, drawn)
    if inside.uses:
        alt = "curves of the activation functions over histograms of their inputs"
        add("activations", alt, draw_functions, drawn_uses(inside.uses))
    if inside.class_maps and maps.explaining:
        alt = "the image, and for each class a heat map laid over it"
        shown = inside.pixels, inside.class_maps, maps.explaining.field
        add("class_maps", alt, draw_class_maps, *shown, smooth=True)
    return pictures


def render(inside: Inside, pictures: dict[str, Picture]) -> str:
    """Return the page as HTML that contains the pictures, which `draw` has made."""
    image = io.BytesIO()
    Image.fromarray(inside.pixels.numpy()).save(image, "PNG")
    filters, found = inside.maps.filters, steps(inside.table)
    return (
        templates(Path(__file__).parent)
        .get_template("page.html")
        .render(
            inside=inside,
            image=image.getvalue(),
            pictures=pictures,
            stages=_named_stages(inside.maps),
            maps_shown=MAPS_SHOWN,
            steps=found,
            drawn_steps=drawn_steps(found),
            in_words=in_words,
            drawn=len(drawn_uses(inside.uses)) if inside.uses else 0,
            weak=[] if filters is None else weak_filters(filters),
        )
    )


def _named_stages(maps: FeatureMaps) -> dict[str, Stage]:
    """Return the first convolution and the stages by the names of their pictures, such as `maps_1_features.1`."""
    stages = [stage for stage in (maps.first, *maps.stages) if stage]
    distinct = {stage.name: stage for stage in stages}  # the first convolution may be a stage too
    return {f"maps_{number}_{name.replace('/', '_')}": stage for number, (name, stage) in enumerate(distinct.items())}
