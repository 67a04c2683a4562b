"""Evaluate a trained network on a data set: `cnnlab evaluate checkpoint=RUN`."""

import logging
import shlex
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from cnnlab import config as configuration
from cnnlab.arguments import check_declared
from cnnlab.errors import RequestError
from cnnlab.files import write_atomically
from cnnlab.instantiate import explained, read_options
from cnnlab.runs.directory import RunDirectory, check_output_folder, own_folder, run_of
from cnnlab.runs.reading import checkpoint_files
from cnnlab.runs.summary import read_record
from cnnlab.waiting import tell

if TYPE_CHECKING:
    from torch import Tensor

    from cnnlab.data.images import ImageData, Images
    from cnnlab.inference.evaluation_report import EvaluationOptions
    from cnnlab.inference.metrics import Scores
    from cnnlab.inference.scoring import Clock, NetworkOutputs
    from cnnlab.inference.trained import TrainedNetwork

log = logging.getLogger("cnnlab.evaluate")


@dataclass(frozen=True)
class Request:
    """Hold what the command line asks for, checked as far as possible before the slow imports."""

    settings: dict[str, Any]
    files: list[Path]  # the checkpoints
    run: RunDirectory | None  # of the first checkpoint
    summary: dict[str, Any]  # record of that run, empty if there is none
    protocol: Any
    data: dict[str, Any]  # settings of the images
    batch_size: int
    output: Path | None  # folder of the results, None to choose one

    def read_split(self, split: Any, net: "TrainedNetwork") -> "tuple[Images, ImageData]":
        """Return the images of a split for a network, and the data set that they belong to."""
        from cnnlab.data.splits import read_split

        seed = self.summary.get("seed") or 0
        return read_split(split, self.protocol, net.classes, net.image_size, self.data, seed)


@dataclass(frozen=True)
class Subject:
    """Hold the network that is measured, and on what."""

    request: Request
    options: "EvaluationOptions"
    net: "TrainedNetwork"
    images: "Images"
    clock: "Clock"
    folder: Path  # of the results

    @property
    def model(self) -> str:
        """Return the name of the network."""
        return self.request.summary.get("model") or str(self.net.model["_target_"]).rpartition(".")[2]

    @property
    def about(self) -> str:
        """Return in words which network was measured on which images."""
        data = self.request.data
        return f"{self.model} on the {self.options.split} images of {Path(data['path'] or data['source']).name}"


def evaluate(config: DictConfig) -> None:
    """Evaluate a checkpoint; print a table, and write metrics, predictions and figures into a folder."""
    started = time.perf_counter()
    request = _read_request(config)

    from cnnlab.inference import evaluation_report as report
    from cnnlab.inference.metrics import score
    from cnnlab.inference.scoring import Clock, check_shift, measure_shift_invariance

    clock = Clock(imports=time.perf_counter() - started)
    options = read_options(report.EvaluationOptions, request.settings)
    nets = _load_networks(request, options, clock)
    check_shift(options.shift, nets[0].image_size)
    with clock("data"):
        images, whole = request.read_split(options.split, nets[0])
    folder = _results_folder(request, options.split, nets[0], whole.fingerprint)
    net, outputs, members = _run_networks(nets, images, request, options, clock)
    subject = Subject(request, options, net, images, clock, folder)
    shift = measure_shift_invariance(net, images, request.batch_size, options.shift, clock) if options.shift else None
    tell("Computing the metrics")
    with clock("metrics"):
        scores = score(outputs.logits, images.labels, net.classes)
        tta_scores = None if outputs.tta_logits is None else score(outputs.tta_logits, images.labels, net.classes)
    folder.mkdir(parents=True, exist_ok=True)
    more = {"shift": shift, **_measure_more(subject, outputs, scores)}
    report.save_outputs(outputs, images.labels, folder)
    tell("Drawing the figures")
    with clock("figures"):
        report.save_figures(folder, subject.about, scores, outputs.logits, images.labels, images.read)
    more["embeddings"] = None if outputs.features is None else _save_embeddings(subject, outputs, outputs.features)
    clock["total"] = time.perf_counter() - started
    record = _describe(subject, whole, members, scores, tta_scores, more, outputs.images_per_second)
    write_atomically(folder / "evaluation.json", report.to_json(record))
    report.print_evaluation(record, scores, tta_scores, folder)
    _suggest_mistake(subject, outputs)


def _read_request(config: DictConfig) -> Request:
    settings = configuration.settings(config)
    check_declared("cnnlab.inference.evaluation_report.EvaluationOptions", settings)
    files = checkpoint_files(settings["checkpoint"])
    _check_several(files, settings)
    run = run_of(files[0])
    summary, problems = read_record(run.summary_file) if run else (None, [])
    summary = summary or {}
    for problem in problems:
        log.warning("checkpoint: %s", problem)
    output = _check_output(settings["output"])
    protocol = settings["protocol"] or summary.get("protocol") or "holdout"
    if settings["calibrate"] and (settings["split"] != "test" or protocol == "article"):
        raise RequestError(
            "calibrate needs split=test, and images that neither training nor test use (protocol=holdout)"
        )
    if settings["calibrate"] == "save" and files[0].suffix != ".ckpt":
        raise RequestError(f"calibrate=save writes into a checkpoint of a training; {files[0].name} is none")
    data = configuration.data_settings(config, run)
    batch_size = data.pop("eval_batch_size")

    from cnnlab.data.sources import source_of

    source_of(data)
    return Request(settings, files, run, summary, protocol, data, batch_size, output)


def _load_networks(request: Request, options: "EvaluationOptions", clock: "Clock") -> "list[TrainedNetwork]":
    from cnnlab.inference.ensemble import check_members
    from cnnlab.inference.trained import load
    from cnnlab.runs.environment import device_kind
    from cnnlab.training.precision import device_type

    recorded = str(request.summary.get("precision")).replace("bf16-true", "bf16-mixed")  # checkpoints hold float32
    kind = device_type("auto") if options.device == "auto" else options.device.partition(":")[0]
    # A format of another kind of device might be slow on this one: CPUs may emulate bf16.
    keeps = recorded == "32-true" or (recorded == "bf16-mixed" and kind == device_kind(request.summary.get("device")))
    precision: Any = options.precision or (recorded if keeps else "auto")
    tell("Reading the checkpoint")
    with clock("checkpoint"):
        nets = [load(file, options.device, precision, request.settings["trust"]) for file in request.files]
        check_members(nets)
    return nets


def _results_folder(request: Request, split: str, net: "TrainedNetwork", fingerprint: str) -> Path:
    """Return `output=`, or else a folder whose results are of the same networks, split and data."""
    from cnnlab.inference.evaluation_report import default_folder
    from cnnlab.runs.checkpoint import same_images

    if request.output:
        return request.output
    same_data = same_images(fingerprint, net.data_fingerprint)
    data_is_given = {"data", "data.path", "data.source"} & configuration.command_line_keys()
    other_data = fingerprint if same_data is False or (same_data is None and data_is_given) else None
    alone = default_folder(request.run, net.checkpoint, split, other_data)
    return own_folder(alone if len(request.files) == 1 else Path("evaluation_together"))


def _run_networks(
    nets: "list[TrainedNetwork]", images: "Images", request: Request, options: "EvaluationOptions", clock: "Clock"
) -> "tuple[TrainedNetwork, NetworkOutputs, list[dict[str, Any]] | None]":
    """Return the network to measure further, the outputs of all together, and the accuracy of each of several."""
    from cnnlab.inference.ensemble import average_weights, combine
    from cnnlab.inference.scoring import run_network

    def run(net: "TrainedNetwork") -> "NetworkOutputs":
        return run_network(net, images, request.batch_size, options.tta, options.embeddings, clock)

    each = [run(net) for net in nets]
    if len(nets) == 1:
        return nets[0], each[0], None
    accuracies = [float((part.logits.argmax(dim=1) == images.labels).float().mean()) for part in each]
    members = [
        {"checkpoint": str(file.absolute()), "accuracy": accuracy}
        for file, accuracy in zip(request.files, accuracies, strict=True)
    ]
    if options.soup:
        soup = average_weights(nets)
        return soup, run(soup), members
    return nets[0], combine(each), members


def _measure_more(subject: Subject, outputs: "NetworkOutputs", scores: "Scores") -> dict[str, Any]:
    """Measure what else is asked for: a mended confidence, corrupted images, an attack."""
    request, options, net, images = subject.request, subject.options, subject.net, subject.images
    clock = subject.clock
    calibrated = robustness = attack = None
    if options.calibrate:
        from cnnlab.inference.temperature import mend_confidence, save_temperature

        tell("Fitting the temperature")
        with clock("calibration"):
            held_out, _ = request.read_split("val", net)
            calibrated = mend_confidence(net, held_out, outputs.logits, images.labels, request.batch_size)
        if options.calibrate == "save":
            save_temperature(net.checkpoint, calibrated["temperature"])
    if options.corruptions:
        from cnnlab.inference.corruptions import draw_robustness, measure_robustness

        robustness = measure_robustness(net, images, clock)
        draw_robustness(robustness, scores.accuracy, subject.about, subject.folder / "corruptions.png")
    if options.attack != "none":
        from cnnlab.inference.attacks import measure_attack

        file = subject.folder / "attack.png"
        attack = measure_attack(net, images, options.attack, request.batch_size, file, clock)
    return {"calibrated": calibrated, "corruptions": robustness, "attack": attack}


def _save_embeddings(subject: Subject, outputs: "NetworkOutputs", features: "Tensor") -> dict[str, Any]:
    from cnnlab.inference.embedding_report import save_embeddings

    tell("Placing the images on a map (t-SNE)")
    images, predicted = subject.images, outputs.logits.argmax(dim=1)
    with subject.clock("embeddings"), explained("embeddings"):
        return save_embeddings(
            subject.folder, subject.about, features, images.labels, predicted, subject.net.classes, images.read
        )


def _describe(
    subject: Subject,
    whole: "ImageData",
    members: list[dict[str, Any]] | None,
    scores: "Scores",
    tta_scores: "Scores | None",
    more: dict[str, Any],
    images_per_second: float,
) -> dict[str, Any]:
    """Return the content of evaluation.json."""
    from cnnlab.inference.scoring import chosen_tta
    from cnnlab.runs.checkpoint import same_images
    from cnnlab.runs.environment import device_name, versions

    request, options, net = subject.request, subject.options, subject.net
    return {
        "checkpoint": str(net.checkpoint.absolute()),
        "members": members,
        "soup": options.soup,
        "model": subject.model,
        "data": request.data["path"] or request.data["source"],
        "split": options.split,
        "protocol": request.protocol,
        "data_fingerprint": whole.fingerprint,
        "training_fingerprint": net.data_fingerprint,
        "same_data": same_images(whole.fingerprint, net.data_fingerprint),
        "images": len(subject.images),
        "ignored": dict(whole.findings.ignored),
        "classes": net.classes,
        **asdict(scores),
        "tta": None if tta_scores is None else {"views": chosen_tta(options.tta), **asdict(tta_scores)},
        **more,
        "images_per_second": round(images_per_second, 1),
        "seconds": {part: round(seconds, 3) for part, seconds in subject.clock.items()},
        "device": device_name(net.device),
        "precision": net.precision,
        "versions": versions(),
        "command": shlex.join(["cnnlab", "evaluate", *configuration.command_line()]),
    }


def _suggest_mistake(subject: Subject, outputs: "NetworkOutputs") -> None:
    """Suggest to look at the test image that the network is most wrongly sure of, or at the first one."""
    from cnnlab.inference.metrics import confident_mistakes
    from cnnlab.reports.terminal import suggest_visualize

    options = subject.options
    mistakes = confident_mistakes(outputs.logits, subject.images.labels, 1).tolist() if options.split == "test" else []
    shown = options.checkpoint if isinstance(options.checkpoint, str) else options.checkpoint[0]
    suggest_visualize(shown, f"test:{mistakes[0] if mistakes else 0}", configuration.command_line())


def _check_several(files: list[Path], settings: dict[str, Any]) -> None:
    """Check that what is asked of several networks, or of the mean of their weights, makes sense."""
    if not settings["soup"]:
        alone = ("calibrate", "corruptions", "attack", "embeddings", "shift")
        asked = [key for key in alone if settings[key] not in (False, 0, "none")]
        if len(files) > 1 and asked:
            raise RequestError(f"{asked[0]} needs one network; several answer together, or soup=true makes them one")
        return
    if len(files) < 2:
        raise RequestError("soup needs several runs that began with the same weights: checkpoint=[RUN,RUN]")
    records = [read_record(run.summary_file)[0] or {} if (run := run_of(file)) else {} for file in files]
    starts = {record.get("started_from") or f"the random weights of seed {record.get('seed')}" for record in records}
    if len(starts) > 1:
        raise RequestError(f"soup: the trainings began with different weights ({'; '.join(sorted(starts))})")


def _check_output(output: Any) -> Path | None:
    """Return the folder of `output=`; raise RequestError if it cannot be one, or holds the files of a run."""
    folder = None if output is None else check_output_folder(output)
    if folder and (folder / "summary.json").exists():
        raise RequestError(f"output: {folder} is a run directory, which has its own predictions.npz")
    return folder


main = configuration.make_command("evaluate", evaluate)

if __name__ == "__main__":
    main()
