"""`cnnlab visualize`, as it is typed."""

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from cnnlab.build.network import build_network

LENET = {"_target_": "cnnlab.models.lenet.LeNet5"}
DIGITS = [str(number) for number in range(10)]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Callable[..., str]:
    """Writes a checkpoint of an untrained network."""

    def write(file: str = "best.ckpt", classes: list[str] = DIGITS, model: dict[str, Any] = LENET) -> str:
        torch.manual_seed(0)
        about = {"classes": classes, "mean": [0.5] * 3, "std": [0.3] * 3, "image_size": 32, "channels": 3}
        network = build_network(model, len(classes))
        weights = {f"network.{name}": value for name, value in network.state_dict().items()}
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        content = {"state_dict": weights, "cnnlab": about | {"model": model, "data_fingerprint": "0" * 16}}
        torch.save(content, tmp_path / file)
        return file

    return write


@pytest.fixture(autouse=True)
def small_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes most of the time."""
    monkeypatch.setattr("cnnlab.inspection.page.style.DPI", 30)


@pytest.fixture
def photo(tmp_path: Path) -> str:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.webp")
    return "photo.webp"


def page(folder: Path) -> str:
    return " ".join((folder / "index.html").read_text().split())


def test_a_picture_and_a_checkpoint_without_data(command, checkpoint, photo, tmp_path):
    outcome = command("visualize", f"checkpoint={checkpoint()}", f"image={photo}")
    assert (outcome.code, outcome.err) == (0, "")
    assert "visualization/index.html, and 6 pictures beside it" in outcome.out
    assert "watched on this image alone" in outcome.out
    files = {file.name for file in (tmp_path / "visualization").iterdir()}
    assert {
        "index.html",
        "filters.png",
        "path.png",
        "maps_1_features.0.png",
        "activations.png",
        "class_maps.png",
    } <= files
    html = page(tmp_path / "visualization")
    assert "Inside LeNet5" in html
    assert "photo.webp, 32 × 32 pixels" in html
    assert "so they can be shown in colour" in html
    assert "Only this image was used" in html


def test_a_run_is_shown_with_the_data_that_it_recorded(command, checkpoint, tmp_path):
    checkpoint("run/checkpoints/best.ckpt")
    data = {"source": "digits", "path": None, "classes": None, "_target_": "os.mkdir", "image_size": 32}
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump({"data": data}))
    (tmp_path / "run" / "summary.json").write_text('{"model": "lenet5"}')
    outcome = command("visualize", "checkpoint=run", "images=20")
    assert (outcome.code, outcome.err) == (0, "")
    assert "run/visualization/index.html" in outcome.out
    html = page(tmp_path / "run" / "visualization")
    assert "Inside lenet5" in html
    assert "Test image 0, 32 × 32 pixels" in html
    assert re.search(r"The true class is (<b>\d</b>: the prediction is wrong|\d: the prediction is correct)", html)
    assert "over 20 test images of digits" in html
    assert "The images of this network are grey" in html
    assert re.search(r"Of 20 test images of digits, these are .*<b>\d</b><span class=\"warm\">said \d, [\d.]+ %", html)
    assert html.count('alt="Test image ') == 12


def test_a_test_image_of_chosen_data_and_a_folder(command, checkpoint, tmp_path):
    asked = (f"checkpoint={checkpoint()}", "image=test:7", "data=digits", "output=seven", "images=3")
    outcome = command("visualize", *asked)
    assert (outcome.code, outcome.err) == (0, "")
    assert re.match(r"Test image 7: predicted \d \(\d+\.\d %\); correct: \d\n", outcome.out)
    assert (tmp_path / "seven" / "index.html").is_file()
    assert not (tmp_path / "visualization").exists()


def test_without_the_runs_data_a_picture_is_enough(command, checkpoint, photo, tmp_path):
    checkpoint("run/checkpoints/best.ckpt", model={"_target_": "cnnlab.models.lenet.LeNet5", "width": 0.5})
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump({"data": {"path": "/gone"}}))
    (tmp_path / "run" / "summary.json").write_text("{}")
    outcome = command("visualize", "checkpoint=run", f"image={photo}")
    assert outcome.code == 0
    assert "The data of the run are not available (data.path: /gone does not exist)" in outcome.out
    assert "watched on this image alone" in outcome.out
    assert command("visualize", "checkpoint=run").code == 2


def test_the_live_page_of_a_run_offers_its_test_images(command, checkpoint, tmp_path):
    checkpoint("run/checkpoints/best.ckpt")
    data = {"source": "digits", "path": None, "classes": None, "_target_": "os.mkdir", "image_size": 32}
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump({"data": data}))
    recorded = {"model": "lenet5", "epochs": 3, "recipe": "fast", "data": "digits", "test_accuracy": 0.5}
    (tmp_path / "run" / "summary.json").write_text(json.dumps(recorded))
    outcome = command("visualize", "checkpoint=run", "live=true", "image=test:7")
    assert (outcome.code, outcome.err) == (0, "")
    assert re.search(r"^run/visualization/live.html, 0\.\d MB: open it in a browser$", outcome.out, re.MULTILINE)
    html = (tmp_path / "run" / "visualization" / "live.html").read_text()
    described = json.loads(re.findall(r'id="description">(.*?)</script>', html)[0])
    names = [sample["name"] for sample in described["samples"]]
    assert (described["model"], names[0], len(names), len(set(names))) == ("lenet5", "Test image 7", 12, 12)
    assert described["notes"] == [
        "It was trained for 3 epochs with the recipe fast on digits.",
        "It classifies 50.0 % of the test images correctly.",
    ]


def test_the_live_page_offers_pictures_of_ones_own(command, checkpoint, photo, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / photo).rename(tmp_path / "mine" / photo)
    Image.new("RGB", (40, 40)).save(tmp_path / "mine" / "7.png")  # named like a class
    outcome = command("visualize", f"checkpoint={checkpoint()}", "live=true", "pictures=mine", "output=out")
    assert (outcome.code, outcome.err) == (0, "")
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["live.html"]
    assert (
        '"samples": [{"name": "7.png", "label": 7}, {"name": "photo.webp", "label": null}]'
        in (tmp_path / "out" / "live.html").read_text()
    )


def test_the_suggested_command_works_as_it_stands(command, checkpoint, photo, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    for asked, expected in (
        ([f"image={photo}"], "cnnlab predict checkpoint=best.ckpt images=photo.webp"),
        (["image=test:1", "data=digits"], "cnnlab evaluate checkpoint=best.ckpt data=digits"),
    ):
        outcome = command("visualize", f"checkpoint={checkpoint()}", *asked)
        suggested = outcome.err.splitlines()[-1].removeprefix("Next: ")
        assert suggested == expected
        assert command(*shlex.split(suggested)[1:]).code == 0


WRONG = {
    "image={photo}": "checkpoint must be given",
    "checkpoint=gone.ckpt image={photo}": "checkpoint: there is no checkpoint gone.ckpt",
    "checkpoint={photo} image={photo}": "checkpoint: photo.webp is",
    "checkpoint={checkpoint} image=gone.png": "there is no file gone.png; test:7 is the data's eighth test image",
    "checkpoint={checkpoint} image=.": "image: there is no file .",
    "checkpoint={checkpoint} image=test:x": "image: there is no file test:x",
    "checkpoint={checkpoint} image=broken.png": "image: broken.png cannot be read: it is truncated or damaged",
    "checkpoint={checkpoint} image=test:299 data=digits": "image: there are 299 test images, test:0 to test:298",
    "checkpoint={checkpoint} data.path=gone": "data.path: ",
    "checkpoint={checkpoint} image={photo} data.path=gone": "data.path: ",
    "checkpoint={checkpoint} data=digits data.image_size=64": "data.image_size is fixed by the training",
    "checkpoint={few} data=digits": "data: the network does not know the classes 0, 1, 2",
    "checkpoint={checkpoint} image={photo} images=0": "images must be 1 or more, got 0",
    "checkpoint={checkpoint} image={photo} images=many": "images must be a whole number",
    "checkpoint={checkpoint} image={photo} output=no/such": "output: the folder of no/such does not exist",
    "checkpoint={checkpoint} image={photo} output={photo}": "output: photo.webp is not a folder",
    "checkpoint={checkpoint} image={photo} pictures=.": "pictures is for live=true only",
    "checkpoint={checkpoint} live=true pictures=gone": "pictures: there is no folder gone",
    "checkpoint={checkpoint} live=true pictures=empty": "pictures: there is no file in empty",
    "checkpoint={checkpoint} live=true pictures=bad": "pictures: bad/x.png cannot be read: it is truncated or damaged",
    "checkpoint={large} live=true pictures=bad": "live: the live page cannot show this network: its 19,622,818",
    "checkpoint={checkpoint} image={photo} device=gpu7": "device must be one of auto, cpu, cuda, cuda:[0-9], mps",
    "checkpoint={checkpoint} imgae={photo}": "imgae is not a key; did you mean image?",
    "checkpoint={checkpoint} data=digit": "data=digit is not known; did you mean data=digits?",
    "-m checkpoint={checkpoint}": "cnnlab visualize does not sweep",
}


@pytest.mark.parametrize("arguments", WRONG)
def test_a_wrong_request_is_explained_and_leaves_nothing(command, checkpoint, photo, tmp_path, arguments):
    places = {"checkpoint": checkpoint(), "few": checkpoint("few.ckpt", ["cat", "dog"]), "photo": photo}
    if "{large}" in arguments:
        places["large"] = checkpoint("large.ckpt", model={"_target_": "cnnlab.models.lenet.LeNet5", "width": 18})
    (tmp_path / "broken.png").write_bytes(b"\x89PNG nothing more")
    for folder in ("empty", "bad"):
        (tmp_path / folder).mkdir()
    (tmp_path / "bad" / "x.png").write_bytes(b"\x89PNG nothing more")
    before = set(tmp_path.iterdir())
    outcome = command("visualize", *arguments.format(**places).split())
    assert (outcome.code, outcome.out) == (2, "")
    assert WRONG[arguments] in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1
    assert set(tmp_path.iterdir()) == before


def test_help_explains_what_is_shown(command):
    outcome = command("visualize", "--help")
    assert outcome.code == 0
    for text in ("checkpoint=PATH", "image=test:0", "activation maps (Grad-CAM)", "synthetic"):
        assert text in outcome.out


def test_a_network_whose_values_are_not_finite_is_refused(command, save, photo, tmp_path):
    file = save()
    content = torch.load(file, weights_only=True)
    first = next(weight for weight in content["state_dict"].values() if weight.ndim == 4)
    first.fill_(3e38)
    torch.save(content, file)
    outcome = command("visualize", f"checkpoint={file}", f"image={photo}", "output=out")
    assert (outcome.code, len(outcome.err.splitlines())) == (2, 1)
    assert "the network may have diverged" in outcome.err
    assert not (tmp_path / "out").exists()
