"""Save the features of images, with a map of the images and files for TensorBoard's projector."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.figure import Figure
from torch import Tensor

from cnnlab.display import cut, save_figure
from cnnlab.files import write_arrays
from cnnlab.style import COLOURS, LINE, SOFT, styled

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter

PERPLEXITY = 30.0  # roughly the number of neighbours that an image has: scikit-learn's default
COMPONENTS = 50  # principal components that t-SNE starts from, as in van der Maaten and Hinton 2008
FEWEST_IMAGES = 8
METHOD = "t-SNE"
MOST_MAPPED = 2000  # images in the map and the projector: t-SNE takes some seconds for them
THUMBNAIL = 48  # largest side in pixels: TensorBoard's sprites have 8192 a side, enough for 28,000 such thumbnails


def save_embeddings(
    folder: Path,
    about: str,
    features: Tensor,
    labels: Tensor,
    predicted: Tensor,
    classes: Sequence[str],
    read: Callable[[Tensor], Tensor],
) -> dict[str, Any]:
    """Write `embeddings.npz` of all images, and `embeddings.png` and `tensorboard/` of an evenly spaced subset.

    Args:
        folder: an existing folder.
        about: whose features these are, of which images: the title of the map.
        features: float32 (N, F).
        labels: class numbers, int64 (N,), as those that were predicted.
        read: returns pixels, uint8 (M, H, W, 3), for positions, int64 (M,).

    Returns the entry `embeddings` of evaluation.json. Raises ValueError if there are too few images for a map.
    """
    from torch.utils.tensorboard.writer import SummaryWriter

    write_arrays(folder / "embeddings.npz", features=features.numpy(), labels=labels.numpy())
    mapped = torch.linspace(0, len(labels) - 1, min(MOST_MAPPED, len(labels)), dtype=torch.float64).long()
    subset = features[mapped]
    title = (
        f"{about}: images that lie close look alike to the network\n"
        f"{METHOD} of the last layer's inputs ({features.shape[1]} values), n = {len(mapped):,} images"
    )
    figure = draw_map(map_to_plane(subset.numpy()), labels[mapped].numpy(), predicted[mapped].numpy(), classes, title)
    save_figure(figure, folder / "embeddings.png", bbox_inches="tight")
    board = folder / "tensorboard"
    if (board / "projector_config.pbtxt").exists():
        shutil.rmtree(board)
    names = [[classes[int(number)] for number in numbers[mapped]] for numbers in (labels, predicted)]
    with SummaryWriter(str(board)) as writer:
        add_to_projector(writer, subset, read(mapped), *names)
    return {"features": features.shape[1], "map": METHOD, "mapped_images": len(mapped)}


def map_to_plane(features: np.ndarray) -> np.ndarray:
    """Place images with similar features near each other.

    Applies t-SNE (van der Maaten and Hinton 2008) to the first 50 principal components, starting from the first two.
    The result is deterministic. Neighbourhoods mean something, distances between groups do not. Turns features, float32
    (N, F), into places, float32 (N, 2), some thousand in seconds; raises ValueError for fewer than eight.
    """
    if len(features) < FEWEST_IMAGES:
        raise ValueError(f"a map needs {FEWEST_IMAGES} images or more, got {len(features)}")
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    components = min(COMPONENTS, *features.shape)
    reduced = PCA(components, svd_solver="full").fit_transform(features)
    perplexity = min(PERPLEXITY, (len(features) - 1) / 3)
    start = "pca" if components > 1 else "random"
    return TSNE(2, perplexity=perplexity, init=start, random_state=0).fit_transform(reduced)


@styled
def draw_map(
    places: np.ndarray, labels: np.ndarray, predicted: np.ndarray, classes: Sequence[str], title: str
) -> Figure:
    """Draw images at places (N, 2) as points in the colour of their class, and as crosses if they are misclassified."""
    present = [number for number in range(len(classes)) if (labels == number).any()]
    columns = -(-len(present) // 30)
    figure = Figure(figsize=(8.6 + 1.4 * columns, 8), layout="constrained")
    axes = figure.subplots()
    few = len(classes) <= len(COLOURS)
    colours = COLOURS if few else colormaps["turbo"](np.linspace(0.02, 0.98, len(classes)))
    wrong = labels != predicted
    size = float(np.clip(30_000 / len(places), 8, 40))
    for number in present:
        chosen = labels == number
        axes.scatter(*places[chosen & ~wrong].T, s=size, color=colours[number], alpha=0.75, linewidths=0)
        axes.scatter(*places[chosen & wrong].T, s=size, color=colours[number], marker="x", alpha=0.75, linewidths=0.9)
        axes.scatter([], [], s=36, color=colours[number], label=cut(classes[number]))
    if wrong.any():
        axes.scatter([], [], s=36, color=SOFT, marker="x", label="misclassified")
    axes.set_title(title, fontsize=11, loc="left")
    axes.set_aspect("equal")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set(color=LINE, visible=True)
    size = 9 if columns == 1 else 7
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, fontsize=size, ncols=columns)
    return figure


def add_to_projector(
    writer: "SummaryWriter", features: Tensor, pixels: Tensor, labels: Sequence[str], predicted: Sequence[str]
) -> None:
    """Add embeddings to an event file, for TensorBoard's projector.

    Their features, float32 (N, F), are shown with thumbnails of pixels, uint8 (N, H, W, 3), and the names of classes.
    """
    images = pixels.permute(0, 3, 1, 2).float() / 255
    if images.shape[-1] > THUMBNAIL:
        images = torch.nn.functional.interpolate(images, (THUMBNAIL, THUMBNAIL), mode="area")
    rows = [[label, name, label == name] for label, name in zip(labels, predicted, strict=True)]
    writer.add_embedding(features, rows, images, tag="embeddings", metadata_header=["class", "predicted", "correct"])
