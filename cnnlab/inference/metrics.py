"""Compute how good predictions are, from logits and labels."""

from dataclasses import dataclass

import torch
from torch import Tensor

from cnnlab.intervals import Interval, wilson_interval
from cnnlab.training.class_counts import balanced_figures, count_classes

CONFIDENCE_BINS = 15  # as in Guo et al. 2017, "On calibration of modern neural networks"
TOP = 5


@dataclass(frozen=True)
class ClassScores:
    """Hold how well one class is recognized."""

    name: str  # name of the class
    precision: float | None  # share of the images predicted as this class that show it; None if there are none
    recall: float | None  # share of the images of this class that are predicted as it; None if there are none
    f1: float | None  # harmonic mean of precision and recall; None if no image shows the class or is predicted as it
    support: int  # number of images that show the class
    predicted: int  # number of images predicted as the class


@dataclass(frozen=True)
class Bin:
    """Hold the predictions with a confidence in [low, high), or in [low, 1] for the last bin.

    Mean confidence and accuracy in the bin are fractions; they are None without images.
    """

    low: float
    high: float
    images: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Calibration:
    """Hold how well the confidence of predictions agrees with their accuracy."""

    # Expected calibration error (ECE), a fraction: mean absolute difference of confidence and accuracy over the bins,
    # weighted by their number of images.
    error: float
    confidence: float  # mean confidence of all predictions
    bins: list[Bin]  # bins of equal width over [0, 1]


@dataclass(frozen=True)
class Scores:
    """Hold all metrics of a data set."""

    accuracy: float  # share of the images whose predicted class is correct
    accuracy_interval: Interval  # 95 % confidence interval of the accuracy
    balanced_accuracy: float  # mean recall of the classes that have images
    macro_f1: float  # mean F1 of the classes that have images or are predicted
    largest_class: float  # accuracy of always answering the class with the most images
    top5_accuracy: float | None  # share of images whose class is among the five likeliest; None with five or fewer
    loss: float  # mean cross-entropy
    per_class: list[ClassScores]  # scores in the order of the classes
    confusion_matrix: list[list[int]]  # number of images by true class (row) and predicted class (column)
    calibration: Calibration  # of the most probable class


def score(logits: Tensor, labels: Tensor, classes: tuple[str, ...]) -> Scores:
    """Compute all metrics of logits, float32 (N, classes) with N > 0, and class numbers, int64 (N,).

    Raises:
        ValueError: if a logit is not finite.
    """
    if not logits.isfinite().all():
        raise ValueError("the network's outputs are not finite: its training may have diverged")
    count = len(classes)
    matrix = torch.bincount(labels * count + logits.argmax(dim=1), minlength=count**2).view(count, count)
    correct = int(matrix.diagonal().sum())
    balanced_accuracy, macro_f1 = balanced_figures(count_classes(logits, labels))
    in_top = (logits.topk(min(TOP, count)).indices == labels[:, None]).any(dim=1)
    return Scores(
        accuracy=correct / len(labels),
        accuracy_interval=wilson_interval(correct, len(labels)),
        balanced_accuracy=balanced_accuracy,
        macro_f1=macro_f1,
        largest_class=int(matrix.sum(dim=1).max()) / len(labels),
        top5_accuracy=int(in_top.sum()) / len(labels) if count > TOP else None,
        loss=float(torch.nn.functional.cross_entropy(logits, labels)),
        per_class=_per_class(classes, matrix),
        confusion_matrix=matrix.tolist(),
        calibration=calibration(logits, labels),
    )


def calibration(logits: Tensor, labels: Tensor, bins: int = CONFIDENCE_BINS) -> Calibration:
    """Compute the expected calibration error (ECE) of the most probable class; arguments as in `score`."""
    confidences, predicted = logits.softmax(dim=1).max(dim=1)
    edges = torch.linspace(0, 1, bins + 1)
    places = (torch.bucketize(confidences, edges, right=True) - 1).clamp(max=bins - 1)  # 1 belongs to the last bin

    def sums(values: Tensor) -> list[float]:
        return torch.zeros(bins, dtype=torch.float64).index_add_(0, places, values.double()).tolist()

    images = torch.bincount(places, minlength=bins).tolist()
    confident, correct = sums(confidences), sums(predicted == labels)
    return Calibration(
        error=sum(abs(one - other) for one, other in zip(confident, correct, strict=True)) / len(labels),
        confidence=float(confidences.mean()),
        bins=[
            Bin(low, high, n, total / n if n else None, right / n if n else None)
            for low, high, n, total, right in zip(
                edges[:-1].tolist(), edges[1:].tolist(), images, confident, correct, strict=True
            )
        ],
    )


def confident_mistakes(logits: Tensor, labels: Tensor, most: int) -> Tensor:
    """Return the positions of the most confident wrong predictions, most confident first: int64 (M,), M <= `most`."""
    confidences, predicted = logits.softmax(dim=1).max(dim=1)
    wrong = (predicted != labels).nonzero().flatten()
    order = confidences[wrong].argsort(descending=True, stable=True)
    return wrong[order[:most]]


def largest_confusions(scores: Scores, most: int) -> list[tuple[str, str, int]]:
    """Return the most frequent confusions: true class, predicted class and number of images."""
    names = [row.name for row in scores.per_class]
    confusions = [
        (names[true], names[predicted], images)
        for true, row in enumerate(scores.confusion_matrix)
        for predicted, images in enumerate(row)
        if true != predicted and images
    ]
    return sorted(confusions, key=lambda confusion: -confusion[2])[:most]


def _per_class(classes: tuple[str, ...], matrix: Tensor) -> list[ClassScores]:
    """Compute the scores of each class from the confusion matrix."""

    def share(part: int, whole: int) -> float | None:
        return part / whole if whole else None

    correct, support, predicted = matrix.diagonal().tolist(), matrix.sum(dim=1).tolist(), matrix.sum(dim=0).tolist()
    return [
        ClassScores(name, share(hits, said), share(hits, shown), share(2 * hits, shown + said), shown, said)
        for name, hits, shown, said in zip(classes, correct, support, predicted, strict=True)
    ]
