"""What `cnnlab evaluate` measures on request: confidence, robustness, and several networks together."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest


def test_a_temperature_is_fitted_kept_and_used(command, run, tmp_path):
    outcome = command("evaluate", f"checkpoint={run}", "calibrate=true")
    assert outcome.code == 0, outcome.err
    record = json.loads((run / "evaluation" / "evaluation.json").read_text())
    mended = record["calibrated"]
    assert f"with temperature {mended['temperature']:.3f}" in outcome.out
    assert mended["images"] == 149
    assert mended["loss"] < record["loss"] and mended["error"] < record["calibration"]["error"]
    there = command("predict", f"checkpoint={run}", "images=test", "calibrated=true")
    assert (there.code, "has no temperature; cnnlab evaluate" in there.err) == (2, True)

    before = (run / "checkpoints" / "best.ckpt").read_bytes()
    assert command("evaluate", f"checkpoint={run}", "calibrate=save").code == 0
    assert (run / "checkpoints" / "best.ckpt").read_bytes() != before
    again = command("evaluate", f"checkpoint={run}")  # plain: the weights are as they were
    assert json.loads((run / "evaluation" / "evaluation.json").read_text())["loss"] == record["loss"], again.err
    confidence = {}
    for calibrated in ("false", "true"):
        asked = ("images=test", "limit=20", "gallery=null", "output=found.csv", f"calibrated={calibrated}")
        assert command("predict", f"checkpoint={run}", *asked).code == 0
        rows = list(csv.DictReader((tmp_path / "found.csv").open()))
        confidence[calibrated] = [float(row["confidence"]) for row in rows], [row["class"] for row in rows]
    assert confidence["true"][1] == confidence["false"][1]
    sharper = mended["temperature"] < 1
    assert all((a > b) == sharper for a, b in zip(confidence["true"][0], confidence["false"][0], strict=True))
    asked = ("normalize=true", "softmax=true", "calibrated=true", "output=net.onnx")
    assert command("export", f"checkpoint={run}", *asked).code == 0  # the file is checked against the network


def test_accuracy_is_measured_on_corrupted_images(command, run):
    outcome = command("evaluate", f"checkpoint={run}", "corruptions=true")
    assert outcome.code == 0, outcome.err
    record = json.loads((run / "evaluation" / "evaluation.json").read_text())
    found = record["corruptions"]["accuracies"]
    assert len(found) == 15 and all(len(accuracies) == 5 for accuracies in found.values())
    assert found["rotation"][0] > found["rotation"][4]
    assert found["saturation"] == [record["accuracy"]] * 5  # the digits are grey
    assert f"{record['corruptions']['mean']:.2%} on average" in outcome.out
    assert (run / "evaluation" / "corruptions.png").stat().st_size > 10_000


def test_accuracy_is_measured_under_an_attack(command, run):
    outcome = command("evaluate", f"checkpoint={run}", "attack=fgsm")
    assert outcome.code == 0, outcome.err
    record = json.loads((run / "evaluation" / "evaluation.json").read_text())
    found = list(record["attack"]["accuracies"].values())
    assert list(record["attack"]["accuracies"]) == ["1", "2", "4", "8"]
    assert record["accuracy"] >= found[0] >= found[1] >= found[2] > found[3]
    assert f"{found[3]:.1%} (8)" in outcome.out
    assert (run / "evaluation" / "attack.png").stat().st_size > 10_000


def test_several_networks_answer_together(command, run, tmp_path):
    asked = [f"checkpoint=[{run},{run / 'checkpoints' / 'last.ckpt'}]"]
    outcome = command("evaluate", *asked, "tta=flip")
    assert outcome.code == 0, outcome.err
    record = json.loads((tmp_path / "evaluation_together" / "evaluation.json").read_text())
    alone = json.loads((run / "summary.json").read_text())
    accuracies = [member["accuracy"] for member in record["members"]]
    assert accuracies[0] == pytest.approx(alone["test_accuracy"], abs=1e-6)
    assert f"mean {sum(accuracies) / 2:.2%}, {min(accuracies):.2%} to {max(accuracies):.2%}" in outcome.out
    assert len(np.load(tmp_path / "evaluation_together" / "predictions.npz")["tta_logits"]) == 299
    assert command("evaluate", *asked, "soup=true", "shift=1", "output=soup").code == 0
    soup = json.loads((tmp_path / "soup" / "evaluation.json").read_text())
    assert soup["soup"] and soup["shift"]["pixels"] == 1 and len(soup["members"]) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("shift=1", "shift needs one network; several answer together, or soup=true makes them one"),
        ("calibrate=true", "calibrate needs one network"),
        ("soup=true", "soup: the trainings began with different weights (the random weights of seed 0; the random"),
    ],
)
def test_what_several_networks_cannot_do_is_refused(command, run, tmp_path, arguments, message):
    other = Path(shutil.copytree(run, tmp_path / "other"))
    record = json.loads((other / "summary.json").read_text())
    (other / "summary.json").write_text(json.dumps(record | {"seed": 5}))
    outcome = command("evaluate", f"checkpoint=[{run},{other}]", *arguments.split())
    assert (outcome.code, message in outcome.err) == (2, True), outcome.err
    assert not (tmp_path / "evaluation_together").exists()
