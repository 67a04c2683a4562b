"""Write predictions as rows of a CSV file and as lines of JSON, count them, and show the first ones."""

import contextlib
import csv
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from rich import box
from rich.table import Table

from cnnlab.display import SafeConsole
from cnnlab.errors import printable
from cnnlab.files import replacing
from cnnlab.inference.classify import KnownImages, Prediction
from cnnlab.reports.gallery import Tile, draw_gallery, draw_neighbours
from cnnlab.runs.plain import to_json
from cnnlab.streams import lost_output

PREDICTIONS_PRINTED = 10

Write = Callable[[Prediction], None]


@contextlib.contextmanager
def prediction_writer(output: Path | None, top: int, labelled: bool, neighbours: int) -> Iterator[Write]:
    """Open a function that writes one prediction; the file appears, complete, when the context ends.

    The output is a `.csv`, or another file for JSON lines; None writes JSON lines to standard output. All predictions
    have the same number of classes (`top`) and of neighbours, and labels or not.
    """
    if output is None:
        with contextlib.suppress(BrokenPipeError):
            yield _json_lines(sys.stdout)
        return
    # File names need not be valid UTF-8; their bytes are written unchanged.
    with (
        replacing(output) as temporary,
        temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as stream,
    ):
        yield _csv_rows(stream, top, labelled, neighbours) if output.suffix == ".csv" else _json_lines(stream)


def _csv_rows(stream: TextIO, top: int, labelled: bool, neighbours: int) -> Write:
    """Write the header (image, class, confidence, class_2, ..., label, neighbour_1, ...); return a writer of rows."""
    rows = csv.writer(stream, lineterminator="\n")
    header = ["image", "class", "confidence"]
    header += [f"{name}_{number}" for number in range(2, top + 1) for name in ("class", "confidence")]
    header += ["label"] if labelled else []
    header += [f"neighbour_{n}{part}" for n in range(1, neighbours + 1) for part in ("", "_class", "_distance")]
    rows.writerow(header)

    def write(prediction: Prediction) -> None:
        row: list[Any] = [prediction.image]
        for name, confidence in prediction.top:
            row += [name, f"{confidence:.6f}"]
        row += [prediction.label] if labelled else []
        for neighbour in prediction.neighbours:
            row += [neighbour.image, neighbour.label, f"{neighbour.distance:.6f}"]
        rows.writerow(row)

    return write


def _json_lines(stream: TextIO) -> Write:
    """Return a function that writes a prediction as a JSON object on one line.

    The object has `image`, `class`, `confidence`, `top` (a list of `class` and `confidence`) and, if known, `label` and
    `neighbours` (a list of `image`, `class` and `distance`).
    """

    def write(prediction: Prediction) -> None:
        top = [{"class": name, "confidence": round(confidence, 6)} for name, confidence in prediction.top]
        record: dict[str, Any] = {"image": prediction.image, **top[0], "top": top}
        if prediction.label is not None:
            record["label"] = prediction.label
        if prediction.neighbours:
            record["neighbours"] = [
                {"image": near.image, "class": near.label, "distance": round(near.distance, 6)}
                for near in prediction.neighbours
            ]
        print(to_json(record, indent=None), file=stream)
        if stream is sys.stdout and lost_output():  # more predictions would reach nobody
            raise BrokenPipeError

    return write


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


def print_predictions(summary: PredictionSummary) -> None:
    """Print the first predictions, one or more with the same number of classes each, as a table."""
    predictions = [prediction for prediction, _ in summary.first[:PREDICTIONS_PRINTED]]
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    labelled = predictions[0].label is not None
    table.add_column("image", overflow="fold")
    if labelled:
        table.add_column("label")
    table.add_column("prediction")
    for number in range(2, len(predictions[0].top) + 1):
        table.add_column(f"{number}.", style="dim")
    for prediction in predictions:
        label = [prediction.label or ""] if labelled else []
        wrong = labelled and prediction.label != prediction.top[0][0]
        shown = [f"{confidence:6.1%} {name}" for name, confidence in prediction.top]
        table.add_row(printable(prediction.image), *label, shown[0] + (" (wrong)" if wrong else ""), *shown[1:])
    console = SafeConsole()
    console.print(table)
    if summary.done > len(predictions):
        console.print(f"... and {summary.done - len(predictions):,} more")


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
