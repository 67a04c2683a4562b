"""Figures in which all classes weigh the same agree with scikit-learn."""

import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, f1_score

from cnnlab.training.class_counts import balanced_figures, count_classes


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
@pytest.mark.parametrize("shares", [[1, 1, 1, 1], [40, 8, 2, 1], [40, 0, 2, 1], [1, 0, 0, 0]], ids=str)
def test_they_agree_with_scikit_learn_over_any_batches(shares: list[float]) -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.multinomial(torch.tensor(shares).float(), 300, replacement=True, generator=generator)
    logits = torch.randn(300, 4, generator=generator)
    logits[torch.arange(300), labels] += 1.0
    counts = sum(map(count_classes, logits.split(70), labels.split(70)), torch.zeros(3, 4, dtype=torch.int64))
    accuracy, f1 = balanced_figures(counts)
    answers = logits.argmax(1)
    assert accuracy == pytest.approx(balanced_accuracy_score(labels, answers))
    assert f1 == pytest.approx(f1_score(labels, answers, average="macro"))


def test_a_class_that_nothing_shows_and_nothing_predicts_does_not_count() -> None:
    logits = torch.eye(5)[[0, 0, 1, 1]]
    accuracy, f1 = balanced_figures(count_classes(logits, torch.tensor([0, 0, 0, 1])))
    assert (accuracy, f1) == pytest.approx(((2 / 3 + 1) / 2, (0.8 + 2 / 3) / 2))
