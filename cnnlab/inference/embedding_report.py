"""Embeddings to look at: a map of the images, and TensorBoard's projector."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.figure import Figure
from torch import Tensor

from cnnlab.inference.embedding_map import METHOD, map_to_plane
from cnnlab.runs.directory import replacing

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter

SHOWN = 2000  # images in the map and in the projector: t-SNE takes some seconds for them
THUMBNAIL = 48  # pixels a side, at most: a sprite may have 8192, which is enough for 28,000 of them
FEW = 10  # classes that have colours of their own


def save_embeddings(
    folder: Path,
    features: Tensor,
    labels: Tensor,
    answers: Tensor,
    classes: Sequence[str],
    read: Callable[[Tensor], Tensor],
) -> dict[str, Any]:
    """Writes `embeddings.npz` of all images, and `embeddings.png` and `tensorboard/` of some, spread evenly over them.

    Args:
        folder: where to.
        features: float32 (N, F).
        labels: class numbers, int64 (N,).
        answers: of the network, int64 (N,).
        classes: names by class number.
        read: from positions, int64 (M,), to pixels, uint8 (M, H, W, 3).

    Returns:
        What evaluation.json says of it.

    Raises:
        ValueError: when there are too few images for a map.
    """
    with replacing(folder / "embeddings.npz") as temporary, temporary.open("wb") as stream:
        np.savez(stream, features=features.numpy(), labels=labels.numpy())
    shown = torch.linspace(0, len(labels) - 1, min(SHOWN, len(labels)), dtype=torch.float64).long()
    some = features[shown]
    places = map_to_plane(some.numpy())
    names = [[classes[int(number)] for number in numbers[shown]] for numbers in (labels, answers)]
    title = f"{METHOD} of what the last layer sees ({features.shape[1]} values) of {len(shown):,} images"
    figure = draw_map(places, labels[shown].numpy(), answers[shown].numpy(), classes, title)
    figure.savefig(folder / "embeddings.png", dpi=150, bbox_inches="tight")
    write_projector(folder / "tensorboard", some, read(shown), *names)
    return {"features": features.shape[1], "map": METHOD, "mapped_images": len(shown)}


def draw_map(places: np.ndarray, labels: np.ndarray, answers: np.ndarray, classes: Sequence[str], title: str) -> Figure:
    """Images as points, coloured by what they show; crosses are those that the network takes for something else.

    Args:
        places: float32 (N, 2).
        labels: class numbers, int64 (N,).
        answers: of the network, int64 (N,).
        classes: names by class number.
        title: a line above.
    """
    present = [number for number in range(len(classes)) if (labels == number).any()]
    columns = -(-len(present) // 30)
    figure = Figure(figsize=(8.6 + 1.4 * columns, 8), layout="constrained")
    axes = figure.subplots()
    colours = _colours(len(classes))
    wrong = labels != answers
    size = float(np.clip(30_000 / len(places), 8, 40))
    for number in present:
        chosen = labels == number
        axes.scatter(*places[chosen & ~wrong].T, s=size, color=colours[number], alpha=0.75, linewidths=0)
        axes.scatter(*places[chosen & wrong].T, s=size, color=colours[number], marker="x", alpha=0.75, linewidths=0.9)
        axes.scatter([], [], s=36, color=colours[number], label=classes[number])
    if wrong.any():
        axes.scatter([], [], s=36, color="0.3", marker="x", label="taken for another")
    axes.set_title(title, fontsize=11, loc="left")
    axes.set_aspect("equal")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color("0.85")
    axes.legend(
        loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, fontsize=9 if columns == 1 else 7, ncols=columns
    )
    return figure


def write_projector(
    folder: Path, features: Tensor, pixels: Tensor, labels: Sequence[str], answers: Sequence[str]
) -> None:
    """Writes what TensorBoard's projector shows: embeddings with thumbnails, true classes and answers.

    Args:
        folder: made anew where it holds a projector's files already.
        features: float32 (N, F).
        pixels: uint8 (N, H, W, 3).
        labels: names of the true classes.
        answers: names of the network's answers.
    """
    from torch.utils.tensorboard.writer import SummaryWriter

    if (folder / "projector_config.pbtxt").exists():
        shutil.rmtree(folder)
    with SummaryWriter(str(folder)) as writer:
        add_to_projector(writer, features, pixels, labels, answers)


def add_to_projector(
    writer: "SummaryWriter", features: Tensor, pixels: Tensor, labels: Sequence[str], answers: Sequence[str]
) -> None:
    """Adds embeddings to an event file that is open; arguments as for `write_projector`."""
    images = pixels.permute(0, 3, 1, 2).float() / 255
    if images.shape[-1] > THUMBNAIL:
        images = torch.nn.functional.interpolate(images, (THUMBNAIL, THUMBNAIL), mode="area")
    columns = ["class", "answer", "right"]
    rows = [[label, answer, label == answer] for label, answer in zip(labels, answers, strict=True)]
    writer.add_embedding(features, rows, images, tag="embeddings", metadata_header=columns)


def _colours(count: int) -> list[tuple[float, ...]]:
    if count <= FEW:
        return [colormaps["tab10"](number) for number in range(count)]
    return [colormaps["turbo"](value) for value in np.linspace(0.02, 0.98, count)]
