"""Read the keys of an evaluation, and report it: its files, figures, and a table on the terminal."""

import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any, Literal

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from rich import box
from rich.table import Table
from torch import Tensor

from cnnlab.data.splits import Protocol, Split
from cnnlab.display import SafeConsole, save_figure
from cnnlab.files import write_arrays
from cnnlab.inference.metrics import ClassScores, Scores, confident_mistakes, largest_confusions
from cnnlab.inference.scoring import NetworkOutputs
from cnnlab.inference.trained import Precision, Predictions
from cnnlab.intervals import wilson_interval
from cnnlab.limits import Attack, Device, Whole
from cnnlab.reports.confusion import draw_confusion_matrix
from cnnlab.reports.gallery import Tile, draw_gallery
from cnnlab.runs import plain
from cnnlab.runs.directory import RunDirectory
from cnnlab.runs.shipped import folder_beside
from cnnlab.style import SOFT, styled
from cnnlab.training.tta import Tta

CLASSES_IN_TABLE = 20
MISTAKES_IN_GALLERY = 24
FEWEST_IMAGES = 10  # in a bin that the reliability diagram draws
HARMLESS_EXCESS = 0.01  # of the confidence over the accuracy
LETTERS_OF_TITLE, LETTERS_OF_TEXT = 66, 80  # on a line of the reliability diagram


@dataclass(frozen=True)
class EvaluationOptions:
    """Hold keys of `cnnlab evaluate`; see conf/evaluate.yaml."""

    checkpoint: str | list[str]
    soup: bool
    split: Split
    protocol: Protocol | None
    tta: bool | Tta
    calibrate: bool | Literal["save"]
    corruptions: bool
    attack: Attack
    shift: Whole
    embeddings: bool
    device: Device
    precision: Precision | None


def default_folder(run: RunDirectory | None, checkpoint: Path, split: str, other_data: str | None) -> Path:
    """Return `evaluation` in the run directory, or beside a checkpoint that belongs to no run.

    The name is extended for another checkpoint than that of the best epoch, another split than the test images, and
    other data (by their fingerprint), so that these results do not replace those of the run.
    """
    is_best = run is not None and checkpoint.name == run.best_checkpoint.name
    parts = ["evaluation"] if is_best else ["evaluation", checkpoint.stem]
    parts += [split] if split != "test" else []
    parts += [other_data[:14]] if other_data else []
    return (run.path if run else folder_beside(checkpoint)) / "_".join(parts)


def save_outputs(outputs: NetworkOutputs, labels: Tensor, folder: Path) -> None:
    """Write predictions.npz: logits and labels in the order of the data, as in a run directory."""
    arrays = {"logits": outputs.logits, "labels": labels, "tta_logits": outputs.tta_logits}
    given = {name: array.numpy() for name, array in arrays.items() if array is not None}
    write_arrays(folder / "predictions.npz", **given)


def to_json(record: Mapping[str, Any]) -> str:
    """Return indented JSON with the innermost lists and objects on one line, so that a matrix has a line per row."""
    innermost = re.compile(r"([\[{])\n\s+([^\[\]{}]*?)\n\s+([\]}])")  # strings in JSON contain no line breaks
    text = plain.to_json(record)
    return innermost.sub(lambda match: match[1] + re.sub(r"\n\s+", " ", match[2]) + match[3], text) + "\n"


def print_evaluation(record: Mapping[str, Any], scores: Scores, tta: Scores | None, folder: Path) -> None:
    """Print the most important metrics of a record, the content of evaluation.json, and the scores of each class."""
    title = f"{record['model']} on {record['images']:,} {record['split']} images"
    table = Table(show_header=False, title=title, title_justify="left", min_width=60)
    table.add_column()
    table.add_column(overflow="fold")  # paths can be copied as a whole
    table.add_row("accuracy", _accuracy(scores), style="bold")
    if members := record["members"]:
        found = [member["accuracy"] for member in members]
        spread = f"mean {mean(found):.2%}, {min(found):.2%} to {max(found):.2%}"
        table.add_row(f"... of the {len(found)} networks", spread)
    if tta:
        table.add_row(f"... with tta={record['tta']['views']}", _accuracy(tta))
    if shift := record["shift"]:
        table.add_row(
            f"... shifted by {shift['pixels']} pixels",
            f"{shift['accuracy']:.2%}; {shift['same_answer']:.2%} of the predictions unchanged, "
            f"cosine similarity of the features {shift['feature_cosine']:.3f}",
        )
    if found := record["corruptions"]:
        kept = f"{found['mean'] / scores.accuracy:.0%} of it" if scores.accuracy else "-"
        table.add_row("... on corrupted images", f"{found['mean']:.2%} on average, {kept}")
    if attack := record["attack"]:
        found = ", ".join(f"{accuracy:.1%} ({epsilon})" for epsilon, accuracy in attack["accuracies"].items())
        table.add_row(f"... under {attack['kind']}, by epsilon\n(of 255)", found)
    table.add_row("balanced accuracy", f"{scores.balanced_accuracy:.2%}; macro F1 {scores.macro_f1:.2%}")
    table.add_row("always the largest class", f"{scores.largest_class:.2%} accuracy")
    if scores.top5_accuracy is not None:
        table.add_row("top-5 accuracy", f"{scores.top5_accuracy:.2%}")
    table.add_row("loss", f"{scores.loss:.4f}")
    found = scores.calibration
    about = f"ECE {found.error:.4f} in {len(found.bins)} bins; mean confidence {found.confidence:.2%}"
    table.add_row("calibration", about)
    if mended := record["calibrated"]:
        table.add_row(
            f"... with temperature {mended['temperature']:.3f}",
            f"ECE {mended['error']:.4f}, loss {mended['loss']:.4f}; fitted on {mended['images']:,} held-out images",
        )
    if confusions := largest_confusions(scores, 3):
        listed = ", ".join(f"{true} -> {predicted} ({images:,})" for true, predicted, images in confusions)
        table.add_row("most frequent confusions\n(true -> predicted)", listed)
    table.add_row("data", f"{record['data']} ({record['data_fingerprint']})")
    if record["same_data"] is not True:
        trained_on = f"other data ({record['training_fingerprint']})"
        if record["same_data"] is None:
            trained_on = f"possibly {trained_on}: fingerprints of files and of pixels cannot be compared"
        table.add_row("trained on", trained_on)
    table.add_row("speed", f"{record['images_per_second']:,.0f} images/s, {record['precision']}, {record['device']}")
    table.add_row("seconds", ", ".join(f"{part} {value:.1f}" for part, value in record["seconds"].items()))
    table.add_row("results", str(folder))
    console = SafeConsole(soft_wrap=True)
    console.print(table)
    console.print(_class_table(scores.per_class))
    if (classes := len(scores.per_class)) > CLASSES_IN_TABLE:
        lowest = f"the {CLASSES_IN_TABLE} classes with the lowest F1 of {classes}"
        console.print(f"These are {lowest}; evaluation.json lists all.")


def _accuracy(scores: Scores) -> str:
    interval = scores.accuracy_interval
    return (
        f"{scores.accuracy:.2%} ({interval.confidence:.0%} interval {interval.low:.2%} to {interval.high:.2%}, "
        f"{interval.method})"
    )


def _class_table(rows: Sequence[ClassScores]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("class")
    for name in ("precision", "recall", "F1", "images"):
        table.add_column(name, justify="right")
    if len(rows) > CLASSES_IN_TABLE:
        rows = sorted(rows, key=lambda row: 2.0 if row.f1 is None else row.f1)[:CLASSES_IN_TABLE]
    for row in rows:
        figures = ("-" if value is None else f"{value:.2%}" for value in (row.precision, row.recall, row.f1))
        table.add_row(row.name, *figures, f"{row.support:,}")
    return table


def save_figures(
    folder: Path, about: str, scores: Scores, logits: Tensor, labels: Tensor, read: Callable[[Tensor], Tensor]
) -> None:
    """Write `confusion_matrix.png`, `reliability.png` and `mistakes.png` into an existing folder.

    `about` says what was tested on which images. Logits are float32 (N, classes), labels int64 (N,). `read` returns the
    pixels, uint8 (M, H, W, 3), of M positions.
    """
    classes = [row.name for row in scores.per_class]
    figures = {"confusion_matrix": draw_confusion_matrix(scores.confusion_matrix, classes, about)}
    for name, figure in (figures | {"reliability": draw_reliability(scores, about)}).items():
        save_figure(figure, folder / f"{name}.png")
    draw_mistakes(logits, labels, classes, read, folder / "mistakes.png", about)


@styled
def draw_reliability(scores: Scores, about: str) -> Figure:
    """Draw a reliability diagram: accuracy by confidence, above the number of images by confidence.

    Bins of few images have no bar: their accuracy is chance.
    """
    found = scores.calibration
    bins, width = found.bins, 0.94 / len(found.bins)
    centres = [(part.low + part.high) / 2 for part in bins]
    figure = Figure(figsize=(6, 7.2), layout="constrained")
    title = textwrap.fill(f"{about}: {_judgement(found.confidence - scores.accuracy)}", LETTERS_OF_TITLE)
    figure.suptitle(title, x=0.02, ha="left", weight="bold")
    above, below = figure.subplots(2, sharex=True, height_ratios=(3, 1))
    above.plot([0, 1], [0, 1], color=SOFT, linestyle="--", linewidth=1, label="as sure as it is right")
    for part, centre in zip(bins, centres, strict=True):
        if part.accuracy is None or part.confidence is None or part.images < FEWEST_IMAGES:
            continue
        interval = wilson_interval(round(part.accuracy * part.images), part.images)
        above.bar(centre, part.accuracy, width, color="C5", alpha=0.5)
        above.vlines(part.confidence, interval.low, interval.high, color="C0", linewidth=1.2)
        above.plot(part.confidence, part.accuracy, "o", color="C0", markersize=4)
    above.plot([], [], "o-", color="C0", markersize=4, linewidth=1.2, label="accuracy of a bin, 95 % interval")
    above.set_ylabel("accuracy")
    above.set_ylim(0, 1.02)
    above.legend(loc="upper left", fontsize=8)
    few = [part.images for part in bins if 0 < part.images < FEWEST_IMAGES]
    left_out = f" {len(few)} bins with fewer than {FEWEST_IMAGES} images are not drawn." if few else ""
    explanation = (
        "Of the answers given with 80 % confidence, 80 % should be right: points below the dashed line belong to a "
        f"network that is too sure of itself, points above it to one that is too cautious.{left_out}"
    )
    above.set_title(textwrap.fill(explanation, LETTERS_OF_TEXT), fontsize=9, color=SOFT)
    total = sum(part.images for part in bins)
    below.bar(centres, [part.images / total for part in bins], width, color=SOFT)
    below.set_ylabel(f"share of {total:,} images")
    below.set_xlabel(
        f"confidence: probability of the answer; mean {100 * found.confidence:.2f} %\n"
        f"accuracy {100 * scores.accuracy:.2f} %, expected calibration error (ECE) {found.error:.4f}"
    )
    below.set_xlim(0, 1)
    for axes in (above, below):
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
        axes.grid(axis="y")
    return figure


def _judgement(excess: float) -> str:
    """Return in words by how much the mean confidence exceeds the accuracy."""
    if abs(excess) < HARMLESS_EXCESS:
        return "as sure as it is right"
    points = f"by {100 * abs(excess):.1f} percentage points"
    return f"too sure of itself {points}" if excess > 0 else f"too cautious {points}"


def draw_mistakes(
    logits: Tensor, labels: Tensor, classes: Sequence[str], read: Callable[[Tensor], Tensor], file: Path, about: str
) -> None:
    """Write a gallery of the most confident wrong predictions as a `.png`; arguments as in `save_figures`."""
    positions = confident_mistakes(logits, labels, MISTAKES_IN_GALLERY)
    predictions = Predictions(logits[positions], tuple(classes)).top(3)
    tiles = [
        Tile(image, f"image {position}", best, label=classes[int(labels[position])])
        for image, position, best in zip(read(positions).numpy(), positions.tolist(), predictions, strict=True)
    ]
    wrong = int((logits.argmax(dim=1) != labels).sum())
    draw_gallery(tiles, file, f"{about}: the most confident of {wrong:,} mistakes in {len(labels):,} images")
