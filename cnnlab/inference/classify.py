"""Classify images that are read one after the other, and find the training images most similar to them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from cnnlab.data.images import Images
from cnnlab.data.pictures import Reading
from cnnlab.inference.scoring import read_batches
from cnnlab.inference.trained import Predictions, TrainedNetwork

CHUNK = 65536  # known images that are compared at a time, to bound the memory


@dataclass(frozen=True)
class Neighbour:
    """Hold a training image whose features are similar to those of another image."""

    number: int  # position among the training images, from 0
    label: str  # name of its class
    distance: float  # cosine distance of the features, in [0, 2]

    @property
    def image(self) -> str:
        """Return the name of the image."""
        return f"train/{self.number}"


@dataclass(frozen=True)
class Prediction:
    """Hold the prediction for an image."""

    image: str  # name of the image
    top: Sequence[tuple[str, float]]  # one or more class names with confidences in [0, 1], most probable first
    label: str | None = None  # name of the true class, or None if unknown
    neighbours: Sequence[Neighbour] = ()  # most similar training images, nearest first; empty if not asked for


class KnownImages:
    """Labelled images among which neighbours of other images are searched; their features are held in memory.

    The labels are the network's class numbers. Each image gets `count` neighbours, or all if there are fewer.
    `progress` is called after each batch with its number of images.
    """

    def __init__(
        self,
        net: TrainedNetwork,
        images: Images,
        count: int,
        batch_size: int,
        progress: Callable[[int], object],
    ):
        self.images, self.count, self.classes = images, min(count, len(images)), net.classes
        self._features = unit_features(net, images, batch_size, progress)

    def nearest(self, features: Tensor) -> list[list[Neighbour]]:
        """Return the neighbours of each row of features, float32 (B, D), nearest first."""
        distances, positions = find_nearest(self._features, features, self.count)
        labels = self.images.labels[positions]
        return [
            [Neighbour(number, self.classes[label], distance) for number, label, distance in zip(*row, strict=True)]
            for row in zip(positions.tolist(), labels.tolist(), distances.tolist(), strict=True)
        ]

    def pixels(self, neighbour: Neighbour) -> Tensor:
        """Return the pixels of a neighbour, uint8 (H, W, 3)."""
        return self.images.read(torch.tensor([neighbour.number]))[0]


def classify(
    net: TrainedNetwork, readings: Iterator[Reading], top: int, batch_size: int, known: KnownImages | None = None
) -> Iterator[tuple[Reading, Prediction | None]]:
    """Yield each image with its prediction, or with None if the image could not be read.

    One batch of images is held at a time. A prediction has the `top` most probable classes, and neighbours among the
    known images, if there are any.
    """
    while batch := list(islice(readings, batch_size)):
        pixels = [reading.pixels for reading in batch if reading.pixels is not None]
        results = iter(_predict_batch(net, torch.stack(pixels), top, known) if pixels else ())
        for reading in batch:
            if reading.pixels is None:
                yield reading, None
                continue
            best, neighbours = next(results)
            label = None if reading.label is None else net.classes[reading.label]
            yield reading, Prediction(reading.name, best, label, neighbours)


def _predict_batch(
    net: TrainedNetwork, pixels: Tensor, top: int, known: KnownImages | None
) -> Iterator[tuple[list[tuple[str, float]], list[Neighbour]]]:
    """Yield the most probable classes and the neighbours of each image."""
    if known is None:
        logits, neighbours = net.logits(pixels), [[] for _ in pixels]
    else:
        logits, features = net.logits_and_features(pixels)
        neighbours = known.nearest(features)
    return zip(Predictions(logits, net.classes).top(top), neighbours, strict=True)


def unit_features(net: TrainedNetwork, images: Images, batch_size: int, progress: Callable[[int], object]) -> Tensor:
    """Return the features of all images, scaled to length 1, float32 (N, D); `progress` counts them."""
    features = torch.empty(0)
    for positions, pixels in read_batches(images, batch_size):
        part = net.logits_and_features(pixels)[1]
        if not len(features):
            features = torch.empty(len(images), part.shape[1])
        features[positions] = part
        progress(len(positions))
    return scale_to_unit_length(features)


def scale_to_unit_length(features: Tensor) -> Tensor:
    """Scale each row to length 1, in place, so that a large set is held only once; return the same tensor."""
    return features.div_(features.norm(dim=1, keepdim=True).clamp_min_(1e-12))


def find_nearest(known: Tensor, queries: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Find the `count` known images with the smallest cosine distance to each query, or all if there are fewer.

    Args:
        known: features scaled by `scale_to_unit_length`, float32 (N, D).
        queries: features of other images, float32 (B, D).

    Returns:
        Distances, float32 (B, count) in [0, 2], nearest first (0: same direction; 1: orthogonal), and positions among
        the known images, int64 (B, count).
    """
    queries = scale_to_unit_length(queries.clone())
    similarities, positions = torch.empty(len(queries), 0), torch.empty(len(queries), 0, dtype=torch.int64)
    for start in range(0, len(known), CHUNK):
        found = queries @ known[start : start + CHUNK].T
        candidates = torch.cat([similarities, found], dim=1)
        places = torch.arange(start, start + found.shape[1]).expand(len(queries), -1)
        similarities, kept = candidates.topk(min(count, candidates.shape[1]), dim=1)
        positions = torch.cat([positions, places], dim=1).gather(1, kept)
    return (1 - similarities).clamp_(0, 2), positions
