"""What a trained network answers on many images, and how long it takes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from cnnlab.data.images import Images, StoredImages
from cnnlab.data.stream import read_by_threads
from cnnlab.process import available_cores
from cnnlab.trained import TrainedNetwork
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
