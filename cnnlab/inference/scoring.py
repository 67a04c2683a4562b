"""What a trained network answers on many images, and how long it takes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from cnnlab.cpu import available_cores
from cnnlab.data.images import Images, StoredImages
from cnnlab.data.shifting import DIRECTIONS, move
from cnnlab.data.stream import read_by_threads
from cnnlab.errors import RequestError
from cnnlab.inference.trained import TrainedNetwork
from cnnlab.training.tta import Tta, tta_logits


@dataclass(frozen=True)
class Answers:
    """The answers to some images, in their order.

    Attributes:
        logits: float32 (N, classes), on the CPU.
        tta_logits: the same with test-time augmentation, or None.
        features: what the last layer sees of each image, float32 (N, F), or None.
        images_per_second: of the plain logits, reading aside. The first batch counts only if it is the only one: it
            pays for memory and kernels.
    """

    logits: Tensor
    tta_logits: Tensor | None
    features: Tensor | None
    images_per_second: float


class Clock(dict[str, float]):
    """Seconds, by what they were spent on."""

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        """Adds the time that the block takes to a part's."""
        started = time.perf_counter()
        yield
        self[part] = self.get(part, 0.0) + time.perf_counter() - started


def chosen_tta(asked: bool | Tta) -> Tta:
    """The test-time augmentation that `tta=true` and `tta=false` stand for."""
    if isinstance(asked, bool):
        return "flip_translate" if asked else "none"
    return asked


def ask(
    net: TrainedNetwork,
    images: Images | StoredImages,
    batch_size: int,
    tta: bool | Tta = "none",
    embeddings: bool = False,
    clock: Clock | None = None,
) -> Answers:
    """Shows images to a network, batch by batch; the next ones are read meanwhile.

    Args:
        net: the network.
        images: of its size, at least one.
        batch_size: images that are computed at a time.
        tta: test-time augmentation whose logits are computed too; True is `flip_translate`.
        embeddings: whether the features are kept.
        clock: gets the seconds of `network`, of `tta`, and of waiting for `data`.
    """
    clock = Clock() if clock is None else clock
    views = chosen_tta(tta)
    batches = torch.arange(len(images)).split(batch_size)
    logits, augmented, features, speeds = [], [], [], []
    pixels_of = read_by_threads(images, batches, threads=available_cores())
    for positions in batches:
        with clock("data"):
            pixels = next(pixels_of)
        started = time.perf_counter()
        with clock("network"):
            if embeddings:
                answer, seen = net.logits_and_features(pixels)
                features.append(seen)
            else:
                answer = net.logits(pixels)
        logits.append(answer)
        speeds.append((len(positions), time.perf_counter() - started))
        if views != "none":
            with clock("tta"), net.computing():
                normalized = net.normalize(pixels.to(net.device))
                augmented.append(tta_logits(net.network, normalized, views).float().cpu())
    counted = speeds[1:] or speeds
    return Answers(
        logits=torch.cat(logits),
        tta_logits=torch.cat(augmented) if augmented else None,
        features=torch.cat(features) if features else None,
        images_per_second=sum(count for count, _ in counted) / sum(seconds for _, seconds in counted),
    )


@dataclass(frozen=True)
class ShiftInvariance:
    """How far answers and features stay when images are moved: up, down, left and right.

    Attributes:
        pixels: that they are moved by; at the border they are filled up by reflection.
        same_answer: share of the moved images that are named as the unmoved one is.
        accuracy: on the moved images.
        feature_cosine: mean cosine of the angle between the features of a moved and the unmoved image: 1 where moving
            changes nothing.
        directions: the three for each direction.
    """

    pixels: int
    same_answer: float
    accuracy: float
    feature_cosine: float
    directions: dict[str, dict[str, float]]


def ask_moved(
    net: TrainedNetwork, images: Images | StoredImages, batch_size: int, shift: int, clock: Clock | None = None
) -> ShiftInvariance:
    """Shows moved images to a network, in four directions.

    Args:
        net: the network.
        images: of its size, at least one.
        batch_size: images that are computed at a time.
        shift: pixels, 1 or more and fewer than the images have.
        clock: gets the seconds of `shift`.

    Raises:
        RequestError: when the images are too small for the shift.
    """
    check_shift(shift, net.image_size)
    clock = Clock() if clock is None else clock
    sums = {name: torch.zeros(3, dtype=torch.float64) for name in DIRECTIONS}
    batches = torch.arange(len(images)).split(batch_size)
    for positions, pixels in zip(batches, read_by_threads(images, batches, threads=available_cores()), strict=True):
        with clock("shift"):
            logits, features = net.logits_and_features(pixels)
            for name, (rows, columns) in DIRECTIONS.items():
                moved, seen = net.logits_and_features(move(pixels, shift * rows, shift * columns))
                answers = moved.argmax(dim=1)
                same, right = answers == logits.argmax(dim=1), answers == images.labels[positions]
                cosines = torch.nn.functional.cosine_similarity(features, seen, dim=1)
                sums[name] += torch.stack([part.double().sum() for part in (same, right, cosines)])
    means = {name: (total / len(images)).tolist() for name, total in sums.items()}
    names: tuple[str, ...] = ("same_answer", "accuracy", "feature_cosine")
    directions: dict[str, dict[str, float]] = {
        direction: dict(zip(names, values, strict=True)) for direction, values in means.items()
    }
    overall = {name: sum(values[name] for values in directions.values()) / len(directions) for name in names}
    return ShiftInvariance(pixels=shift, **overall, directions=directions)


def check_shift(shift: int, image_size: int) -> None:
    """Raises RequestError when images of this size cannot be moved by so many pixels."""
    if not 0 <= shift < image_size:
        raise RequestError(f"shift must be from 0 to {image_size - 1} pixels, got {shift}")
