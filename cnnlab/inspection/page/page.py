"""The pictures of a network's inside, and one page that explains them, which needs no other file and no network."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image
from torch import Tensor

from cnnlab.inspection.activations import ActivationUse
from cnnlab.inspection.feature_maps import FeatureMaps, Stage
from cnnlab.inspection.layers import LayerTable
from cnnlab.inspection.page.functions import draw_functions, drawn_uses
from cnnlab.inspection.page.sizes import draw_path, draw_windows, drawn_steps, in_words, steps
from cnnlab.inspection.page.style import Picture, picture
from cnnlab.inspection.page.tiles import MAPS_SHOWN, ClassMap, draw_class_maps, draw_filters, draw_maps, weak_filters
from cnnlab.runs.directory import write_atomically


@dataclass(frozen=True)
class Inside:
    """All that the page shows of a network and an image.

    Attributes:
        model: the network's name.
        checkpoint: its file.
        image: what is looked at, in words.
        pixels: of the image as the network gets it, uint8 (H, W, 3).
        truth: the image's class, where it is known.
        answers: the most probable classes with their probabilities, the most probable first.
        table: the network's layers.
        maps: what becomes of the image.
        uses: the activation functions.
        watched: what images ran through them, in words; None where it was this image alone.
        class_maps: of the most probable classes; empty where there can be none.
    """

    model: str
    checkpoint: str
    image: str
    pixels: Tensor
    truth: str | None
    answers: Sequence[tuple[str, float]]
    table: LayerTable
    maps: FeatureMaps
    uses: Sequence[ActivationUse]
    watched: str | None
    class_maps: Sequence[ClassMap]


def write_inside(inside: Inside, folder: Path) -> list[Path]:
    """Writes the pictures (as they are on white) and `index.html`.

    Args:
        inside: what is shown.
        folder: that exists.

    Returns:
        The files, the page first.
    """
    pictures = draw(inside)
    files = []
    for one in pictures.values():
        file = folder / f"{one.name}.png"
        file.write_bytes(one.light)
        files.append(file)
    page = folder / "index.html"
    write_atomically(page, render(inside, pictures))
    return [page, *files]


def draw(inside: Inside) -> dict[str, Picture]:
    """The pictures by their names; those of parts that the network does not have are left out."""
    maps, found = inside.maps, steps(inside.table)
    pictures = []
    if maps.filters is not None:
        filters = maps.filters
        pictures.append(picture("filters", f"{len(filters)} filters as small tiles", lambda: draw_filters(filters)))
    for name, stage in _named_stages(maps).items():
        shown = min(MAPS_SHOWN, len(stage.maps))
        alt = f"{shown} feature maps of {stage.name}"
        pictures.append(picture(name, alt, lambda stage=stage: draw_maps(stage)))
    if maps.stages:
        alt = "the image, the maps of each stage to scale, and the part of the image that their middle values see"
        pictures.append(picture("path", alt, lambda: draw_path(inside.pixels, maps.stages, found)))
    if drawn := drawn_steps(found):
        alt = "rows of pixels with the places that a window takes on them"
        pictures.append(picture("windows", alt, lambda: draw_windows(drawn)))
    if inside.uses:
        uses = drawn_uses(inside.uses)
        alt = "activation functions as curves over histograms of what enters them"
        pictures.append(picture("activations", alt, lambda: draw_functions(uses)))
    if inside.class_maps and maps.explaining:
        explaining = maps.explaining
        alt = "the image, and for each class a heat map laid over it"
        pictures.append(
            picture(
                "class_maps",
                alt,
                lambda: draw_class_maps(inside.pixels, inside.class_maps, explaining.field),
                smooth=True,
            )
        )
    return {one.name: one for one in pictures}


def render(inside: Inside, pictures: dict[str, Picture]) -> str:
    """The page as HTML, with the pictures inside.

    Args:
        inside: what is shown.
        pictures: of `draw`.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    image = io.BytesIO()
    Image.fromarray(inside.pixels.numpy()).save(image, "PNG")
    environment.filters["base64"] = lambda content: base64.b64encode(content).decode()
    filters, found = inside.maps.filters, steps(inside.table)
    return environment.get_template("page.html").render(
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


def _named_stages(maps: FeatureMaps) -> dict[str, Stage]:
    """The first convolution and the stages, by the names of their pictures, such as `maps_1_features.1`."""
    stages = [stage for stage in (maps.first, *maps.stages) if stage]
    distinct = {stage.name: stage for stage in stages}  # they may be one
    return {f"maps_{number}_{name.replace('/', '_')}": stage for number, (name, stage) in enumerate(distinct.items())}
