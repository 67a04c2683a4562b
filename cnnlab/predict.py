"""Classify images with a trained network: `cnnlab predict checkpoint=RUN images=photos`."""

import logging
import sys
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig
from tqdm import tqdm

from cnnlab import config as configuration
from cnnlab.arguments import check_declared
from cnnlab.data.listing import STANDARD_INPUT, list_pictures
from cnnlab.display import progress_bar
from cnnlab.errors import Failed, RequestError
from cnnlab.instantiate import read_options
from cnnlab.limits import Count
from cnnlab.runs.directory import check_output, checkpoint_file, run_of
from cnnlab.waiting import make_way, tell

if TYPE_CHECKING:
    from cnnlab.data.images import Images
    from cnnlab.data.splits import Split
    from cnnlab.inference.trained import TrainedNetwork

log = logging.getLogger("cnnlab.predict")

TEST = "test"  # images=test
STANDARD_OUTPUT = "-"
TILES, ROWS_WITH_NEIGHBOURS = 36, 12  # images in the gallery


@dataclass(frozen=True)
class Counts:
    """Hold the command's numbers, or None for all images and no neighbours; see conf/predict.yaml."""

    limit: Count | None
    top: Count
    neighbours: Count | None
    batch_size: Count


def predict(config: DictConfig) -> None:
    """Classify images batch by batch; write the predictions and a gallery."""
    settings = configuration.settings(config)
    counts = read_options(Counts, settings)
    arguments = {key: settings[key] for key in ("checkpoint", "device", "precision", "trust", "calibrated")}
    check_declared("cnnlab.inference.trained.load", arguments)
    to_stdout = settings["output"] == STANDARD_OUTPUT
    output = None if to_stdout else check_output(settings["output"], (".csv", ".jsonl"))
    gallery = check_output(settings["gallery"], (".png",), "gallery")
    images = settings["images"]
    paths = None if images == TEST else list_pictures(images)
    checkpoint_file(settings["checkpoint"])

    from cnnlab.data.pictures import read_images, read_pictures
    from cnnlab.errors import printable
    from cnnlab.inference.classify import KnownImages, classify
    from cnnlab.inference.prediction_files import (
        PredictionSummary,
        draw_predictions,
        prediction_writer,
        print_predictions,
    )
    from cnnlab.inference.trained import load
    from cnnlab.reports.terminal import suggest_visualize

    tell("Reading the checkpoint")
    net = load(**arguments)
    make_way()
    known = None
    if counts.neighbours:
        trained_on = _read_data(config, net, "train")
        with progress_bar(len(trained_on), "features of the training images") as bar:
            known = KnownImages(net, trained_on, counts.neighbours, counts.batch_size, bar.update)
    drawn = (ROWS_WITH_NEIGHBOURS if known else TILES) if gallery else 0
    if paths is not None:
        readings, total = read_pictures(islice(paths, counts.limit), net.image_size, drawn), _count(images, counts)
    else:
        tested = _read_data(config, net, "test")
        readings = read_images(tested, TEST, counts.limit, drawn, counts.batch_size)
        total = min(len(tested), counts.limit or len(tested))
    summary = PredictionSummary()
    columns = (min(counts.top, len(net.classes)), paths is None, known.count if known else 0)
    writer = prediction_writer(output, *columns) if output or to_stdout else nullcontext()
    with writer as write, progress_bar(total) as bar:
        for reading, prediction in classify(net, readings, counts.top, counts.batch_size, known):
            bar.update()
            if prediction is None:
                summary.unreadable += 1
                tqdm.write(printable(f"{reading.name}: {reading.error}; skipped"), file=sys.stderr)
                continue
            if write:
                write(prediction)
            summary.add(prediction, reading.thumbnail)
        if not summary.done + summary.unreadable:
            raise RequestError("images: standard input names no file")
        if not summary.done:  # no file is written
            raise Failed(f"None of {summary.unreadable:,} images could be read.")
    if not to_stdout:
        print_predictions(summary)
    log.info("%s", summary)
    if output:
        log.info("%s", output)
    if gallery:
        tell("Drawing the gallery")
        draw_predictions(summary, net.checkpoint, known, gallery)
        log.info("%s", gallery)
    if summary.unreadable:
        raise Failed(f"{summary.unreadable:,} of {summary.done + summary.unreadable:,} images could not be read.")
    image = "test:0" if images == TEST else summary.first[0][0].image
    suggest_visualize(settings["checkpoint"], image, configuration.command_line())


def _read_data(config: DictConfig, net: "TrainedNetwork", split: "Split") -> "Images":
    """Find the images of a split: of the data on the command line, else of the checkpoint's run."""
    from cnnlab.data.splits import read_split
    from cnnlab.runs.checkpoint import same_images

    data = configuration.data_settings(config, run_of(net.checkpoint))
    for key in ("fold", "folds", "fraction"):  # all training images, whichever of them the run was trained with
        if f"data.{key}" in configuration.command_line_keys():
            raise RequestError(f"data.{key} has no meaning here: the neighbours come from all training images")
        data.pop(key, None)
    images, whole = read_split(split, "article", net.classes, net.image_size, data)
    if same_images(whole.fingerprint, net.data_fingerprint) is False:
        log.warning("data: the network was trained on other images, or on other copies of these.")
    return images


def _count(images: Any, counts: Counts) -> int | None:
    """Count the files for the progress bar; return None if it is not shown or standard input names them."""
    if images == STANDARD_INPUT or not sys.stderr.isatty():
        return None
    return sum(1 for _ in islice(list_pictures(images), counts.limit))


main = configuration.make_command("predict", predict)

if __name__ == "__main__":
    main()
