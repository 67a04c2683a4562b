"""Show what happens inside a trained network: `cnnlab visualize checkpoint=runs/lenet5/2026-01-31_12-00-00`.

With `augmentation=true`, show what a network sees of the training images.
"""

import logging
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from cnnlab import config as configuration
from cnnlab.display import progress_bar, suggest_next
from cnnlab.errors import RequestError
from cnnlab.instantiate import read_options
from cnnlab.limits import Count, Device
from cnnlab.runs.directory import RunDirectory, check_output_folder, checkpoint_file, own_folder, run_of
from cnnlab.waiting import tell

if TYPE_CHECKING:
    from torch import Tensor

    from cnnlab.data.images import Images
    from cnnlab.inference.trained import TrainedNetwork
    from cnnlab.inspection.live.page import Sample
    from cnnlab.inspection.page.page import Mistake

log = logging.getLogger("cnnlab.visualize")

BATCH_SIZE = 32  # images computed at a time
MISTAKES = 12  # wrongly classified images on the page
SEARCHED = 1024  # test images among which those of the live page are chosen


@dataclass(frozen=True)
class Request:
    """Hold the keys of the command, without those of the data; see conf/visualize.yaml."""

    checkpoint: str
    image: str
    images: Count
    output: str | None
    device: Device
    trust: str | list[str] | None = None
    live: bool = False
    pictures: str | None = None

    def __post_init__(self) -> None:
        if self.number is None and not self.file.is_file():
            raise ValueError(f"image: there is no file {self.image}; test:7 is the data's eighth test image")
        if self.pictures is not None and not self.live:
            raise ValueError("pictures is for live=true only")
        if self.pictures is not None and not Path(self.pictures).expanduser().is_dir():
            raise ValueError(f"pictures: there is no folder {self.pictures}")

    @property
    def number(self) -> int | None:
        """Number of the test image; None for a file."""
        match = re.fullmatch(r"test(?::(\d+))?", self.image)
        return int(match[1] or 0) if match else None

    @property
    def file(self) -> Path:
        """File of the image, if it is no test image."""
        return Path(self.image).expanduser()


def visualize(config: DictConfig) -> None:
    """Draw what happens inside a network while it classifies an image, and write the page."""
    request = read_options(Request, configuration.settings(config))
    run = run_of(checkpoint_file(request.checkpoint))
    folder = check_output_folder(request.output or own_folder((run.path if run else Path()) / "visualization"))

    from cnnlab.inference.trained import load

    net = load(request.checkpoint, request.device, "32-true", request.trust)
    if request.live:
        _write_live(config, request, net, run, folder)
        return
    from cnnlab.inspection.inside import Subject, look_inside
    from cnnlab.inspection.page.page import write_inside

    tested, data = _test_images(config, request, net)
    pixels, name, truth = _image(request, net, tested)
    image = net.normalize(pixels[None].to(net.device))
    watched, batches, positions = None, [image], None
    if tested:
        positions = _spread(min(request.images, len(tested)), len(tested))
        watched = f"{len(positions):,} test images of {data}"
        batches = _batches(positions, net, tested)
    grey = len(net.mean.unique()) == len(net.std.unique()) == 1 and bool((pixels == pixels[..., :1]).all())
    subject = Subject(_model_name(net, run), str(net.checkpoint), name, pixels, truth, watched, grey)
    tell("Looking into the network")
    inside = look_inside(subject, net.network, net.classes, image, batches)
    folder.mkdir(exist_ok=True)
    tell("Drawing the pictures")
    mistakes = [] if tested is None or positions is None else _mistakes(inside.logits, positions, tested, net.classes)
    page, *pictures = write_inside(inside, mistakes, folder)
    predicted, probability = inside.predictions[0]
    log.info("%s: predicted %s (%.1f %%)%s", name, predicted, 100 * probability, f"; correct: {truth}" if truth else "")
    log.info("Activation functions were watched on %s.", watched or "this image alone")
    log.info("%s, and %d pictures beside it", page, len(pictures))
    suggest_next(shlex.join(_next_command(request, tested)))


def _write_live(
    config: DictConfig, request: Request, net: "TrainedNetwork", run: RunDirectory | None, folder: Path
) -> None:
    """Write the page that runs the network in the browser."""
    from cnnlab.inspection.live.page import LivePage, write_live
    from cnnlab.inspection.live.trace import read_program

    tell("Reading the network")
    program = read_program(net.network, net.image_size)
    if request.pictures is None:
        samples = _samples(request, net, _test_images(config, request, net)[0])
    else:
        samples = _pictures(Path(request.pictures).expanduser(), net)
    page = LivePage(_model_name(net, run), program, net.classes, net.mean, net.std, samples, _training(run))
    file = write_live(page, folder)
    log.info("%s, %.1f MB: open it in a browser", file, file.stat().st_size / 1e6)


def _training(run: RunDirectory | None) -> list[str]:
    """Say in sentences how the network was trained, and how good it is, if the run recorded it."""
    recorded = (run.read_summary() if run else None) or {}
    if run is None or not recorded.get("epochs"):
        return []
    path = ((run.read_config() or {}).get("data") or {}).get("path")
    images = Path(path).name if path else recorded["data"]
    said = [f"It was trained for {recorded['epochs']} epochs with the recipe {recorded['recipe']} on {images}."]
    for key, which in (("test_accuracy", "test"), ("val_accuracy", "validation")):  # a stopped run was not tested
        if (accuracy := recorded.get(key)) is not None:
            return [*said, f"It classifies {100 * accuracy:.1f} % of the {which} images correctly."]
    return said


def _test_images(config: DictConfig, request: Request, net: "TrainedNetwork") -> "tuple[Images | None, str]":
    """Return the test images, and the name of their data.

    They come from the data of the command line, or else of the checkpoint's run. If the image is a file and neither is
    available, there are no test images: None.
    """
    from cnnlab.data.splits import read_split

    run = run_of(net.checkpoint)
    data = configuration.data_settings(config, run)
    needed = request.number is not None or bool(_data_arguments())
    if not needed and not (run and run.read_config()):
        return None, ""
    try:
        images, _ = read_split("test", "article", net.classes, net.image_size, data)
    except RequestError as error:
        if needed:
            raise
        log.info("The data of the run are not available (%s).", error)
        return None, ""
    return images, Path(data["path"]).name if data["path"] else data["source"]


def _data_arguments() -> list[str]:
    """Return the arguments of the command line that choose the data."""
    return [arg for arg in configuration.command_line() if re.match(r"\W*data[.=]", arg)]


def _image(request: Request, net: "TrainedNetwork", tested: "Images | None") -> tuple["Tensor", str, str | None]:
    """Return the image, uint8 (S, S, 3), its name, and its class if that is known."""
    import torch

    from cnnlab.data.pictures import UnreadablePicture

    if request.number is None:
        try:
            return net.read(request.file), request.file.name, None
        except UnreadablePicture as error:
            raise RequestError(f"image: {request.image} cannot be read: {error}") from None
    assert tested is not None
    if request.number >= len(tested):
        raise RequestError(f"image: there are {len(tested):,} test images, test:0 to test:{len(tested) - 1}")
    image = tested.take(torch.tensor([request.number]))
    return image.pixels[0], f"Test image {request.number}", net.classes[int(image.labels[0])]


def _spread(count: int, total: int) -> "Tensor":
    """Return positions of images, evenly spaced because they may be sorted by class."""
    import torch

    return torch.arange(count) * total // count


def _batches(positions: "Tensor", net: "TrainedNetwork", tested: "Images") -> Iterator["Tensor"]:
    """Yield normalized batches of test images."""
    with progress_bar(len(positions), "watching the activation functions") as bar:
        for part in positions.split(BATCH_SIZE):
            yield net.normalize(tested.read(part).to(net.device))
            bar.update(len(part))


def _mistakes(logits: "Tensor", positions: "Tensor", tested: "Images", classes: Sequence[str]) -> "list[Mistake]":
    """Return the images with these logits that were classified wrongly, those with the highest confidence first."""
    from cnnlab.inspection.page.page import Mistake

    confidences, predicted = logits.softmax(dim=1).max(dim=1)
    labels = tested.labels[positions]
    order = confidences.argsort(descending=True, stable=True)
    wrong = order[(predicted != labels)[order]][:MISTAKES]
    found = zip(wrong.tolist(), tested.read(positions[wrong]), strict=True)
    return [
        Mistake(
            pixels,
            f"Test image {positions[place]}",
            classes[int(labels[place])],
            classes[int(predicted[place])],
            float(confidences[place]),
        )
        for place, pixels in found
    ]


def _pictures(folder: Path, net: "TrainedNetwork") -> "list[Sample]":
    """Read the first pictures of a folder by name, as many as the live page offers; `ship.png` has the class `ship`."""
    from cnnlab.data.pictures import UnreadablePicture
    from cnnlab.inspection.live.page import SAMPLES, Sample

    files = sorted(file for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))[:SAMPLES]
    if not files:
        raise RequestError(f"pictures: there is no file in {folder}")
    samples = []
    for file in files:
        try:
            label = net.classes.index(file.stem) if file.stem in net.classes else None
            samples.append(Sample(net.read(file), file.name, label))
        except UnreadablePicture as error:
            raise RequestError(f"pictures: {file} cannot be read: {error}") from None
    return samples


def _samples(request: Request, net: "TrainedNetwork", tested: "Images | None") -> "list[Sample]":
    """Return the image that was asked for, and test images, one of them classified wrongly if there is one."""
    import torch

    from cnnlab.inspection.live.page import SAMPLES, Sample, choose_samples

    pixels, name, truth = _image(request, net, tested)
    first = Sample(pixels, name, None if truth is None else net.classes.index(truth))
    if tested is None:
        return [first]
    positions = _spread(min(SEARCHED, len(tested)), len(tested))
    tell(f"Classifying {len(positions):,} test images, to choose some")
    predicted = torch.cat([net.logits(tested.read(part)).argmax(dim=1) for part in positions.split(BATCH_SIZE)])
    chosen = positions[choose_samples(tested.labels[positions], predicted)]
    named = zip(tested.read(chosen), chosen.tolist(), tested.labels[chosen].tolist(), strict=True)
    others = [Sample(image, f"Test image {number}", label) for image, number, label in named]
    return [first, *[sample for sample in others if sample.name != name][1 - SAMPLES :]]


def _model_name(net: "TrainedNetwork", run: RunDirectory | None) -> str:
    """Return the name that the run recorded, or else the name of the network's class or function."""
    recorded = (run.read_summary() if run else None) or {}
    made_by = net.model["_target_"].rpartition(".")[2].removesuffix("_network")  # of a library: timm, torchvision
    return recorded.get("model") or configuration.model_name(made_by, net.model)


def _next_command(request: Request, tested: "Images | None") -> list[str]:
    """Return a command that does more with the network: evaluate it, or classify the image if there are no data."""
    checkpoint = f"checkpoint={request.checkpoint}"
    if tested is None:
        return ["cnnlab", "predict", checkpoint, f"images={request.image}"]
    return ["cnnlab", "evaluate", checkpoint, *_data_arguments()]


def visualize_augmentation(config: DictConfig) -> None:
    """Draw training images, and what the augmentation makes of each in the first epochs."""
    output = configuration.settings(config).pop("output")
    folder = check_output_folder(output or own_folder(Path("visualization")))
    settings = configuration.settings(config)

    from cnnlab.build.run import build_data
    from cnnlab.build.views import augmented_views, describe_augmentation
    from cnnlab.reports.gallery import draw_neighbours

    data = build_data(settings)
    tell("Drawing the images")
    file = folder / "augmentation.png"
    folder.mkdir(exist_ok=True)
    done = describe_augmentation(settings["augmentation"])
    draw_neighbours(augmented_views(data), file, f"Training images, and what a network sees of them: {done}")
    log.info("%s: training images, and what a network sees of them in each epoch (%s)", file, done)


def main() -> None:
    """Run the command; with `augmentation=true`, it takes the keys of `cnnlab train`."""
    chosen = [argument for argument in sys.argv[1:] if argument in ("augmentation=true", "augmentation=false")]
    sys.argv[1:] = [argument for argument in sys.argv[1:] if argument not in chosen]
    if chosen[-1:] == ["augmentation=true"]:
        configuration.make_command("visualize_augmentation", visualize_augmentation)()
    configuration.make_command("visualize", visualize)()


if __name__ == "__main__":
    main()
