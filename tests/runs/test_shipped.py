import json
from pathlib import Path

import pytest
import safetensors.torch
import torch

from cnnlab.errors import RequestError
from cnnlab.inference.trained import load
from cnnlab.runs.directory import checkpoint_file
from cnnlab.runs.shipped import WEIGHTS, folder_beside, shipped_names


def test_the_networks_that_come_along_are_small_described_and_good(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert shipped_names() == ["lenet5-digits", "resnet20-cifar10"]
    assert sum(file.stat().st_size for file in WEIGHTS.glob("*.safetensors")) < 800_000
    card = (WEIGHTS / "README.md").read_text()
    for name in shipped_names():
        net = load(name, "cpu", "32-true")
        count = sum(weight.numel() for weight in net.network.parameters())
        assert f"## {name}" in card and f"{count:,} parameters" in card and len(net.classes) == 10
        assert "/" not in (net.checkpoint.name, str(net.model["_target_"]))
        assert net.checkpoint == checkpoint_file(name)


def test_a_digit_is_recognized(command):
    asked = ("data=digits", "images=test", "limit=40", "output=found.csv", "gallery=null")
    outcome = command("predict", "checkpoint=lenet5-digits", *asked)
    assert outcome.code == 0, outcome.err
    assert "40 correct (100.0%)" in outcome.err
    assert command("evaluate", "checkpoint=lenet5-digits", "data=digits", "calibrate=save").code == 2
    outcome = command("export", "checkpoint=lenet5-digits", "format=safetensors")
    assert outcome.code == 0, outcome.err
    assert Path("lenet5-digits.safetensors").is_file() and Path("lenet5-digits.json").is_file()
    assert command("predict", "checkpoint=lenet5-digits.safetensors", *asked).code == 0


def test_a_network_that_comes_along_is_shown_the_images_that_it_was_trained_on(command):
    Path("lenet5-digits").mkdir()  # a folder without a checkpoint changes nothing
    outcome = command("evaluate", "checkpoint=lenet5-digits")
    assert outcome.code == 0, outcome.err
    record = json.loads(Path("evaluation_lenet5-digits/evaluation.json").read_text())
    assert record["images"] == 299 and record["same_data"] and record["command"].endswith("data=digits")
    outcome = command("visualize", "checkpoint=lenet5-digits", "image=test:300")
    assert (outcome.code, "299 test images" in outcome.err) == (2, True), outcome.err
    outcome = command("predict", "checkpoint=lenet5-digits", "images=test", "data.path=nowhere")
    assert (outcome.code, "nowhere does not exist" in outcome.err) == (2, True), outcome.err


def test_a_name_that_is_nearly_right_is_corrected():
    with pytest.raises(RequestError, match="no checkpoint resnet20-cifar100; did you mean resnet20-cifar10?"):
        checkpoint_file("resnet20-cifar100")


def test_a_file_of_ones_own_comes_first(save, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save().rename(tmp_path / "lenet5-digits")
    assert load("lenet5-digits").classes == ("cat", "dog", "owl")
    assert folder_beside(tmp_path / "a.ckpt") == tmp_path and folder_beside(WEIGHTS / "a.safetensors") == Path()


def described(**changes: object) -> dict[str, str]:
    """Return what export writes into the header of a file, changed."""
    about = {"classes": ["a", "b"], "mean": [0.5] * 3, "std": [0.2] * 3, "image_size": 32}
    about |= {"model": {"_target_": "cnnlab.models.lenet.LeNet5"}, **changes}
    return {key: json.dumps(value) for key, value in about.items()} | {"data_fingerprint": "0123"}


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({}, "it does not describe its network"),
        (described(classes=[]), "its classes cannot be"),
        (described(std=[0, 1, 1]), "its std cannot be"),
        (described(model={"_target_": "os.system"}), "os.system"),
        (described() | {"mean": "{"}, "is damaged or not a file of safetensors"),
        (described() | {"model": "[" * 100_000}, "is damaged or not a file of safetensors"),
        (described(), "holds another network"),
    ],
)
def test_a_file_that_is_no_network_is_refused(tmp_path, texts, message):
    file = tmp_path / "net.safetensors"
    safetensors.torch.save_file({"weight": torch.zeros(2)}, file, texts)
    with pytest.raises(RequestError, match=message):
        load(file, "cpu")
    file.write_bytes(b"no tensors")
    with pytest.raises(RequestError, match="is damaged or not a file of safetensors"):
        load(file, "cpu")
