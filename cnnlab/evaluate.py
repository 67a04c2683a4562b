"""Says how good a trained network is: `python -m cnnlab.evaluate checkpoint=RUN`."""

import json
import re
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from cnnlab import config as configuration
from cnnlab.data.sources import find_source
from cnnlab.errors import RequestError
from cnnlab.instantiate import check_arguments, explained
from cnnlab.runs.directory import RunDirectory, check_output_folder, replacing, run_of, write_atomically

if TYPE_CHECKING:
    from cnnlab.data.images import StoredImages
    from cnnlab.inference.scoring import NetworkOutputs


def evaluate(config: DictConfig) -> None:
    """Evaluates a checkpoint; prints a table, and leaves figures and numbers in a folder."""
    started = time.perf_counter()
    settings = configuration.settings(config)
    run = run_of(Path(str(settings["checkpoint"])).expanduser())
    summary = (run.read_summary() if run else None) or {}
    output = _given_folder(settings["output"])
    data = configuration.data_settings(config, run)
    batch_size = _batch_size(data.pop("eval_batch_size"))
    find_source(data["source"], data["path"])  # before anything slow is imported

    from cnnlab.data.splits import read_split
    from cnnlab.inference.evaluation_report import print_evaluation, save_figures
    from cnnlab.inference.metrics import score
    from cnnlab.inference.scoring import Clock, check_shift, chosen_tta, measure_shift_invariance, run_network
    from cnnlab.inference.trained import load
    from cnnlab.runs.checkpoint import same_images
    from cnnlab.runs.environment import device_name, versions

    clock = Clock(imports=time.perf_counter() - started)
    where = {key: settings[key] for key in ("checkpoint", "device")}
    where["precision"] = settings["precision"] or _recorded_precision(summary)
    which = {"split": settings["split"], "protocol": settings["protocol"] or summary.get("protocol") or "holdout"}
    how = {key: settings[key] for key in ("tta", "embeddings")}
    check_arguments(load, where)
    check_arguments(read_split, which)
    check_arguments(read_split, data, "data")
    check_arguments(run_network, how)
    check_arguments(measure_shift_invariance, {"shift": settings["shift"]})
    with clock("checkpoint"):
        net = load(**where)
    check_shift(settings["shift"], net.image_size)
    with clock("data"), explained("data", data):
        images, fingerprint = read_split(**which, known=net.classes, image_size=net.image_size, **data)
    same_data = same_images(fingerprint, net.data_fingerprint)
    chosen = {"data", "data.path", "data.source"} & configuration.given_keys()
    other_data = fingerprint if same_data is False or (same_data is None and chosen) else None
    folder = output or _default_folder(run, net.checkpoint, settings["split"], other_data)
    folder.mkdir(parents=True, exist_ok=True)
    outputs = run_network(net, images, batch_size, **how, clock=clock)
    moved = measure_shift_invariance(net, images, batch_size, settings["shift"], clock) if settings["shift"] else None
    with clock("metrics"):
        scores = score(outputs.logits, images.labels, net.classes)
        tta_scores = None if outputs.tta_logits is None else score(outputs.tta_logits, images.labels, net.classes)
    _write_predictions(outputs, images, folder)
    with clock("figures"):
        save_figures(folder, scores, outputs.logits, images.labels, images.read)
    embeddings = None
    if outputs.features is not None:
        from cnnlab.inference.embedding_report import save_embeddings

        with clock("embeddings"), explained("embeddings"):
            named = outputs.logits.argmax(dim=1)
            embeddings = save_embeddings(folder, outputs.features, images.labels, named, net.classes, images.read)
    clock["total"] = time.perf_counter() - started
    record = {
        "checkpoint": str(net.checkpoint.absolute()),
        "model": summary.get("model") or str(net.model["_target_"]).rpartition(".")[2],
        "data": data["path"] or data["source"],
        **which,
        "data_fingerprint": fingerprint,
        "training_fingerprint": net.data_fingerprint,
        "same_data": same_data,
        "images": len(images),
        "classes": net.classes,
        **asdict(scores),
        "tta": None if tta_scores is None else {"views": chosen_tta(settings["tta"]), **asdict(tta_scores)},
        "shift": moved and asdict(moved),
        "embeddings": embeddings,
        "images_per_second": round(outputs.images_per_second, 1),
        "seconds": {part: round(seconds, 3) for part, seconds in clock.items()},
        "device": device_name(net.device),
        "precision": net.precision,
        "versions": versions(),
        "command": " ".join(["python -m cnnlab.evaluate", *configuration.command_line()]),
    }
    write_atomically(folder / "evaluation.json", _json(record))
    print_evaluation(record, scores, tta_scores, folder)


def _recorded_precision(summary: Mapping[str, Any]) -> str:
    """That of the run, so that its figures come out again."""
    return summary["precision"] if summary.get("precision") in ("32-true", "bf16-mixed") else "auto"


def _batch_size(images: Any) -> int:
    if type(images) is not int or images < 1:
        raise RequestError(f"data.eval_batch_size must be a whole number, 1 or more, got {images!r}")
    return images


def _given_folder(output: Any) -> Path | None:
    """The folder that `output=` names; raises RequestError where it is none, or holds the files of a run."""
    folder = None if output is None else check_output_folder(str(output))
    if folder and (folder / "summary.json").exists():
        raise RequestError(f"output: {folder} is a run directory, which has a predictions.npz of its own")
    return folder


def _default_folder(run: RunDirectory | None, checkpoint: Path, split: str, other_data: str | None) -> Path:
    """`evaluation` in the run directory, or beside a checkpoint without one.

    What is not about the best epoch and the test images of the run has that in its name, so that it does not take their
    place.

    Args:
        run: the checkpoint's, or None.
        checkpoint: its file.
        split: of the data.
        other_data: fingerprint of the data, where they are not those of the training.
    """
    is_best = run is not None and checkpoint.name == run.best_checkpoint.name
    parts = ["evaluation"] if is_best else ["evaluation", checkpoint.stem]
    parts += [split] if split != "test" else []
    parts += [other_data[:14]] if other_data else []
    return (run.path if run else checkpoint.parent) / "_".join(parts)


def _write_predictions(outputs: "NetworkOutputs", images: "StoredImages", folder: Path) -> None:
    """Logits and labels in the data's own order, as a run has them."""
    import numpy as np

    parts = {"logits": outputs.logits, "labels": images.labels, "tta_logits": outputs.tta_logits}
    with replacing(folder / "predictions.npz") as temporary, temporary.open("wb") as stream:
        np.savez(stream, **{name: part.numpy() for name, part in parts.items() if part is not None})


def _json(record: Mapping[str, Any]) -> str:
    """Indented, but what holds plain values alone is on one line: a matrix reads as one."""
    innermost = re.compile(r"([\[{])\n\s+([^\[\]{}]*?)\n\s+([\]}])")  # a text has no line breaks of its own
    text = json.dumps(record, indent=2)
    return innermost.sub(lambda match: match[1] + re.sub(r"\n\s+", " ", match[2]) + match[3], text) + "\n"


main = configuration.make_command("evaluate", evaluate)

if __name__ == "__main__":
    main()
