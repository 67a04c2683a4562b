import math
from typing import Any

import pytest
import torch
from sklearn.metrics import (
    balanced_accuracy_score,
    confusion_matrix,
    f1_score,
    log_loss,
    precision_recall_fscore_support,
    top_k_accuracy_score,
)
from torch import Tensor
from torchmetrics.functional.classification import multiclass_calibration_error

from cnnlab.inference.metrics import calibration, confident_mistakes, largest_confusions, score

NAMES = ("ant", "bee", "cat", "dog", "elk", "fox", "gnu")


def outputs_of(seed: int = 0, images: int = 300, classes: int = len(NAMES)) -> tuple[Tensor, Tensor]:
    """Return logits of a network that is often right, and labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (images,), generator=generator)
    logits = torch.randn(images, classes, generator=generator)
    logits[torch.arange(images), labels] += 1.5
    return logits, labels


def logits_of(*probabilities: list[float]) -> Tensor:
    return torch.tensor(probabilities).log()


def test_all_metrics_agree_with_scikit_learn() -> None:
    logits, labels = outputs_of()
    scores = score(logits, labels, NAMES)
    answers = logits.argmax(dim=1).numpy()
    probabilities = logits.double().softmax(dim=1).numpy()
    assert scores.accuracy == pytest.approx(float((answers == labels.numpy()).mean()))
    assert scores.balanced_accuracy == pytest.approx(balanced_accuracy_score(labels, answers))
    assert scores.macro_f1 == pytest.approx(f1_score(labels, answers, average="macro"))
    assert scores.largest_class == pytest.approx(int(labels.bincount().max()) / len(labels))
    assert scores.top5_accuracy == pytest.approx(top_k_accuracy_score(labels, probabilities, k=5))
    assert scores.loss == pytest.approx(log_loss(labels, probabilities))
    assert scores.confusion_matrix == confusion_matrix(labels, answers).tolist()
    expected: Any = precision_recall_fscore_support(labels, answers)
    for number, row in enumerate(scores.per_class):
        precision, recall, f1, support = (figures[number] for figures in expected)
        assert (row.name, row.support, row.predicted) == (NAMES[number], support, int((answers == number).sum()))
        assert (row.precision, row.recall, row.f1) == pytest.approx((precision, recall, f1))


def test_a_case_by_hand() -> None:
    logits = logits_of([0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8])
    scores = score(logits, torch.tensor([0, 1, 1, 2]), ("a", "b", "c"))
    assert scores.accuracy == 0.75
    assert scores.loss == pytest.approx(-(math.log(0.7) + math.log(0.3) + 2 * math.log(0.8)) / 4)
    assert scores.confusion_matrix == [[1, 0, 0], [1, 1, 0], [0, 0, 1]]
    assert [row.precision for row in scores.per_class] == [0.5, 1, 1]
    assert [row.recall for row in scores.per_class] == [1, 0.5, 1]
    assert scores.top5_accuracy is None


def test_top_5_needs_six_classes() -> None:
    for classes in (5, 6):
        scores = score(*outputs_of(classes=classes), NAMES[:classes])
        assert (scores.top5_accuracy is None) == (classes == 5)


def test_two_classes() -> None:
    scores = score(logits_of([0.9, 0.1], [0.2, 0.8], [0.6, 0.4]), torch.tensor([0, 1, 1]), ("no", "yes"))
    assert scores.confusion_matrix == [[1, 0], [1, 1]]
    assert [(row.precision, row.recall) for row in scores.per_class] == [(0.5, 1), (1, 0.5)]


def test_undefined_scores_are_none() -> None:
    """Class c is neither present nor predicted, b is never predicted, d is predicted but not present."""
    logits = logits_of([0.7, 0.1, 0.1, 0.1], [0.7, 0.1, 0.1, 0.1], [0.1, 0.1, 0.1, 0.7])
    a, b, c, d = score(logits, torch.tensor([0, 1, 0]), ("a", "b", "c", "d")).per_class
    assert (a.precision, a.recall) == (0.5, 0.5)
    assert (b.precision, b.recall, b.f1) == (None, 0, 0)
    assert (c.precision, c.recall, c.f1) == (None, None, None)
    assert (d.precision, d.recall, d.f1) == (0, None, 0)


def test_logits_that_are_not_finite_are_refused() -> None:
    logits, labels = outputs_of()
    logits[3, 2] = float("nan")
    with pytest.raises(ValueError, match="may have diverged"):
        score(logits, labels, NAMES)


# --- calibration -----------------------------------------------------------------------------------------------------


def test_the_calibration_error_by_hand() -> None:
    """Two bins of [0.5, 1]: three predictions of confidence 0.6, one right; one of 0.9, right."""
    logits = logits_of([0.6, 0.4], [0.6, 0.4], [0.4, 0.6], [0.9, 0.1])
    found = calibration(logits, torch.tensor([0, 1, 0, 0]), bins=4)
    assert [part.images for part in found.bins] == [0, 0, 3, 1]
    assert [part.accuracy for part in found.bins] == [None, None, pytest.approx(1 / 3), 1]
    assert found.bins[2].confidence == pytest.approx(0.6)
    assert found.error == pytest.approx(3 / 4 * (0.6 - 1 / 3) + 1 / 4 * (1 - 0.9))
    assert found.confidence == pytest.approx(0.675)


def test_the_calibration_error_agrees_with_torchmetrics_and_the_bins_hold_confidences_of_1() -> None:
    logits, labels = outputs_of(images=2000)
    for factor in (1, 100):
        found = calibration(factor * logits, labels)
        # torchmetrics puts a probability of 1 into a bin of its own, beyond the last.
        probabilities = (factor * logits).softmax(dim=1).clamp(max=1 - 1e-7)
        expected = multiclass_calibration_error(probabilities, labels, len(NAMES), n_bins=15)
        assert found.error == pytest.approx(float(expected), abs=1e-5)
        assert len(found.bins) == 15
        assert sum(part.images for part in found.bins) == 2000


# --- mistakes --------------------------------------------------------------------------------------------------------


def test_the_most_confident_mistakes_come_first() -> None:
    logits = logits_of([0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.1, 0.9], [0.7, 0.3])
    labels = torch.tensor([0, 1, 0, 1, 1])
    assert confident_mistakes(logits, labels, 2).tolist() == [2, 4]
    assert confident_mistakes(logits, labels, 10).tolist() == [2, 4, 1]
    assert confident_mistakes(logits, logits.argmax(1), 10).tolist() == []


def test_the_largest_confusions_are_listed() -> None:
    logits = logits_of([0.2, 0.8], [0.3, 0.7], [0.6, 0.4], [0.4, 0.6])
    scores = score(logits, torch.tensor([0, 0, 1, 1]), ("cat", "dog"))
    assert largest_confusions(scores, 5) == [("cat", "dog", 2), ("dog", "cat", 1)]
    assert largest_confusions(scores, 1) == [("cat", "dog", 2)]
