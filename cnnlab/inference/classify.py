"""What a trained network says about images that are read one after the other: classes, and the nearest known images."""

from collections.abc import Callable, Iterator
from itertools import islice

import torch
from torch import Tensor

from cnnlab.data.images import Images, StoredImages
from cnnlab.data.pictures import Reading
from cnnlab.data.stream import read_by_threads
from cnnlab.inference.neighbours import Neighbours
from cnnlab.inference.prediction_files import Neighbour, Prediction
from cnnlab.inference.trained import Predictions, TrainedNetwork


class KnownImages:
    """Labelled images, to find those that look to a network most like others; their features are held in memory.

    Args:
        net: the network.
        images: with labels that are numbers of its classes.
        count: of neighbours that are looked for; all images, where they are fewer.
        batch_size: images that are computed at a time.
        progress: told after each batch how many images it had.
    """

    def __init__(
        self,
        net: TrainedNetwork,
        images: Images | StoredImages,
        count: int,
        batch_size: int,
        progress: Callable[[int], object],
    ):
        self.images, self.count, self.classes = images, min(count, len(images)), net.classes
        features = torch.empty(0)
        batches = torch.arange(len(images)).split(batch_size)
        for positions, pixels in zip(batches, read_by_threads(images, batches), strict=True):
            part = net.logits_and_features(pixels)[1]
            if not len(features):
                features = torch.empty(len(images), part.shape[1])
            features[positions] = part
            progress(len(positions))
        self._neighbours = Neighbours(features)

    def nearest(self, features: Tensor) -> list[list[Neighbour]]:
        """The nearest of them for each row of features, float32 (B, D), the nearest first."""
        distances, numbers = self._neighbours.nearest(features, self.count)
        labels = self.images.labels[numbers]
        return [
            [Neighbour(number, self.classes[label], distance) for number, label, distance in zip(*row, strict=True)]
            for row in zip(numbers.tolist(), labels.tolist(), distances.tolist(), strict=True)
        ]

    def pixels(self, neighbour: Neighbour) -> Tensor:
        """What one of them looks like, uint8 (H, W, 3)."""
        return self.images.read(torch.tensor([neighbour.number]))[0]


def classify(
    net: TrainedNetwork, readings: Iterator[Reading], top: int, batch_size: int, known: KnownImages | None = None
) -> Iterator[tuple[Reading, Prediction | None]]:
    """Each image with what the network says about it, or with None where it could not be read.

    Args:
        net: the network.
        readings: of the images; so many of them are held as are computed at a time.
        top: classes that are named.
        batch_size: images that are computed at a time.
        known: images among which neighbours are looked for.
    """
    while batch := list(islice(readings, batch_size)):
        pixels = [reading.pixels for reading in batch if reading.pixels is not None]
        answers = iter(_answers(net, torch.stack(pixels), top, known) if pixels else ())
        for reading in batch:
            if reading.pixels is None:
                yield reading, None
                continue
            best, neighbours = next(answers)
            label = None if reading.label is None else net.classes[reading.label]
            yield reading, Prediction(reading.name, best, label, neighbours)


def _answers(
    net: TrainedNetwork, pixels: Tensor, top: int, known: KnownImages | None
) -> Iterator[tuple[list[tuple[str, float]], list[Neighbour]]]:
    """The best classes and the neighbours of each image of a batch."""
    if known is None:
        logits, neighbours = net.logits(pixels), [[] for _ in pixels]
    else:
        logits, features = net.logits_and_features(pixels)
        neighbours = known.nearest(features)
    return zip(Predictions(logits, net.classes).top(top), neighbours, strict=True)
