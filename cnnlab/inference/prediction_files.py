"""What a network says about images: as rows of a CSV file, as lines of JSON, and on the terminal."""

import csv
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from rich import box
from rich.console import Console
from rich.table import Table

from cnnlab.reports.terminal import printable
from cnnlab.runs.directory import replacing


@dataclass(frozen=True)
class Neighbour:
    """A training image that is near to another image.

    Attributes:
        number: its place among the training images, from 0.
        label: the name of its class.
        distance: cosine distance of the features, in [0, 2].
    """

    number: int
    label: str
    distance: float

    @property
    def image(self) -> str:
        """Its name."""
        return f"train/{self.number}"


@dataclass(frozen=True)
class Prediction:
    """What is known about an image in the end.

    Attributes:
        image: its name.
        top: names of classes with confidences in [0, 1], the best first; at least one.
        label: the name of its true class, where that is known.
        neighbours: the nearest images, the nearest first, where they were asked for.
    """

    image: str
    top: Sequence[tuple[str, float]]
    label: str | None = None
    neighbours: Sequence[Neighbour] = ()


Write = Callable[[Prediction], None]


@contextmanager
def writing(output: Path | None, top: int, labelled: bool, neighbours: int) -> Iterator[Write]:
    """Gives a function that writes one prediction after the other to a file, which takes its place at the end.

    Args:
        output: a `.csv`, or another file for JSON lines; None for JSON lines on standard output.
        top: classes that each prediction has.
        labelled: whether they have labels.
        neighbours: that each has.
    """
    if output is None:
        try:
            yield json_lines(sys.stdout)
            sys.stdout.flush()
        except BrokenPipeError:  # whoever reads has seen enough; what Python flushes at its end must go somewhere
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    # Names of files need not be valid UTF-8; they are written as they are.
    with (
        replacing(output) as temporary,
        temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as stream,
    ):
        yield csv_rows(stream, top, labelled, neighbours) if output.suffix == ".csv" else json_lines(stream)


def csv_rows(stream: TextIO, top: int, labelled: bool, neighbours: int) -> Write:
    """Writes a head: image, class, confidence, class_2, confidence_2, ..., label, neighbour_1, ...

    Args:
        stream: opened with `newline=""`.
        top: classes that each prediction has.
        labelled: whether they have labels.
        neighbours: that each has.

    Returns:
        A function that writes the row of one prediction.
    """
    rows = csv.writer(stream, lineterminator="\n")
    head = ["image", "class", "confidence"]
    head += [f"{what}_{number}" for number in range(2, top + 1) for what in ("class", "confidence")]
    head += ["label"] if labelled else []
    for number in range(1, neighbours + 1):
        head += [f"neighbour_{number}", f"neighbour_{number}_class", f"neighbour_{number}_distance"]
    rows.writerow(head)

    def write(prediction: Prediction) -> None:
        row: list[Any] = [prediction.image]
        for name, confidence in prediction.top:
            row += [name, f"{confidence:.6f}"]
        row += [prediction.label] if labelled else []
        for neighbour in prediction.neighbours:
            row += [neighbour.image, neighbour.label, f"{neighbour.distance:.6f}"]
        rows.writerow(row)

    return write


def json_lines(stream: TextIO) -> Write:
    """Returns a function that writes one prediction as a JSON object on a line.

    It has `image`, `class`, `confidence`, `top` (a list of `class` and `confidence`), and, where they are known,
    `label` and `neighbours` (a list of `image`, `class` and `distance`).
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
        print(json.dumps(record), file=stream)

    return write


def print_predictions(predictions: Sequence[Prediction], of: int) -> None:
    """Prints some predictions as a table.

    Args:
        predictions: at least one, all with as many classes.
        of: how many there are in all.
    """
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
    console = Console(highlight=False, markup=False)
    console.print(table)
    if of > len(predictions):
        console.print(f"... and {of - len(predictions):,} more")
