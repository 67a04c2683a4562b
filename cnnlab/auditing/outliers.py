"""Find images that are unlike the others: small, long, grey, plain, dark or bright, or far from their class."""

import numpy as np
import torch
from torch import Tensor, nn

from cnnlab.auditing.survey import Survey

SMALL = 4  # a shorter side of less than this part of the median
LONG = 3.0  # ratio of the sides: a square from the middle then shows less than a third
COLOURFUL, GREY = 2.0, 0.05  # least mean difference of the channels of a coloured image; share of grey images
DARK, BRIGHT = 20.0, 235.0  # mean of all pixels, in [0, 255]
FAR = 3.0  # interquartile ranges above the third quartile: Tukey's "far out"
FEWEST = 8  # images of a class, of which some can be far from the others


def find_outliers(found: Survey) -> dict[str, dict[int, str]]:
    """Return what is unusual about which images: by kind, a short text for the position of each."""
    numbers = found.numbers
    width, height, mean = numbers["width"], numbers["height"], numbers["brightness"]
    shorter, longer = np.minimum(width, height), np.maximum(width, height)
    plain, grey = numbers["range"] == 0, numbers["colour"] < COLOURFUL
    rare = grey & ~plain & (grey.mean() < GREY if len(grey) else False)
    kinds = {
        "one colour": plain,
        "dark": ~plain & (mean < DARK),
        "bright": ~plain & (mean > BRIGHT),
        "small": shorter * SMALL < np.median(shorter) if len(shorter) else plain,
        "long": longer > LONG * shorter,
        "grey": rare,
    }
    sides = [f"{int(w)} x {int(h)} pixels" for w, h in zip(width, height, strict=True)]

    def text(kind: str, position: int) -> str:
        return sides[position] if kind in ("small", "long") else f"mean brightness {mean[position]:.0f} of 255"

    return {
        kind: {int(position): text(kind, position) for position in chosen.nonzero()[0]}
        for kind, chosen in kinds.items()
    }


def far_from_class(features: Tensor, labels: np.ndarray) -> dict[int, float]:
    """Return the cosine distance from the mean of its class for each image that is far from it, the farthest first.

    Args:
        features: of all images by a network, float32 (N, F).
        labels: class numbers, int64 (N,).
    """
    unit, far = nn.functional.normalize(features), {}
    for label in np.unique(labels):
        members = torch.from_numpy((labels == label).nonzero()[0])
        if len(members) >= FEWEST:
            own = unit[members]
            distances = 1 - own @ nn.functional.normalize(own.mean(0), dim=0)
            low, high = distances.quantile(torch.tensor([0.25, 0.75]))
            limit = high + FAR * (high - low)
            far |= {int(m): float(d) for m, d in zip(members, distances, strict=True) if d > limit}
    return dict(sorted(far.items(), key=lambda entry: -entry[1]))
