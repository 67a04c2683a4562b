"""Run a trained network on a data set, and measure how fast it is and how much a shift of the images changes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cnnlab.cpu import available_cores
from cnnlab.data.images import Images
from cnnlab.data.stream import read_by_threads
from cnnlab.display import progress_bar
from cnnlab.errors import RequestError
from cnnlab.inference.trained import TrainedNetwork
from cnnlab.runs.reading import SHIFT_FIGURES
from cnnlab.training.tta import Tta, tta_logits

# Rows and columns by which a shift of one pixel moves the content.
DIRECTIONS = {"up": (-1, 0), "down": (1, 0), "left": (0, -1), "right": (0, 1)}


@dataclass(frozen=True)
class NetworkOutputs:
    """Hold what a network computed for a data set, in the order of the images."""

    logits: Tensor  # float32 (N, classes), on the CPU
    tta_logits: Tensor | None  # logits with test-time augmentation, float32 (N, classes), or None
    features: Tensor | None  # inputs of the last layer, float32 (N, F), or None
    # Speed of the plain forward passes, without reading. The first batch is slow, because memory and kernels are set up
    # in it, and counts only if it is the only one.
    images_per_second: float


class Clock(dict[str, float]):
    """Add up seconds by what they were spent on."""

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        """Add the seconds that the block takes to a part."""
        started = time.perf_counter()
        yield
        self[part] = self.get(part, 0.0) + time.perf_counter() - started


def chosen_tta(asked: bool | Tta) -> Tta:
    """Return the kind of test-time augmentation that `tta=true` or `tta=false` means; leave other values."""
    if isinstance(asked, bool):
        return "flip_translate" if asked else "none"
    return asked


def read_batches(images: Images, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the positions, int64 (B,), and pixels, uint8 (B, H, W, 3), of each batch; threads read ahead."""
    batches = torch.arange(len(images)).split(batch_size)
    return zip(batches, read_by_threads(images, batches, threads=available_cores()), strict=True)


def run_network(
    net: TrainedNetwork,
    images: Images,
    batch_size: int,
    tta: bool | Tta = "none",
    embeddings: bool = False,
    clock: Clock | None = None,
) -> NetworkOutputs:
    """Compute a network's outputs for all images of a data set.

    Args:
        images: one or more, in the network's size; `batch_size` of them go through it at a time.
        tta: test-time augmentation to compute as well; True means `flip_translate`.
        embeddings: whether to keep the features.
        clock: receives the seconds of `network`, of `tta`, and of waiting for `data`.
    """
    clock = Clock() if clock is None else clock
    views = chosen_tta(tta)
    logits, augmented, features, speeds = [], [], [], []
    batches = read_batches(images, batch_size)
    bar = progress_bar(len(images), "running the network")
    for _ in range(0, len(images), batch_size):
        with clock("data"):
            _, pixels = next(batches)
        started = time.perf_counter()
        with clock("network"):
            if embeddings:
                output, inputs = net.logits_and_features(pixels)
                features.append(inputs)
            else:
                output = net.logits(pixels)
        logits.append(output)
        speeds.append((len(pixels), time.perf_counter() - started))
        if views != "none":
            with clock("tta"), net.computing():
                normalized = net.normalize(pixels.to(net.device))
                augmented.append(tta_logits(net.network, normalized, views).float().cpu())
        bar.update(len(pixels))
    bar.close()
    counted = speeds[1:] or speeds
    return NetworkOutputs(
        logits=torch.cat(logits),
        tta_logits=torch.cat(augmented) if augmented else None,
        features=torch.cat(features) if features else None,
        images_per_second=sum(count for count, _ in counted) / sum(seconds for _, seconds in counted),
    )


def measure_shift_invariance(
    net: TrainedNetwork, images: Images, batch_size: int, shift: int, clock: Clock | None = None
) -> dict[str, Any]:
    """Compare a network's outputs for the images with those for copies shifted up, down, left and right.

    Arguments are as in `run_network`; `shift` is in pixels, see `check_shift`, and the clock receives its seconds.

    Returns:
        `pixels`, the shift. `same_answer`, share of the shifted images whose predicted class is that of the original.
        `accuracy` on the shifted images. `feature_cosine`, mean cosine similarity of a shifted image's features to the
        original's; 1 if nothing changes. `directions`, these three measures for each direction.
    """
    clock = Clock() if clock is None else clock
    means = torch.zeros(len(DIRECTIONS), len(SHIFT_FIGURES), dtype=torch.float64)
    bar = progress_bar(len(images), "shifting the images")
    for positions, pixels in read_batches(images, batch_size):
        with clock("shift"):
            logits, features = net.logits_and_features(pixels)
            for direction, (rows, columns) in enumerate(DIRECTIONS.values()):
                shifted, seen = net.logits_and_features(move(pixels, shift * rows, shift * columns))
                predicted = shifted.argmax(dim=1)
                same, right = predicted == logits.argmax(dim=1), predicted == images.labels[positions]
                cosines = torch.nn.functional.cosine_similarity(features, seen, dim=1)
                means[direction] += torch.stack([part.double().sum() for part in (same, right, cosines)]) / len(images)
        bar.update(len(pixels))
    bar.close()
    figures = [dict(zip(SHIFT_FIGURES, row, strict=True)) for row in (means.mean(dim=0).tolist(), *means.tolist())]
    return {"pixels": shift, **figures[0], "directions": dict(zip(DIRECTIONS, figures[1:], strict=True))}


def move(pixels: Tensor, rows: int, columns: int) -> Tensor:
    """Shift the content of images (N, H, W, C) down and to the right, or back if negative; reflect it at the border."""
    height, width = pixels.shape[1:3]
    return pixels[:, _reflected(height, rows)][:, :, _reflected(width, columns)]


def _reflected(size: int, by: int) -> Tensor:
    """Return the index that each row or column is taken from."""
    places = (torch.arange(size) - by).abs()
    return size - 1 - (size - 1 - places).abs()


def check_shift(shift: int, image_size: int) -> None:
    """Raise RequestError if images of this size cannot be shifted by so many pixels."""
    if not 0 <= shift < image_size:
        raise RequestError(f"shift must be from 0 to {image_size - 1} pixels, got {shift}")
