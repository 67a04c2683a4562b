"""Looks inside a trained network: `python -m cnnlab.visualize checkpoint=runs/lenet5/2026-01-31_12-00-00`."""

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from cnnlab import config as configuration
from cnnlab.errors import RequestError
from cnnlab.instantiate import check_arguments, check_at_least, explained, read_options
from cnnlab.runs.directory import RunDirectory, check_output_folder, run_of

if TYPE_CHECKING:
    from torch import Tensor

    from cnnlab.data.images import StoredImages
    from cnnlab.inference.trained import TrainedNetwork
    from cnnlab.inspection.page.page import Inside

log = logging.getLogger("cnnlab.visualize")

NAMED, EXPLAINED = 5, 3  # classes whose probabilities are told, and that get a class activation map
AT_A_TIME = 32  # images


@dataclass(frozen=True)
class Request:
    """What is asked for beside the data.

    Attributes:
        checkpoint: a file or a run directory.
        image: a file, or `test:N` for one of the data's test images, from 0.
        images: of the data, that the activation functions are watched on.
        output: a folder; None for `visualization` in the checkpoint's run, or in the working directory.
        device: as `cnnlab.inference.trained.load` has it.
    """

    checkpoint: str
    image: str
    images: int
    output: str | None
    device: str

    def __post_init__(self) -> None:
        check_at_least(1, images=self.images)
        if self.number is None and not self.file.is_file():
            raise ValueError(f"image: there is no file {self.image}; test:7 is the data's eighth test image")

    @property
    def number(self) -> int | None:
        """Of the test image; None for a file."""
        match = re.fullmatch(r"test(?::(\d+))?", self.image)
        return int(match[1] or 0) if match else None

    @property
    def file(self) -> Path:
        """Of the image, where it is no test image."""
        return Path(self.image).expanduser()


def visualize(config: DictConfig) -> None:
    """Draws what is inside the configuration's network, and writes a page."""
    request = read_options(Request, configuration.settings(config))
    run = run_of(Path(request.checkpoint).expanduser())
    folder = _folder(request.output, run)

    from cnnlab.inference.trained import load
    from cnnlab.inspection.page.page import write_inside

    net = load(request.checkpoint, request.device, precision="32-true")
    inside = _look(request, net, *_test_images(config, request, net), _model_name(net, run))
    folder.mkdir(exist_ok=True)
    page, *pictures = write_inside(inside, folder)
    name, probability = inside.answers[0]
    truth = f" (it is {inside.truth})" if inside.truth else ""
    log.info("%s: %s, %.1f %%%s", inside.image, name, 100 * probability, truth)
    log.info("Activation functions were watched on %s.", inside.watched or "this image alone")
    log.info("%s, and %d pictures beside it", page, len(pictures))


def _look(request: Request, net: "TrainedNetwork", tested: "StoredImages | None", called: str, model: str) -> "Inside":
    """Shows the network the image, and looks at what it does."""
    from cnnlab.inspection.activations import watch_activations
    from cnnlab.inspection.attribution import class_activation
    from cnnlab.inspection.feature_maps import trace_maps
    from cnnlab.inspection.layers import tabulate
    from cnnlab.inspection.page.page import Inside
    from cnnlab.inspection.page.tiles import ClassMap

    pixels, about, truth = _image(request, net, tested)
    image = net.normalize(pixels[None].to(net.device))
    maps = trace_maps(net.network, image)
    probabilities, numbers = maps.logits.softmax(dim=0).topk(min(NAMED, len(net.classes)))
    answers = [(net.classes[n], p) for n, p in zip(numbers.tolist(), probabilities.tolist(), strict=True)]
    class_maps = []
    if maps.explaining:
        found = class_activation(net.network, maps.explaining.name, image, numbers[:EXPLAINED].tolist())
        class_maps = [ClassMap(*answer, values) for answer, values in zip(answers, found, strict=False)]
    watched, batches = None, [image]
    if tested:
        count = min(request.images, len(tested))
        watched, batches = f"{count:,} test images of {called}", _spread(count, net, tested)
    return Inside(
        model=model,
        checkpoint=str(net.checkpoint),
        image=about,
        pixels=pixels,
        truth=truth,
        answers=answers,
        table=tabulate(net.network, (image.shape[1], image.shape[2], image.shape[3])),
        maps=maps,
        uses=watch_activations(net.network, batches),
        watched=watched,
        class_maps=class_maps,
    )


def _folder(output: str | None, run: RunDirectory | None) -> Path:
    """Where the page goes; it is made when there is something to write."""
    return check_output_folder(output or (run.path if run else Path()) / "visualization")


def _test_images(config: DictConfig, request: Request, net: "TrainedNetwork") -> "tuple[StoredImages | None, str]":
    """Test images of the data that were asked for, else of those of the checkpoint's run, and what these are called.

    None where no data are needed, and none are known or to be had.
    """
    from cnnlab.data.splits import read_split

    run = run_of(net.checkpoint)
    settings = configuration.data_settings(config, run)
    del settings["eval_batch_size"]  # a few are computed at a time here
    typed = any(key.partition(".")[0] == "data" for key in configuration.given_keys())
    if request.number is None and not typed and not (run and run.read_config()):
        return None, ""
    check_arguments(read_split, settings, "data")
    try:
        with explained("data", settings):
            images, _ = read_split("test", "article", net.classes, net.image_size, **settings)
    except RequestError as error:
        if request.number is None and not typed:
            log.info("The data of the run cannot be had (%s).", error)
            return None, ""
        raise
    return images, Path(settings["path"]).name if settings["path"] else settings["source"]


def _image(request: Request, net: "TrainedNetwork", tested: "StoredImages | None") -> tuple["Tensor", str, str | None]:
    """The image, uint8 (S, S, 3), what it is in words, and its class where that is known."""
    from cnnlab.data.pictures import UnreadablePicture

    if request.number is None:
        try:
            return net.read(request.file), request.file.name, None
        except UnreadablePicture as error:
            raise RequestError(f"image: {request.image} cannot be read: {error}") from None
    assert tested is not None
    if request.number >= len(tested):
        raise RequestError(f"image: there are {len(tested):,} test images, test:0 to test:{len(tested) - 1}")
    image = tested.take(_positions([request.number]))
    return image.pixels[0], f"Test image {request.number}", net.classes[int(image.labels[0])]


def _spread(count: int, net: "TrainedNetwork", tested: "StoredImages") -> Iterator["Tensor"]:
    """Test images, spread evenly over all of them, for they may be sorted by class: normalized batches."""
    numbers = [number * len(tested) // count for number in range(count)]
    for start in range(0, count, AT_A_TIME):
        pixels = tested.read(_positions(numbers[start : start + AT_A_TIME]))
        yield net.normalize(pixels.to(net.device))


def _positions(numbers: list[int]) -> "Tensor":
    import torch

    return torch.tensor(numbers)


def _model_name(net: "TrainedNetwork", run: RunDirectory | None) -> str:
    """As the run recorded it, else that of what makes the network."""
    recorded = (run.read_summary() if run else None) or {}
    made_by = net.model["_target_"].rpartition(".")[2].removesuffix("_network")  # of a library: timm, torchvision
    return recorded.get("model") or configuration.model_name(made_by, net.model)


main = configuration.make_command("visualize", visualize)

if __name__ == "__main__":
    main()
