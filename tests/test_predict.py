"""The command `cnnlab predict`."""

import csv
import io
import json
import os
import re
import shlex
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import cnnlab
from cnnlab.build.network import build_network

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")  # of the sample
LENET = {"_target_": "cnnlab.models.lenet.LeNet5"}
ABOUT = {
    "model": LENET,
    "classes": list(CLASSES),
    "mean": [0.4, 0.5, 0.6],
    "std": [0.2, 0.25, 0.3],
    "image_size": 32,
    "channels": 3,
    "data_fingerprint": "0123456789abcdef",
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Write a checkpoint of an untrained network with the classes of the sample."""
    torch.manual_seed(0)
    weights = build_network(LENET, len(CLASSES)).state_dict()
    file = tmp_path_factory.mktemp("checkpoint") / "best.ckpt"
    torch.save({"state_dict": {f"network.{name}": value for name, value in weights.items()}, "cnnlab": ABOUT}, file)
    return str(file)


@pytest.fixture
def predict(command: Callable[..., Any], checkpoint: str) -> Callable[..., Any]:
    """Return a function that runs `cnnlab predict` with that checkpoint and the given arguments."""
    return lambda *arguments: command("predict", f"checkpoint={checkpoint}", "device=cpu", *arguments)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Write pictures of many formats into a folder of the working directory."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    noise = np.random.default_rng(5).integers(0, 256, (40, 60, 4), dtype=np.uint8)
    Image.fromarray(noise[..., :3]).save(folder / "a.png")
    Image.fromarray(noise[..., 0]).save(folder / "b.jpg")
    Image.fromarray(noise).save(folder / "c.webp")
    Image.fromarray(noise[..., :3]).convert("P").save(folder / "d.gif")
    Image.fromarray(noise[..., :3]).resize((700, 500)).save(folder / "more" / "e.tiff")
    (folder / "notes.txt").touch()
    return folder


def rows(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(file.read_text(), newline="")))


def names(file: Path) -> list[str]:
    return [row["image"] for row in rows(file)]


PHOTOS = ["photos/a.png", "photos/b.jpg", "photos/c.webp", "photos/d.gif", "photos/more/e.tiff"]


def test_a_folder_is_classified(predict, photos, tmp_path, checkpoint):
    outcome = predict("images=photos")
    assert outcome.code == 0
    assert sorted(file.name for file in tmp_path.iterdir()) == ["photos", "predictions.csv", "predictions.png"]
    assert names(tmp_path / "predictions.csv") == PHOTOS
    answers = cnnlab.load(checkpoint, device="cpu").predict([tmp_path / name for name in PHOTOS]).top(3)
    for row, answer in zip(rows(tmp_path / "predictions.csv"), answers, strict=True):
        assert list(row) == ["image", "class", "confidence", "class_2", "confidence_2", "class_3", "confidence_3"]
        assert [row["class"], row["class_2"], row["class_3"]] == [name for name, _ in answer]
        assert float(row["confidence"]) == pytest.approx(answer[0][1], abs=2e-6)
    assert "photos/more/e.tiff" in outcome.out
    assert outcome.err.splitlines() == ["5 images", "predictions.csv", "predictions.png"]
    assert Image.open(tmp_path / "predictions.png").size[0] > 900


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        ("photos/a.png", PHOTOS[:1]),
        ("photos/*.[gj]*", ["photos/b.jpg", "photos/d.gif"]),
        ("[photos/d.gif,photos/more]", [PHOTOS[3], PHOTOS[4]]),
        ("photos/**/*.tiff", PHOTOS[4:]),
        ("~/photos/a.png", None),
    ],
)
def test_images_can_be_named_in_many_ways(predict, photos, tmp_path, monkeypatch, images, expected):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert predict(f"images={images}", "gallery=null").code == 0
    assert names(tmp_path / "predictions.csv") == (expected or [str(photos / "a.png")])


@pytest.mark.parametrize(
    "name", ["IMG (1).png", "it's a, b = {c} [d] #2 é.png", "\\'.png", "ends with \\", "x:y;z!.png"]
)
def test_a_file_may_have_any_name(predict, photos, tmp_path, name):
    (photos / "a.png").rename(tmp_path / name)
    assert predict(f"images={name}", "gallery=null").code == 0
    assert names(tmp_path / "predictions.csv") == [name]


def test_paths_come_on_standard_input_and_json_goes_to_standard_output(predict, photos, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"photos/a.png\nphotos/gone.png\nphotos/c.webp\n")))
    outcome = predict("images=-", "output=-", "gallery=null", "top=1")
    assert outcome.code == 1
    records = [json.loads(line) for line in outcome.out.splitlines()]
    assert [record["image"] for record in records] == ["photos/a.png", "photos/c.webp"]
    assert [len(record["top"]) for record in records] == [1, 1]
    assert "photos/gone.png: No such file or directory; skipped" in outcome.err
    assert [file.name for file in tmp_path.iterdir()] == ["photos"]


def test_nothing_on_standard_input_is_a_wrong_request(predict, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\n")))
    outcome = predict("images=-")
    assert (outcome.code, outcome.err) == (2, "images: standard input names no file\n")
    assert not list(tmp_path.iterdir())


def test_batches_limits_and_files_of_the_users_choice(predict, photos, tmp_path):
    whole = predict("images=photos", "output=whole.jsonl", "gallery=null")
    parts = predict("images=photos", "output=parts.jsonl", "gallery=some.png", "batch_size=2", "limit=3", "top=99")
    assert (whole.code, parts.code) == (0, 0)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["parts.jsonl", "photos", "some.png", "whole.jsonl"]
    whole, parts = ([json.loads(line) for line in (tmp_path / f"{n}.jsonl").open()] for n in ("whole", "parts"))
    assert [(one["image"], one["class"]) for one in parts] == [(one["image"], one["class"]) for one in whole[:3]]
    assert [len(one["top"]) for one in parts] == [10, 10, 10]


def test_the_bar_knows_how_many_images_there_are(predict, photos, monkeypatch):
    monkeypatch.setattr(type(sys.stderr), "isatty", lambda stream: True)
    monkeypatch.setattr("cnnlab.display.BAR_DELAY", 0)
    assert re.search(r"0/4 \[", predict("images=photos", "limit=4", "output=null", "gallery=null").err)


@pytest.mark.parametrize("arguments", [["images=photos"], ["images=test", "data=folder", "data.path=class_folders"]])
def test_the_suggested_command_works(predict, command, photos, class_folders, monkeypatch, arguments):
    monkeypatch.setattr(type(sys.stderr), "isatty", lambda stream: True)
    outcome = predict(*arguments, "limit=1")
    program, *suggested = shlex.split(outcome.err.rpartition("Next: ")[2].replace("\\\n", ""))
    assert program == "cnnlab" and suggested[2] in ("image=photos/a.png", "image=test:0")
    monkeypatch.setattr("cnnlab.inspection.page.style.DPI", 30)  # drawing takes most of the time
    assert command(*suggested, "output=seen").code == 0


# --- images of the data ----------------------------------------------------------------------------------------------


def test_test_images_are_shown_with_their_labels(predict, class_folders, tmp_path):
    outcome = predict("images=test", "data=folder", f"data.path={class_folders}", "limit=7")
    assert outcome.code == 0
    assert names(tmp_path / "predictions.csv") == [f"test/{number}" for number in range(7)]
    labels = [row["label"] for row in rows(tmp_path / "predictions.csv")]
    assert labels == [CLASSES[number // 3] for number in range(7)]
    right = sum(row["class"] == row["label"] for row in rows(tmp_path / "predictions.csv"))
    assert f"7 images, {right} correct ({right / 7:.1%})" in outcome.err
    assert "the network was trained on other images" in outcome.err
    assert "(wrong)" in outcome.out


def test_the_data_is_that_of_the_run(command, checkpoint, class_folders, tmp_path):
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "checkpoints" / "best.ckpt").write_bytes(Path(checkpoint).read_bytes())
    (run / "summary.json").write_text("{}")
    data = {"source": None, "path": str(class_folders), "classes": None}
    (run / "config.yaml").write_text(yaml.safe_dump({"data": data}))
    assert command("predict", "checkpoint=run", "images=test", "gallery=null", "output=a.csv").code == 0
    assert len(rows(tmp_path / "a.csv")) == 30
    class_folders.rename(tmp_path / "moved")
    moved = command("predict", "checkpoint=run", "images=test", "gallery=null", "output=b.csv", "data.path=moved")
    assert moved.code == 0
    assert (tmp_path / "a.csv").read_text() == (tmp_path / "b.csv").read_text()


def test_a_strangers_run_cannot_choose_what_is_called(command, checkpoint, class_folders, tmp_path):
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "checkpoints" / "best.ckpt").write_bytes(Path(checkpoint).read_bytes())
    (run / "summary.json").write_text("{}")
    attack = {"_target_": "os.mkdir", "path": str(tmp_path / "attacked")}
    for data in (attack | {"cache": attack, "source": attack}, [attack]):
        (run / "config.yaml").write_text(yaml.safe_dump({"data": data}))
        command("predict", "checkpoint=run", "images=test", f"data.path={class_folders}")
        assert not (tmp_path / "attacked").exists()


@pytest.mark.parametrize("trust", [(), ("trust=strangenet",)])
def test_a_module_inside_a_strangers_run_is_not_imported(command, save, class_folders, tmp_path, monkeypatch, trust):
    checkpoint = save()
    content = torch.load(checkpoint, weights_only=True)
    content["cnnlab"]["model"] = {"_target_": "strangenet.Net"}
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    torch.save(content, run / "checkpoints" / "best.ckpt")
    (run / "strangenet.py").write_text("from pathlib import Path\nPath(__file__).with_name('attacked').touch()\n")
    (run / "conf" / "model").mkdir(parents=True)
    (run / "conf" / "model" / "strange.yaml").write_text("_target_: strangenet.Net\n")
    monkeypatch.chdir(run)
    monkeypatch.setattr(sys, "path", [*sys.path, str(run)])
    for name, *more in (("predict", f"images={class_folders}"), ("evaluate",), ("visualize",), ("export",)):
        outcome = command(name, "checkpoint=.", *more, *trust)
        assert (outcome.code, outcome.err.count("\n")) == (2, 1), outcome.err
        reason = "is inside this run directory" if trust else "it names strangenet.Net, which may run any code"
        assert reason in outcome.err
    assert not (run / "attacked").exists()


def test_neighbours_are_found_among_the_training_images(predict, class_folders, tmp_path):
    first, last = (sorted((class_folders / "train").rglob("*.png"))[place] for place in (0, -1))
    asked = ("neighbours=3", "data=folder", f"data.path={class_folders}")
    outcome = predict(f"images=[{first},{last}]", *asked)
    assert outcome.code == 0
    found = rows(tmp_path / "predictions.csv")
    assert [row["neighbour_1"] for row in found] == ["train/0", "train/119"]
    assert [row["neighbour_1_class"] for row in found] == ["airplane", "truck"]
    assert all(float(row["neighbour_1_distance"]) < 1e-4 < float(row["neighbour_2_distance"]) for row in found)
    assert list(found[0])[-1] == "neighbour_3_distance"
    assert Image.open(tmp_path / "predictions.png").size[0] > 1200
    whole = predict("images=test", "limit=2", "output=-", *asked)
    assert [len(json.loads(line)["neighbours"]) for line in whole.out.splitlines()] == [3, 3]


# --- what is broken --------------------------------------------------------------------------------------------------


def test_nothing_is_written_if_no_image_can_be_read(predict, tmp_path):
    (tmp_path / "empty.png").touch()
    outcome = predict("images=empty.png")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.endswith("empty.png: it is empty; skipped\nNone of 1 images could be read.\n")
    assert not list(tmp_path.glob("predictions*"))


def test_broken_images_are_named_and_all_others_classified(predict, photos, tmp_path):
    picture = (photos / "a.png").read_bytes()
    (photos / "empty.png").touch()
    (photos / "short.png").write_bytes(picture[: len(picture) // 2])
    (photos / "text.png").write_text("no image")
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    checksum = struct.pack(">I", zlib.crc32(b"IHDR" + header))
    (photos / "bomb.png").write_bytes(picture[:12] + b"IHDR" + header + checksum + picture[33:])
    (photos / "gone.png").symlink_to("nowhere.png")
    os.mkfifo(photos / "pipe.png")
    (photos / "folder.png").mkdir()
    (photos / "folder.png" / "inside.png").write_bytes(picture)
    (photos / "folder.png" / "up").symlink_to(photos)
    outcome = predict("images=photos")
    assert outcome.code == 1
    assert names(tmp_path / "predictions.csv") == sorted([*PHOTOS, "photos/folder.png/inside.png"])
    for name in ("empty", "short", "text", "bomb", "gone", "pipe"):
        assert f"photos/{name}.png: " in outcome.err
    assert "pixels; skipped" in outcome.err
    assert outcome.err.endswith("6 of 12 images could not be read.\n")
    assert "Traceback" not in outcome.err


class _Attack:
    def __init__(self, file: Path):
        self.file = file

    def __reduce__(self) -> Any:
        return (Path.touch, (self.file,))


def test_a_checkpoint_that_runs_code_is_refused(command, photos, tmp_path):
    torch.save({"cnnlab": _Attack(tmp_path / "attacked"), "state_dict": {}}, tmp_path / "evil.ckpt")
    outcome = command("predict", "checkpoint=evil.ckpt", "images=photos")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == "checkpoint: evil.ckpt is not a checkpoint of tensors and plain values; it is not loaded\n"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["evil.ckpt", "photos"]


# --- wrong requests --------------------------------------------------------------------------------------------------

WRONG = {
    "images=gone.png": "images: gone.png does not exist",
    "images=photos/*.bmp": "images: no file matches photos/*.bmp",
    "images=photos/a.png,photos/b.jpg": "write several as [a.png,b.jpg]",
    "images=https://a.b/c.png": "images: https://a.b/c.png must be downloaded first",
    "images=[]": "images must be a file, a folder, a pattern, or a list",
    "images=7": "images must be a file, a folder, a pattern, or a list",
    "images=null": "images must be a file, a folder, a pattern, or a list",
    "limit=3": "images must be given: images=...",
    "images=photos limit=0": "limit must be 1 or more, got 0",
    "images=photos limit=few": "limit must be a whole number or null, got 'few'",
    "images=photos top=0": "top must be 1 or more, got 0",
    "images=photos top=null": "top must be a whole number, got None",
    "images=photos batch_size=-1": "batch_size must be 1 or more, got -1",
    "images=photos neighbours=0": "neighbours must be 1 or more, got 0",
    "images=photos output=table.txt": "output: table.txt must end in .csv, .jsonl",
    "images=photos output=nowhere/table.csv": "output: the folder of nowhere/table.csv does not exist",
    "images=photos gallery=page.jpg": "gallery: page.jpg must end in .png",
    "images=photos checkpoint=gone.ckpt": "checkpoint: there is no checkpoint gone.ckpt",
    "images=photos checkpoint=photos": "checkpoint: there is no checkpoint photos/checkpoints/best.ckpt",
    "images=photos checkpoint=photos/a.png": "checkpoint: photos/a.png is damaged or not a checkpoint",
    "images=photos checkpoint=3": "checkpoint must be",
    "images=photos device=gpu7": "device must be one of auto, cpu, cuda, cuda:[0-9], mps, got 'gpu7'",
    "images=photos precision=fp8": "precision must be one of auto, 32-true, bf16-mixed, got 'fp8'",
    "images=test data=digits": "data: the network does not know the classes 0, 1, 2",
    "images=test data.path=gone": "gone does not exist",
    "images=test data.fraction=0.5": "data.fraction has no meaning here: the neighbours come from all training images",
    "images=test data=cifar11": "data=cifar11 is not known; did you mean data=cifar10?",
    "image=photos": "image is not a key; did you mean images?",
    "-m images=photos,other": "cnnlab predict does not sweep",
}


@pytest.mark.parametrize("arguments", WRONG)
def test_a_wrong_request_is_explained_and_leaves_nothing(predict, photos, tmp_path, arguments):
    outcome = predict(*arguments.split())
    assert (outcome.code, outcome.out) == (2, "")
    assert WRONG[arguments] in outcome.err
    said = [line for line in outcome.err.splitlines() if not line.startswith("Decoding the images")]
    assert len(said) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["photos"]


def test_help_explains_the_keys(command):
    outcome = command("predict", "--help")
    assert outcome.code == 0
    for text in ("images=PATH", "neighbours=5", "synthetic", "Exit codes"):
        assert text in outcome.out
