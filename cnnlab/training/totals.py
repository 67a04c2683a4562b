"""Sum what a training learns of its figures, without waiting for the device."""

from dataclasses import dataclass

from torch import Tensor


@dataclass
class Totals:
    """Sum loss and correct predictions over images. The sums stay tensors, so adding never waits for a GPU."""

    loss: Tensor | float = 0.0
    correct: Tensor | int = 0
    images: int = 0
    overflowed: Tensor | int = 0  # images whose loss is left out

    def add(self, loss: Tensor, logits: Tensor, labels: Tensor, may_overflow: bool = False) -> None:
        """Add a batch of at least one image: the mean loss, a scalar, and logits (N, classes).

        Labels are classes (N,), or probabilities (N, classes) of mixed images, of which the most probable class counts
        as correct. With `may_overflow`, a loss that is not finite is left out of the mean: its step is skipped too.
        """
        if labels.ndim == 2:
            labels = labels.argmax(1)
        loss = loss.detach()
        if may_overflow:
            self.overflowed = self.overflowed + ~loss.isfinite() * len(labels)
            loss = loss.where(loss.isfinite(), 0.0)
        self.loss = self.loss + loss * len(labels)
        self.correct = self.correct + (logits.detach().argmax(1) == labels).sum()
        self.images += len(labels)

    def means(self) -> tuple[float, float]:
        """Return mean loss and accuracy per image; waits for the device. The loss is NaN if all have overflowed."""
        counted = self.images - int(self.overflowed)
        loss = float("nan") if self.overflowed and not counted else float(self.loss) / max(1, counted)
        return loss, float(self.correct) / max(1, self.images)
