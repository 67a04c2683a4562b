"""How good a network's answers are: figures from logits and labels."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_calibration_error,
    multiclass_confusion_matrix,
    multiclass_f1_score,
    multiclass_precision,
    multiclass_recall,
)

from cnnlab.intervals import Interval, wilson_interval

BINS = 15  # of confidence, as Guo et al. 2017, "On calibration of modern neural networks", take them
TOP = 5


@dataclass(frozen=True)
class ClassScores:
    """How well one class is recognized.

    Attributes:
        name: of the class.
        precision: share of the images that were taken for it which show it; None where none was.
        recall: share of its images that were recognized; None where there is none.
        f1: harmonic mean of the two; None where the class neither is there nor was answered.
        support: how many images show it.
        predicted: how many were taken for it.
    """

    name: str
    precision: float | None
    recall: float | None
    f1: float | None
    support: int
    predicted: int


@dataclass(frozen=True)
class Bin:
    """The answers with a confidence in [low, high), or [low, 1] for the last bin.

    Attributes:
        low: a fraction.
        high: a fraction.
        images: how many.
        confidence: their mean; None without images.
        accuracy: of these answers; None without images.
    """

    low: float
    high: float
    images: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Calibration:
    """Whether the network is right as often as it says.

    Attributes:
        error: the expected calibration error: the mean difference of confidence and accuracy over the bins, weighted by
            their images. A fraction.
        confidence: mean over all images.
        bins: of equal width.
    """

    error: float
    confidence: float
    bins: list[Bin]


@dataclass(frozen=True)
class Scores:
    """What `score` finds out.

    Attributes:
        accuracy: share of the images that were named rightly.
        accuracy_interval: its 95 % confidence interval.
        top5_accuracy: share of the images whose class is among the five most probable; None with five classes or fewer.
        loss: mean cross-entropy.
        per_class: in the order of the classes.
        confusion_matrix: images by true class (row) and answer (column).
        calibration: of the most probable class.
    """

    accuracy: float
    accuracy_interval: Interval
    top5_accuracy: float | None
    loss: float
    per_class: list[ClassScores]
    confusion_matrix: list[list[int]]
    calibration: Calibration


def score(logits: Tensor, labels: Tensor, classes: tuple[str, ...]) -> Scores:
    """All figures of some answers.

    Args:
        logits: float32 (N, classes), N > 0.
        labels: class numbers, int64 (N,).
        classes: names by class number, at least two.

    Raises:
        ValueError: when a logit is not a finite number.
    """
    if not logits.isfinite().all():
        raise ValueError("the network answers with numbers that are not finite: its training may have diverged")
    count = len(classes)
    matrix = multiclass_confusion_matrix(logits, labels, count)
    return Scores(
        accuracy=float(multiclass_accuracy(logits, labels, count, average="micro")),
        accuracy_interval=wilson_interval(int(matrix.diagonal().sum()), len(labels)),
        top5_accuracy=float(multiclass_accuracy(logits, labels, count, "micro", TOP)) if count > TOP else None,
        loss=float(torch.nn.functional.cross_entropy(logits, labels)),
        per_class=_per_class(logits, labels, classes, matrix),
        confusion_matrix=matrix.tolist(),
        calibration=calibration(logits, labels),
    )


def calibration(logits: Tensor, labels: Tensor, bins: int = BINS) -> Calibration:
    """The expected calibration error (ECE) of the most probable class, with its bins.

    Args:
        logits: float32 (N, classes).
        labels: class numbers, int64 (N,).
        bins: of equal width over [0, 1].
    """
    # Where a probability rounds to 1, torchmetrics would put it into a bin of its own, beyond the last.
    below_one = torch.nextafter(torch.tensor(1.0), torch.tensor(0.0))
    probabilities = logits.softmax(dim=1).clamp(max=below_one)
    confidences, answers = probabilities.max(dim=1)
    edges = torch.linspace(0, 1, bins + 1)
    places = torch.bucketize(confidences, edges, right=True) - 1

    def sums(values: Tensor) -> list[float]:
        return torch.zeros(bins, dtype=torch.float64).index_add_(0, places, values.double()).tolist()

    images = torch.bincount(places, minlength=bins).tolist()
    totals = zip(edges.tolist(), edges[1:].tolist(), images, sums(confidences), sums(answers == labels), strict=False)
    return Calibration(
        error=float(multiclass_calibration_error(probabilities, labels, logits.shape[1], bins)),
        confidence=float(confidences.mean()),
        bins=[
            Bin(low, high, n, confident / n if n else None, right / n if n else None)
            for low, high, n, confident, right in totals
        ],
    )


def confident_mistakes(logits: Tensor, labels: Tensor, most: int) -> Tensor:
    """Positions of the wrong answers that the network was surest of, the surest first: int64 (M,), M <= `most`."""
    confidences, answers = logits.softmax(dim=1).max(dim=1)
    wrong = (answers != labels).nonzero().flatten()
    order = confidences[wrong].argsort(descending=True, stable=True)
    return wrong[order[:most]]


def largest_confusions(scores: Scores, most: int) -> list[tuple[str, str, int]]:
    """Which classes are taken for which others most often: true class, answer and images, the most frequent first."""
    names = [row.name for row in scores.per_class]
    confusions = [
        (names[true], names[answer], images)
        for true, row in enumerate(scores.confusion_matrix)
        for answer, images in enumerate(row)
        if true != answer and images
    ]
    return sorted(confusions, key=lambda confusion: -confusion[2])[:most]


def _per_class(logits: Tensor, labels: Tensor, classes: tuple[str, ...], matrix: Tensor) -> list[ClassScores]:
    """torchmetrics gives 0 where nothing is divided by nothing; here it is None."""
    precision, recall, f1 = (
        metric(logits, labels, len(classes), average=None).tolist()
        for metric in (multiclass_precision, multiclass_recall, multiclass_f1_score)
    )
    support, predicted = matrix.sum(dim=1).tolist(), matrix.sum(dim=0).tolist()
    return [
        ClassScores(
            name=name,
            precision=precision[number] if predicted[number] else None,
            recall=recall[number] if support[number] else None,
            f1=f1[number] if support[number] or predicted[number] else None,
            support=support[number],
            predicted=predicted[number],
        )
        for number, name in enumerate(classes)
    ]
