"""What an evaluation found: a table on the terminal, and figures."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from rich import box
from rich.console import Console
from rich.table import Table
from torch import Tensor

from cnnlab.inference.metrics import (
    Bin,
    ClassScores,
    Scores,
    confident_mistakes,
    largest_confusions,
)
from cnnlab.intervals import wilson_interval
from cnnlab.reports.confusion import draw_confusion_matrix
from cnnlab.reports.gallery import Tile, draw_gallery

SHOWN = 20  # classes on the terminal
MISTAKES = 24  # in the gallery
DPI = 150
DARK = "#1b4f9c"


def print_evaluation(record: Mapping[str, Any], scores: Scores, tta: Scores | None, folder: Path) -> None:
    """Prints the figures that matter.

    Args:
        record: as evaluation.json has it.
        scores: of the images as they are.
        tta: with test-time augmentation, or None.
        folder: where the rest is.
    """
    table = Table(show_header=False, title=_title(record), title_justify="left", min_width=60)
    table.add_row("accuracy", _accuracy(scores), style="bold")
    if tta:
        table.add_row(f"... with tta={record['tta']['views']}", _accuracy(tta))
    if moved := record["shift"]:
        table.add_row(
            f"... moved by {moved['pixels']} pixels",
            f"{moved['accuracy']:.2%}; {moved['same_answer']:.2%} of the answers stay, "
            f"features' cosine {moved['feature_cosine']:.3f}",
        )
    if scores.top5_accuracy is not None:
        table.add_row("top-5 accuracy", f"{scores.top5_accuracy:.2%}")
    table.add_row("loss", f"{scores.loss:.4f}")
    table.add_row("calibration", _calibration(scores))
    if confusions := largest_confusions(scores, 3):
        table.add_row("mistaken most", ", ".join(f"{true} for {answer} ({n:,})" for true, answer, n in confusions))
    table.add_row("data", f"{record['data']} ({record['data_fingerprint']})")
    if record["same_data"] is not True:
        table.add_row("trained on", _other_data(record))
    seconds = record["seconds"]
    table.add_row("speed", f"{record['images_per_second']:,.0f} images/s, {record['precision']}, {record['device']}")
    table.add_row("seconds", ", ".join(f"{part} {value:.1f}" for part, value in seconds.items()))
    table.add_row("record", str(folder))
    console = Console(soft_wrap=True, highlight=False)
    console.print(table)
    console.print(_class_table(scores.per_class))
    if len(scores.per_class) > SHOWN:
        console.print(f"The {SHOWN} classes with the lowest F1 of {len(scores.per_class)}; evaluation.json has all.")


def save_figures(
    folder: Path, scores: Scores, logits: Tensor, labels: Tensor, read: Callable[[Tensor], Tensor]
) -> None:
    """Writes `confusion_matrix.png`, `reliability.png` and `mistakes.png`.

    Args:
        folder: where to.
        scores: of the answers.
        logits: float32 (N, classes).
        labels: class numbers, int64 (N,).
        read: from positions, int64 (M,), to pixels, uint8 (M, H, W, 3).
    """
    classes = [row.name for row in scores.per_class]
    draw_confusion_matrix(scores.confusion_matrix, classes).savefig(folder / "confusion_matrix.png", dpi=DPI)
    draw_reliability(scores).savefig(folder / "reliability.png", dpi=DPI)
    wrong = confident_mistakes(logits, labels, MISTAKES)
    draw_mistakes(wrong, read(wrong), logits, labels, classes, folder / "mistakes.png")


def draw_reliability(scores: Scores) -> Figure:
    """How often the network is right when it is so sure, above how often it is so sure.

    Args:
        scores: of an evaluation.
    """
    found = scores.calibration
    bins, width = found.bins, 0.94 / len(found.bins)
    figure = Figure(figsize=(5.4, 6.2), layout="constrained")
    above, below = figure.subplots(2, sharex=True, height_ratios=(3, 1))
    above.plot([0, 1], [0, 1], color="0.4", linestyle="--", linewidth=1, label="right as often as it says")
    for part in bins:
        if part.accuracy is None or part.confidence is None:
            continue
        interval = wilson_interval(round(part.accuracy * part.images), part.images)
        above.bar(_centre(part), part.accuracy, width, color="#9dbfec")
        above.vlines(part.confidence, interval.low, interval.high, color=DARK, linewidth=1.2)
        above.plot(part.confidence, part.accuracy, "o", color=DARK, markersize=4)
    above.plot([], [], "o-", color=DARK, markersize=4, linewidth=1.2, label="accuracy of a bin, with 95% interval")
    above.set_ylabel("accuracy")
    above.set_ylim(0, 1.02)
    above.legend(loc="upper left", fontsize=8, frameon=False)
    above.set_title(
        f"ECE {found.error:.4f}: accuracy {scores.accuracy:.2%}, mean confidence {found.confidence:.2%}", fontsize=10
    )
    total = sum(part.images for part in bins)
    below.bar([_centre(part) for part in bins], [part.images / total for part in bins], width, color="0.6")
    below.set_ylabel("images")
    below.set_xlabel("confidence: probability of the answer")
    below.set_xlim(0, 1)
    for axes in (above, below):
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.25)
        axes.set_axisbelow(True)
    return figure


def draw_mistakes(
    positions: Tensor, pixels: Tensor, logits: Tensor, labels: Tensor, classes: Sequence[str], file: Path
) -> None:
    """Writes a gallery of wrong answers.

    Args:
        positions: of the images among all, int64 (M,).
        pixels: of these images, uint8 (M, H, W, 3).
        logits: of all images, float32 (N, classes).
        labels: of all images, int64 (N,).
        classes: names by class number.
        file: a `.png`.
    """
    values, numbers = logits[positions].softmax(dim=1).topk(min(3, len(classes)), dim=1)
    tiles = [
        Tile(
            image=image,
            caption=f"image {position}",
            predictions=[(classes[int(number)], value) for number, value in zip(*answer, strict=True)],
            label=classes[int(label)],
        )
        for image, position, label, answer in zip(
            pixels.numpy(),
            positions.tolist(),
            labels[positions].tolist(),
            zip(numbers.tolist(), values.tolist(), strict=True),
            strict=True,
        )
    ]
    wrong = int((logits.argmax(dim=1) != labels).sum())
    draw_gallery(tiles, file, f"The surest of {wrong:,} wrong answers on {len(labels):,} images")


def _centre(part: Bin) -> float:
    return (part.low + part.high) / 2


def _title(record: Mapping[str, Any]) -> str:
    return f"{record['model']} on {record['images']:,} {record['split']} images"


def _accuracy(scores: Scores) -> str:
    interval = scores.accuracy_interval
    return (
        f"{scores.accuracy:.2%} ({interval.confidence:.0%} interval {interval.low:.2%} to {interval.high:.2%}, "
        f"{interval.method})"
    )


def _calibration(scores: Scores) -> str:
    found = scores.calibration
    return f"ECE {found.error:.4f} in {len(found.bins)} bins; mean confidence {found.confidence:.2%}"


def _other_data(record: Mapping[str, Any]) -> str:
    if record["same_data"] is None:
        return f"{record['training_fingerprint']}: of files, which cannot be held against one of pixels"
    return f"other data ({record['training_fingerprint']})"


def _class_table(rows: Sequence[ClassScores]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("class")
    for name in ("precision", "recall", "F1", "images"):
        table.add_column(name, justify="right")
    if len(rows) > SHOWN:
        rows = sorted(rows, key=lambda row: 2.0 if row.f1 is None else row.f1)[:SHOWN]
    for row in rows:
        figures = ("-" if value is None else f"{value:.2%}" for value in (row.precision, row.recall, row.f1))
        table.add_row(row.name, *figures, f"{row.support:,}")
    return table
