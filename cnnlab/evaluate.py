"""Evaluate a trained network on a data set: `cnnlab evaluate checkpoint=RUN`."""

import logging
import shlex
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from cnnlab import config as configuration
from cnnlab.arguments import check_declared
from cnnlab.errors import RequestError
from cnnlab.files import write_atomically
from cnnlab.instantiate import explained, read_options
from cnnlab.runs.directory import check_output_folder, own_folder, run_of
from cnnlab.runs.reading import checkpoint_files
from cnnlab.runs.summary import read_record
from cnnlab.waiting import tell

log = logging.getLogger("cnnlab.evaluate")


def evaluate(config: DictConfig) -> None:
    """Evaluate a checkpoint; print a table, and write metrics, predictions and figures into a folder."""
    started = time.perf_counter()
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

    source_of(data)  # fail before the slow imports

    from cnnlab.data.splits import read_split
    from cnnlab.inference import evaluation_report as report
    from cnnlab.inference.ensemble import average_weights, check_members, combine
    from cnnlab.inference.metrics import confident_mistakes, score
    from cnnlab.inference.scoring import Clock, check_shift, chosen_tta, measure_shift_invariance, run_network
    from cnnlab.inference.trained import load
    from cnnlab.reports.terminal import suggest_visualize
    from cnnlab.runs.checkpoint import same_images
    from cnnlab.runs.environment import device_kind, device_name, versions
    from cnnlab.training.precision import device_type

    clock = Clock(imports=time.perf_counter() - started)
    options = read_options(report.EvaluationOptions, settings)
    recorded = summary.get("precision")
    kind = device_type("auto") if options.device == "auto" else options.device.partition(":")[0]
    # A format of another kind of device might be slow on this one: CPUs may emulate bf16.
    keeps = recorded == "32-true" or (recorded == "bf16-mixed" and kind == device_kind(summary.get("device")))
    precision: Any = options.precision or (recorded if keeps else "auto")
    tell("Reading the checkpoint")
    with clock("checkpoint"):
        nets = [load(file, options.device, precision, settings["trust"]) for file in files]
        check_members(nets)
    net = nets[0]
    check_shift(options.shift, net.image_size)
    with clock("data"):
        images, whole = read_split(options.split, protocol, net.classes, net.image_size, data, summary.get("seed") or 0)
    model = summary.get("model") or str(net.model["_target_"]).rpartition(".")[2]
    fingerprint = whole.fingerprint
    same_data = same_images(fingerprint, net.data_fingerprint)
    data_is_given = {"data", "data.path", "data.source"} & configuration.command_line_keys()
    other_data = fingerprint if same_data is False or (same_data is None and data_is_given) else None
    alone = report.default_folder(run, net.checkpoint, options.split, other_data)
    folder = output or own_folder(alone if len(files) == 1 else Path("evaluation_together"))
    each = [run_network(member, images, batch_size, options.tta, options.embeddings, clock) for member in nets]
    outputs = combine(each) if len(each) > 1 else each[0]
    members = [
        {
            "checkpoint": str(file.absolute()),
            "accuracy": float((part.logits.argmax(dim=1) == images.labels).float().mean()),
        }
        for file, part in zip(files, each, strict=True)
    ]
    if options.soup:
        net = average_weights(nets)
        outputs = run_network(net, images, batch_size, options.tta, options.embeddings, clock)
    shift = measure_shift_invariance(net, images, batch_size, options.shift, clock) if options.shift else None
    tell("Computing the metrics")
    with clock("metrics"):
        scores = score(outputs.logits, images.labels, net.classes)
        tta_scores = None if outputs.tta_logits is None else score(outputs.tta_logits, images.labels, net.classes)
    folder.mkdir(parents=True, exist_ok=True)
    about = f"{model} on the {options.split} images of {Path(data['path'] or data['source']).name}"
    calibrated = robustness = attack = None
    if options.calibrate:
        from cnnlab.inference.temperature import mend_confidence, save_temperature

        tell("Fitting the temperature")
        with clock("calibration"):
            held_out, _ = read_split("val", protocol, net.classes, net.image_size, data, summary.get("seed") or 0)
            calibrated = mend_confidence(net, held_out, outputs.logits, images.labels, batch_size)
        if options.calibrate == "save":
            save_temperature(net.checkpoint, calibrated["temperature"])
    if options.corruptions:
        from cnnlab.inference.corruptions import draw_robustness, measure_robustness

        robustness = measure_robustness(net, images, clock)
        draw_robustness(robustness, scores.accuracy, about, folder / "corruptions.png")
    if options.attack != "none":
        from cnnlab.inference.attacks import measure_attack

        attack = measure_attack(net, images, options.attack, batch_size, folder / "attack.png", clock)
    report.save_outputs(outputs, images.labels, folder)
    tell("Drawing the figures")
    with clock("figures"):
        report.save_figures(folder, about, scores, outputs.logits, images.labels, images.read)
    embeddings = None
    if outputs.features is not None:
        from cnnlab.inference.embedding_report import save_embeddings

        tell("Placing the images on a map (t-SNE)")
        with clock("embeddings"), explained("embeddings"):
            predicted = outputs.logits.argmax(dim=1)
            embeddings = save_embeddings(
                folder, about, outputs.features, images.labels, predicted, net.classes, images.read
            )
    clock["total"] = time.perf_counter() - started
    record = {
        "checkpoint": str(net.checkpoint.absolute()),
        "members": members if len(files) > 1 else None,
        "soup": options.soup,
        "model": model,
        "data": data["path"] or data["source"],
        "split": options.split,
        "protocol": protocol,
        "data_fingerprint": fingerprint,
        "training_fingerprint": net.data_fingerprint,
        "same_data": same_data,
        "images": len(images),
        "ignored": dict(whole.findings.ignored),
        "classes": net.classes,
        **asdict(scores),
        "tta": None if tta_scores is None else {"views": chosen_tta(options.tta), **asdict(tta_scores)},
        "calibrated": calibrated,
        "shift": shift,
        "corruptions": robustness,
        "attack": attack,
        "embeddings": embeddings,
        "images_per_second": round(outputs.images_per_second, 1),
        "seconds": {part: round(seconds, 3) for part, seconds in clock.items()},
        "device": device_name(net.device),
        "precision": net.precision,
        "versions": versions(),
        "command": shlex.join(["cnnlab", "evaluate", *configuration.command_line()]),
    }
    write_atomically(folder / "evaluation.json", report.to_json(record))
    report.print_evaluation(record, scores, tta_scores, folder)
    mistakes = confident_mistakes(outputs.logits, images.labels, 1).tolist() if options.split == "test" else []
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
