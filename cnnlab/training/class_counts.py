"""Count predictions by class, for figures in which all classes weigh the same."""

import torch
from torch import Tensor


def count_classes(logits: Tensor, labels: Tensor) -> Tensor:
    """Return for each class how many images are rightly predicted as it, show it, and are predicted as it.

    Logits are (N, classes), labels int64 (N,), the counts int64 (3, classes), on the same device; it is not waited for.
    """
    predicted = logits.argmax(1)
    counts = torch.zeros(3, logits.shape[1], dtype=torch.int64, device=logits.device)
    counts[0].index_add_(0, labels, (predicted == labels).long())
    counts[1].index_add_(0, labels, torch.ones_like(labels))
    counts[2].index_add_(0, predicted, torch.ones_like(labels))
    return counts


def balanced_figures(counts: Tensor) -> tuple[float, float]:
    """Return balanced accuracy and macro F1 of counts (3, classes) of at least one image, as fractions.

    They are the means of recall and F1 over the classes. Classes that no image shows, and for F1 none is predicted as
    either, are left out.
    """
    right, shown, predicted = counts.double()
    recall, f1 = right / shown, 2 * right / (shown + predicted)
    return float(recall[shown > 0].mean()), float(f1[shown + predicted > 0].mean())
