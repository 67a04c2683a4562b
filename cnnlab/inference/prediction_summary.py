"""Count predictions, and keep the first ones to be printed and drawn."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cnnlab.inference.classify import KnownImages
from cnnlab.inference.prediction_files import Prediction
from cnnlab.reports.gallery import Tile, draw_gallery, draw_neighbours

PREDICTIONS_PRINTED = 10


@dataclass
class PredictionSummary:
    """Hold the number of predictions, and the first of them with the thumbnails, uint8 (H, W, 3), of those to draw."""

    done: int = 0
    correct: int | None = None  # None if no true class is known
    unreadable: int = 0
    first: list[tuple[Prediction, np.ndarray | None]] = field(default_factory=list)

    def add(self, prediction: Prediction, thumbnail: np.ndarray | None) -> None:
        """Count a prediction; keep it if it is to be printed or drawn."""
        self.done += 1
        if prediction.label is not None:
            self.correct = (self.correct or 0) + (prediction.label == prediction.top[0][0])
        if thumbnail is not None or len(self.first) < PREDICTIONS_PRINTED:
            self.first.append((prediction, thumbnail))

    def __str__(self) -> str:
        correct = "" if self.correct is None else f", {self.correct:,} correct ({self.correct / self.done:.1%})"
        return f"{self.done:,} image{'' if self.done == 1 else 's'}{correct}"


def draw_predictions(summary: PredictionSummary, checkpoint: Path, known: KnownImages | None, file: Path) -> None:
    """Draw a gallery of the predictions that have thumbnails, with their neighbours if there are known images."""
    rows = []
    for prediction, thumbnail in summary.first:
        if thumbnail is not None:
            neighbours = [
                Tile(known.pixels(n).numpy(), n.image, (), n.label, f"distance {n.distance:.3f}")
                for n in prediction.neighbours
                if known
            ]
            rows.append([Tile(thumbnail, prediction.image, prediction.top, prediction.label), *neighbours])
    title = f"{checkpoint}: {summary}" + (f"; the first {len(rows)}" if len(rows) < summary.done else "")
    if known:
        draw_neighbours(rows, file, title)
    else:
        draw_gallery([tile for row in rows for tile in row], file, title)
