"""The command `cnnlab evaluate`."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cnnlab.build.network import build_network
from cnnlab.runs.directory import RunDirectory
from cnnlab.runs.reading import read_shift

FILES = {"evaluation.json", "predictions.npz", "confusion_matrix.png", "reliability.png", "mistakes.png"}
Saver = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path) -> Saver:
    """Return a function that writes a checkpoint of an untrained network."""

    def write(classes: tuple[str, ...], name: str = "lenet.ckpt") -> Path:
        model = {"_target_": "cnnlab.models.lenet.LeNet5"}
        torch.manual_seed(0)
        network = build_network(model, len(classes))
        weights = {f"network.{name}": value for name, value in network.state_dict().items()}
        about = {"model": model, "classes": list(classes), "mean": [0.5] * 3, "std": [0.25] * 3, "image_size": 32}
        about |= {"channels": 3, "data_fingerprint": "0123456789abcdef"}
        torch.save({"state_dict": weights, "cnnlab": about}, tmp_path / name)
        return tmp_path / name

    return write


def read(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "evaluation.json").read_text())


def test_the_metrics_of_a_run_are_reproduced_with_its_own_data(command, run, tmp_path):
    outcome = command("evaluate", "checkpoint=run", "tta=flip", "device=cpu")
    assert (outcome.code, outcome.err) == (0, "")
    folder = run / "evaluation"
    assert {file.name for file in folder.iterdir()} == FILES
    record, summary = read(folder), RunDirectory(run).read_summary()
    assert summary is not None
    assert record["accuracy"] == pytest.approx(summary["test_accuracy"], abs=1e-6)  # a float32 there
    assert record["tta"]["accuracy"] == pytest.approx(summary["test_accuracy_tta"], abs=1e-6)
    assert record["loss"] == pytest.approx(summary["test_loss"], rel=1e-5)
    for key in ("balanced_accuracy", "macro_f1", "largest_class"):
        assert record[key] == pytest.approx(summary[f"test_{key}"], abs=1e-6)
        assert f"{record[key]:.2%}" in outcome.out
    assert record["data_fingerprint"] == record["training_fingerprint"] == summary["data_fingerprint"]
    for key in ("model", "precision", "protocol"):
        assert record[key] == summary[key]
    assert (record["data"], record["split"], record["same_data"]) == ("digits", "test", True)
    assert (record["images"], len(record["classes"]), record["embeddings"]) == (299, 10, None)
    assert sum(map(sum, record["confusion_matrix"])) == sum(row["support"] for row in record["per_class"]) == 299
    seconds = record["seconds"]
    assert {"imports", "checkpoint", "data", "network", "tta", "metrics", "figures", "total"} == set(seconds)
    assert sum(seconds.values()) - seconds["total"] <= seconds["total"]
    assert record["images_per_second"] > 0
    assert "torch" in record["versions"]
    assert f"{record['accuracy']:.2%}" in outcome.out
    assert "tta=flip" in outcome.out
    ours, theirs = np.load(folder / "predictions.npz"), np.load(run / "predictions.npz")
    assert np.array_equal(ours["labels"], theirs["labels"])
    np.testing.assert_allclose(ours["logits"], theirs["logits"], rtol=1e-4, atol=1e-5)
    assert ours["tta_logits"].shape == ours["logits"].shape


@pytest.mark.parametrize(
    ("device", "expected"), [("NVIDIA H200", "32-true"), ("cpu: AMD EPYC, 2 threads", "bf16-mixed")]
)
def test_the_number_format_of_another_kind_of_device_is_not_taken(command, run, monkeypatch, device, expected):
    file = run / "summary.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"device": device, "precision": "bf16-mixed"}))
    monkeypatch.setattr("cnnlab.inference.trained.auto_precision", lambda device: "32-true")
    assert command("evaluate", f"checkpoint={run}", "device=cpu").code == 0
    assert json.loads((run / "evaluation" / "evaluation.json").read_text())["precision"] == expected


def test_results_of_other_images_and_checkpoints_do_not_replace_those_of_the_run(command, run):
    assert command("evaluate", "checkpoint=run", "split=val").code == 0
    assert command("evaluate", "checkpoint=run/checkpoints/last.ckpt", "split=val").code == 0
    assert {folder.name for folder in run.glob("evaluation*")} == {"evaluation_val", "evaluation_last_val"}
    record, summary = read(run / "evaluation_val"), RunDirectory(run).read_summary()
    assert summary is not None
    assert record["accuracy"] == pytest.approx(summary["val_accuracy"], abs=1e-6)
    assert (record["images"], record["split"], record["tta"]) == (149, "val", None)


def test_results_of_data_that_may_differ_do_not_replace_them_either(command, run):
    """The fingerprint of a streamed run is of file names and sizes, not of pixels."""
    file = run / "checkpoints" / "best.ckpt"
    checkpoint = torch.load(file, weights_only=True)
    checkpoint["cnnlab"] |= {"data_fingerprint": "files-0123456789abcdef"}
    torch.save(checkpoint, file)
    assert command("evaluate", "checkpoint=run").code == 0
    assert command("evaluate", "checkpoint=run", "data=digits").code == 0
    places = sorted(folder.name for folder in run.glob("evaluation*"))
    assert places == ["evaluation", f"evaluation_{read(run / 'evaluation')['data_fingerprint'][:14]}"]


def test_the_suggested_command_shows_the_most_confident_mistake(command, run, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    suggested = command("evaluate", "checkpoint=run").err.rpartition("Next: ")[2]
    program, *arguments = shlex.split(suggested.replace("\\\n", ""))
    assert program == "cnnlab" and arguments[:2] == ["visualize", "checkpoint=run"]
    predictions = np.load(run / "evaluation" / "predictions.npz")
    wrong = predictions["logits"].argmax(axis=1) != predictions["labels"]
    assert wrong[int(arguments[2].removeprefix("image=test:"))]
    monkeypatch.setattr("cnnlab.inspection.page.style.DPI", 30)  # drawing takes most of the time
    assert command(*arguments).code == 0


def test_embeddings_are_kept_and_drawn(command, run):
    outcome = command("evaluate", "checkpoint=run", "embeddings=true", "output=here", "data.eval_batch_size=64")
    assert outcome.code == 0, outcome.err
    folder = run.parent / "here"
    assert {file.name for file in folder.iterdir()} == FILES | {"embeddings.npz", "embeddings.png", "tensorboard"}
    assert np.load(folder / "embeddings.npz")["features"].shape == (299, 84)
    assert read(folder)["embeddings"] == {"features": 84, "map": "t-SNE", "mapped_images": 299}
    assert (folder / "tensorboard" / "projector_config.pbtxt").exists()


def test_images_are_shifted_to_measure_what_stays(command, run):
    outcome = command("evaluate", "checkpoint=run", "shift=2", "device=cpu")
    assert outcome.code == 0, outcome.err
    moved = read_shift(run, 2)
    assert moved is not None
    assert set(moved["directions"]) == {"up", "down", "left", "right"}
    for name in ("same_answer", "accuracy", "feature_cosine"):
        values = [direction[name] for direction in moved["directions"].values()]
        assert moved[name] == pytest.approx(np.mean(values))
        assert 0 < moved[name] < 1
    assert f"{moved['same_answer']:.2%} of the predictions unchanged" in outcome.out
    assert read_shift(run, 1) is None  # not asked
    checkpoint = run / "checkpoints" / "best.ckpt"
    later = (run / "evaluation" / "evaluation.json").stat().st_mtime + 10
    os.utime(checkpoint, (later, later))
    assert read_shift(run, 2) is None  # the run has gone on since


def test_results_lie_beside_a_checkpoint_without_a_run(command, save, class_folders, sample, tmp_path):
    save(sample.classes)
    outcome = command("evaluate", "checkpoint=lenet.ckpt", "data.path=class_folders")
    assert outcome.code == 0, outcome.err
    (folder,) = tmp_path.glob("evaluation*")
    record = read(folder)
    assert folder.name == f"evaluation_lenet_{record['data_fingerprint'][:14]}"
    assert (record["same_data"], record["training_fingerprint"]) == (False, "0123456789abcdef")
    assert "other data (0123456789abcdef)" in outcome.out
    assert (record["model"], record["data"]) == ("LeNet5", str(class_folders))
    assert np.array_equal(np.load(folder / "predictions.npz")["labels"], sample.test.labels)


def test_images_may_lack_a_class_and_name_them_in_another_order(command, save, class_folders, sample, tmp_path):
    known = tuple(reversed(sample.classes))
    save(known)
    shutil.rmtree(class_folders / "test" / "truck")
    shutil.rmtree(class_folders / "train" / "truck")
    assert command("evaluate", "checkpoint=lenet.ckpt", "data.path=class_folders", "output=out").code == 0
    truck, ship = read(tmp_path / "out")["per_class"][:2]
    assert (truck["name"], truck["support"], truck["recall"]) == ("truck", 0, None)
    assert (ship["name"], ship["support"]) == ("ship", 3)
    labels = np.load(tmp_path / "out" / "predictions.npz")["labels"]
    assert [known[number] for number in labels] == [sample.classes[number] for number in sample.test.labels[:-3]]


def test_images_that_are_left_out_are_counted_in_the_record(command, save, photo_folders, tmp_path):
    save(("cat", "dog", "owl"))
    next((photo_folders / "cat").iterdir()).write_text("no image")
    data = ("data=folder", "data.path=photos", "data.on_error=skip")
    outcome = command("evaluate", "checkpoint=lenet.ckpt", *data, "output=out")
    assert (outcome.code, outcome.err.count("Left out: 1 of ") + outcome.out.count("Left out: 1 of ")) == (0, 1)
    assert read(tmp_path / "out")["ignored"] == {"damaged images": 1}


def test_two_classes_have_no_top_5(command, save, photo_folders, tmp_path):
    save(("dog", "owl"))
    shutil.rmtree(photo_folders / "cat")
    outcome = command("evaluate", "checkpoint=lenet.ckpt", "data=folder", "data.path=photos", "split=train")
    assert outcome.code == 0, outcome.err
    (folder,) = tmp_path.glob("evaluation_lenet_train_*")
    record = read(folder)
    assert (record["top5_accuracy"], record["images"]) == (None, 18)
    assert "top-5" not in outcome.out


def test_the_data_is_that_of_the_record_changed_by_the_command_line(command, run, class_folders, sample):
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("source: digits", "source: null").replace("path: null", "path: /gone"))
    outcome = command("evaluate", "checkpoint=run")
    assert (outcome.code, outcome.err) == (2, "data.path: /gone does not exist\n")
    outcome = command("evaluate", f"checkpoint={run}", f"data.path={class_folders}")
    assert outcome.code == 2
    assert "does not know the classes airplane, automobile" in outcome.err
    assert "it knows 0, 1, 2" in outcome.err
    assert command("evaluate", "checkpoint=run", "data=digits", "data.residence=stream").code == 0
    (folder,) = run.glob("evaluation_files-*")  # the fingerprint of files says nothing about one of pixels
    record = read(folder)
    assert (record["same_data"], record["data_fingerprint"][:6]) == (None, "files-")


@pytest.mark.parametrize(("value", "message"), [("nan", "classifier.5.bias holds values that are not finite"),
                                                ("3e38", "gives outputs that are not finite")])  # fmt: skip
def test_a_network_that_diverged_is_refused(command, run, value, message):
    file = run / "checkpoints" / "best.ckpt"
    content = torch.load(file, weights_only=True)
    for weight in content["state_dict"].values() if value == "3e38" else ():
        weight.fill_(3e38)
    content["state_dict"]["network.classifier.5.bias"].fill_(float(value))
    file.unlink()  # it may be the last one's, too
    torch.save(content, file)
    outcome = command("evaluate", "checkpoint=run")
    assert outcome.code == 2
    assert message in outcome.err
    assert not (run / "evaluation").exists()


WRONG = {
    "": "checkpoint must be given: checkpoint=...",
    "checkpoint=gone.ckpt": "checkpoint: there is no checkpoint gone.ckpt",
    "checkpoint=.": "checkpoint: there is no checkpoint",
    "checkpoint=5": "checkpoint must be",
    "chekpoint=x": "chekpoint is not a key; did you mean checkpoint?",
    "split=tset": "split must be one of train, val, test, got 'tset'; did you mean test?",
    "tta=flop": "tta must be true or false or one of none, flip, flip_translate, unsure, got 'flop'; did you mean",
    "calibrate=keep": "calibrate must be true or false or one of save, got 'keep'",
    "calibrate=true split=val": "calibrate needs split=test, and images that neither training nor test use",
    "calibrate=true protocol=article": "calibrate needs split=test, and images that neither training nor test use",
    "attack=pdg": "attack must be one of none, fgsm, pgd, got 'pdg'",
    "soup=true": "soup needs several runs that began with the same weights: checkpoint=[RUN,RUN]",
    "embeddings=yes": "embeddings must be true or false, got 'yes'",
    "protocol=articel": "protocol must be one of holdout, article or null, got 'articel'; did you mean article?",
    "precision=16-mixed": "precision must be one of auto, 32-true, bf16-mixed",
    "device=gpu7": "device must be one of auto, cpu, cuda, cuda:[0-9], mps, got 'gpu7'",
    "data=imagenet": "data=imagenet is not known",
    "data=digits": "data: the network does not know the classes 0, 1, 2",
    "data.path=gone": "gone does not exist",
    "shift=32": "shift must be from 0 to 31 pixels, got 32",
    "shift=1.5": "shift must be a whole number, got 1.5",
    "data.holdout=2": "data.holdout must be between 0 and 1, got 2",
    "data.eval_batch_size=0": "data.eval_batch_size must be 1 or more, got 0",
    "data.eval_batch_size=many": "data.eval_batch_size must be a whole number, got 'many'",
    "data.image_size=64": "data.image_size is fixed by the training",
    "data.batch_size=64": "data.eval_batch_size sets the images per batch",
    "data.residence=gpu": "data.residence must be one of auto, device, host, stream",
    "output=run": "output: run is a run directory, which has its own predictions.npz",
    "output=lenet.ckpt": "output: lenet.ckpt is not a folder",
    "model=lenet5": "model is not a key",
    "-m split=val,test": "cnnlab evaluate does not sweep",
}


@pytest.mark.parametrize("arguments", WRONG)
def test_a_wrong_request_is_explained_and_leaves_nothing(command, save, class_folders, sample, tmp_path, arguments):
    save(sample.classes)
    RunDirectory(tmp_path / "run").path.mkdir()
    (tmp_path / "run" / "summary.json").write_text("{}")
    there = sorted(tmp_path.rglob("*"))
    given = arguments.split()
    if arguments and "checkpoint" not in arguments and "chekpoint" not in arguments:
        given.append("checkpoint=lenet.ckpt")
    if "data=" not in arguments and "data.path" not in arguments:
        given.append("data.path=class_folders")
    outcome = command("evaluate", *given)
    assert (outcome.code, outcome.out) == (2, "")
    assert WRONG[arguments] in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == there


def test_help_does_not_import_torch(tmp_path):
    program = (
        "import sys, runpy; sys.argv = ['evaluate', '--help']\n"
        "try: runpy.run_module('cnnlab.evaluate', run_name='__main__')\n"
        "finally: assert not {'torch', 'matplotlib', 'torchmetrics'} & set(sys.modules), 'imported too much'"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    for text in ("checkpoint=PATH", "confusion_matrix.png", "synthetic"):
        assert text in done.stdout
