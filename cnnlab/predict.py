"""Classifies images with a trained network: `python -m cnnlab.predict checkpoint=runs/... images=photos`."""

import logging
import sys
import warnings
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig
from tqdm import tqdm

from cnnlab import config as configuration
from cnnlab.data.listing import STANDARD_INPUT, list_pictures
from cnnlab.errors import Incomplete, RequestError
from cnnlab.instantiate import check_arguments, check_at_least, explained, read_options
from cnnlab.runs.directory import check_output, run_of

if TYPE_CHECKING:
    import numpy as np

    from cnnlab.data.images import StoredImages
    from cnnlab.data.splits import Split
    from cnnlab.inference.classify import KnownImages
    from cnnlab.inference.prediction_files import Prediction
    from cnnlab.inference.trained import TrainedNetwork

log = logging.getLogger("cnnlab.predict")

TEST = "test"  # images=test
STANDARD_OUTPUT = "-"
PRINTED = 10  # images on the terminal
SHOWN, SHOWN_WITH_NEIGHBOURS = 36, 12  # images in the gallery


@dataclass(frozen=True)
class Counts:
    """Hold the command's numbers, all 1 or more, or None for all images and no neighbours; see conf/predict.yaml."""

    limit: int | None
    top: int
    neighbours: int | None
    batch_size: int

    def __post_init__(self) -> None:
        check_at_least(1, limit=self.limit, top=self.top, neighbours=self.neighbours, batch_size=self.batch_size)


@dataclass
class Outcome:
    """What is kept of the images: counts, and the first ones, to be shown.

    Attributes:
        done: images that were classified.
        right: of them, those whose true class was found; None where no true class is known.
        unreadable: images that could not be read.
        first: the first predictions, with thumbnails (uint8 (H, W, 3)) of those that are in the gallery.
    """

    done: int = 0
    right: int | None = None
    unreadable: int = 0
    first: list[tuple["Prediction", "np.ndarray | None"]] = field(default_factory=list)

    def add(self, prediction: "Prediction", thumbnail: "np.ndarray | None") -> None:
        """Counts an image that was classified."""
        self.done += 1
        if prediction.label is not None:
            self.right = (self.right or 0) + (prediction.label == prediction.top[0][0])
        if thumbnail is not None or len(self.first) < PRINTED:
            self.first.append((prediction, thumbnail))

    def __str__(self) -> str:
        right = "" if self.right is None else f", {self.right:,} right ({self.right / self.done:.1%})"
        return f"{self.done:,} image{'' if self.done == 1 else 's'}{right}"


def predict(config: DictConfig) -> None:
    """Classifies the images that are asked for, batch by batch, and writes what the network says about them."""
    settings = configuration.settings(config)
    counts = read_options(Counts, settings)
    to_stdout = settings["output"] == STANDARD_OUTPUT
    output = None if to_stdout else check_output(settings["output"], (".csv", ".jsonl"))
    gallery = check_output(settings["gallery"], (".png",), "gallery")
    images = settings["images"]
    paths = None if images == TEST else list_pictures(images)

    from cnnlab.data.pictures import read_images, read_pictures
    from cnnlab.inference.classify import KnownImages, classify
    from cnnlab.inference.prediction_files import print_predictions, writing
    from cnnlab.inference.trained import load
    from cnnlab.reports.terminal import printable

    warnings.filterwarnings("ignore", module="PIL")  # it warns of what it then reads
    opened = {key: settings[key] for key in ("checkpoint", "device", "precision")}
    check_arguments(load, opened)
    net = load(**opened)
    known = None
    if counts.neighbours:
        trained_on = _images(config, net, "train")
        with _bar(len(trained_on), "features of the training images") as bar:
            known = KnownImages(net, trained_on, counts.neighbours, counts.batch_size, bar.update)
    shown = (SHOWN_WITH_NEIGHBOURS if known else SHOWN) if gallery else 0
    if paths is not None:
        readings, total = read_pictures(islice(paths, counts.limit), net.image_size, shown), _total(images, counts)
    else:
        tested = _images(config, net, "test")
        readings = read_images(tested, TEST, counts.limit, shown, counts.batch_size)
        total = min(len(tested), counts.limit or len(tested))
    outcome = Outcome()
    columns = (min(counts.top, len(net.classes)), paths is None, known.count if known else 0)
    writer = writing(output, *columns) if output or to_stdout else nullcontext()
    with writer as write, _bar(total) as bar:
        for reading, prediction in classify(net, readings, counts.top, counts.batch_size, known):
            bar.update()
            if prediction is None:
                outcome.unreadable += 1
                tqdm.write(printable(f"{reading.name}: {reading.error}; left out"), file=sys.stderr)
                continue
            if write:
                write(prediction)
            outcome.add(prediction, reading.thumbnail)
        if not outcome.done + outcome.unreadable:
            raise RequestError("images: standard input names no file")
    if outcome.done and not to_stdout:
        print_predictions([prediction for prediction, _ in outcome.first[:PRINTED]], outcome.done)
    log.info("%s", outcome)
    if output:
        log.info("%s", output)
    if gallery:
        _draw(outcome, net, known, gallery)
        log.info("%s", gallery)
    if outcome.unreadable:
        raise Incomplete(f"{outcome.unreadable:,} of {outcome.done + outcome.unreadable:,} images could not be read.")


def _images(config: DictConfig, net: "TrainedNetwork", split: "Split") -> "StoredImages":
    """Images of the data that the network was trained on, or of others with its classes: `test` or `train`."""
    from cnnlab.data.splits import read_split
    from cnnlab.runs.checkpoint import same_images

    settings = configuration.data_settings(config, run_of(net.checkpoint))
    del settings["eval_batch_size"]  # batch_size says it
    check_arguments(read_split, settings, "data")
    with explained("data", settings):
        images, fingerprint = read_split(split, "article", net.classes, net.image_size, **settings)
    if same_images(fingerprint, net.data_fingerprint) is False:
        log.warning("data: these are not the images that the network was trained on, or other copies of them.")
    return images


def _total(images: Any, counts: Counts) -> int | None:
    """How many files the bar goes up to, where one is drawn and that can be known."""
    if images == STANDARD_INPUT or not sys.stderr.isatty():
        return None
    return sum(1 for _ in islice(list_pictures(images), counts.limit))


def _bar(total: int | None, what: str | None = None) -> "tqdm[Any]":
    """A progress bar, on a terminal."""
    return tqdm(total=total, desc=what, unit=" images", leave=False, disable=not sys.stderr.isatty())


def _draw(outcome: Outcome, net: "TrainedNetwork", known: "KnownImages | None", file: Path) -> None:
    """Draws the gallery of the first images, with their neighbours where there are known images."""
    from cnnlab.reports.gallery import Tile, draw_gallery, draw_neighbours

    rows = []
    for prediction, thumbnail in outcome.first:
        if thumbnail is not None:
            near = [
                Tile(known.pixels(n).numpy(), n.image, (), n.label, f"distance {n.distance:.3f}")
                for n in prediction.neighbours
                if known
            ]
            rows.append([Tile(thumbnail, prediction.image, prediction.top, prediction.label), *near])
    title = f"{net.checkpoint}: {outcome}" + (f"; the first {len(rows)}" if len(rows) < outcome.done else "")
    if known:
        draw_neighbours(rows, file, title)
    else:
        draw_gallery([tile for row in rows for tile in row], file, title)


main = configuration.make_command("predict", predict)

if __name__ == "__main__":
    main()
