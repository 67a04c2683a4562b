"""`cnnlab describe`, as it is typed."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from cnnlab.config.paths import ROOT
from cnnlab.describe import main

MODELS = sorted(file.stem for file in (ROOT / "conf" / "model").glob("*.yaml"))


@pytest.fixture
def describe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., SimpleNamespace]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])

    def run(*arguments: str) -> SimpleNamespace:
        monkeypatch.setattr(sys, "argv", ["cnnlab.describe", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        printed = capsys.readouterr()
        return SimpleNamespace(code=end.value.code or 0, out=printed.out, err=printed.err)

    return run


# A choice that stands for a whole library needs the name of a network.
NAMED = {"timm": ["model.name=resnet18"], "torchvision": ["model.name=mobilenet_v3_small"]}


@pytest.mark.parametrize("model", MODELS)
def test_every_model_is_described(describe, tmp_path, model):
    outcome = describe(f"model={model}", *NAMED.get(model, []), "format=json")
    assert (outcome.code, outcome.err) == (0, "")
    record = json.loads(outcome.out)
    assert record["model"].partition("/")[0] == model
    assert sum(layer["parameters"] for layer in record["layers"]) == record["parameters"]
    assert record["layers"][-1]["output"] == [10]
    assert record["receptive_field"]
    assert all(entry["parameters_agree"] is not False for entry in record["published"])
    assert not list(tmp_path.iterdir())


def test_a_network_of_a_library_is_named_and_compared_with_its_published_figures(describe):
    asked = ("model=torchvision", "model.name=squeezenet1_1", "data.image_size=224", "data.classes=1000")
    record = json.loads(describe(*asked, "format=json").out)
    assert record["model"] == "torchvision/squeezenet1_1"
    assert [(entry["parameters_agree"], entry["macs_agree"]) for entry in record["published"]] == [(True, True)]


def test_the_table_of_the_default_model(describe, tmp_path):
    outcome = describe()
    assert outcome.code == 0
    assert "article: images 3 x 32 x 32, 10 classes" in outcome.out
    assert "2,997,642 parameters" in outcome.out
    assert not list(tmp_path.iterdir())


def test_options_and_image_sizes_are_used(describe):
    asked = ("model=alexnet", "model.stem=imagenet", "data.image_size=224", "data.classes=1000", "data.channels=1")
    record = json.loads(describe(*asked, "format=json").out)
    assert record["image"] == [1, 224, 224]
    assert record["layers"][0]["kernel"] == [11, 11]
    assert record["layers"][-1]["output"] == [1000]


@pytest.mark.parametrize(("suffix", "begins"), [(".json", "{"), (".md", "**lenet5"), (".txt", "lenet5: images")])
def test_a_file_is_written_by_its_suffix(describe, tmp_path, suffix, begins):
    outcome = describe("model=lenet5", f"output=table{suffix}")
    assert outcome.code == 0
    assert outcome.out.startswith("lenet5: images")
    assert [file.name for file in tmp_path.iterdir()] == [f"table{suffix}"]
    assert (tmp_path / f"table{suffix}").read_text().startswith(begins)


def test_networks_are_compared(describe, tmp_path):
    outcome = describe("models=[lenet5,resnet18,vgg16]", "output=models.json")
    assert outcome.code == 0
    rows = [line.split() for line in outcome.out.splitlines()]
    assert ["lenet5", "62,006", "651,720", "57.0", "KiB", "5", "16", "5x5"] in rows
    record = json.loads((tmp_path / "models.json").read_text())
    assert [model["parameters"] for model in record["models"]] == [62006, 11173962, 14728266]


def test_an_option_goes_to_every_network_of_a_comparison(describe):
    asked = ("models=[vgg11,alexnet]", "model.stem=imagenet", "data.image_size=224", "data.classes=1000")
    record = json.loads(describe(*asked, "format=json").out)
    assert [model["parameters"] for model in record["models"]] == [132868840, 61100840]


def test_a_network_of_the_users_own(describe, tmp_path):
    (tmp_path / "describednet.py").write_text(
        "import torch\nfrom torch import nn\n\n\n"
        "class DescribedNet(nn.Module):\n"
        "    def __init__(self, width=4):\n"
        "        super().__init__()\n"
        "        self.offset = float(torch.linspace(0, 1, 3)[1])  # needs values: cannot be made on the meta device\n"
        "        self.conv = nn.Conv2d(3, width, 3)\n"
        "        self.head = nn.Linear(width, 10)\n\n"
        "    def forward(self, images):\n"
        "        return self.head(self.conv(images + self.offset).amax((2, 3)))\n"
    )
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "describednet.yaml").write_text("_target_: describednet.DescribedNet\nwidth: 4\n")
    record = json.loads(describe("model=describednet", "model.width=6", "format=json").out)
    assert [layer["kind"] for layer in record["layers"]] == ["add", "Conv2d", "amax", "Linear"]
    assert record["parameters"] == 6 * 28 + 70
    compared = json.loads(describe("models=[describednet,lenet5]", "format=json").out)
    assert [model["parameters"] for model in compared["models"]] == [4 * 28 + 50, 62006]
    assert "describednet" in describe("--help").out


@pytest.mark.parametrize(
    ("asked", "suggested"),
    [
        ([], "cnnlab train model=article"),
        (["model=lenet5", "model.pooling=avg", "output=lenet5.md"], "cnnlab train model=lenet5 model.pooling=avg"),
        (["models=[resnet20,vgg11]", "data.image_size=64"], "cnnlab train -m model=resnet20,vgg11 data.image_size=64"),
    ],
)
def test_training_is_suggested_with_the_same_options(describe, monkeypatch, asked, suggested):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    printed = describe(*asked).err
    assert printed == f"Next: {suggested}\n"


WRONG = {
    "model=resnet81": "model=resnet81 is not known; did you mean model=resnet18?",
    "models=[lenet5,resnet81]": "model=resnet81 is not known; did you mean model=resnet18?",
    "models=[resnet81,lenet5]": "model=resnet81 is not known; did you mean model=resnet18?",
    "models=[resnet18,vgg16] model.depth=34": "(vgg16, which is one of models)",
    "models=lenet5": "models must be a list of names",
    "models=[]": "models must be a list of names",
    "models=[lenet5] model=vgg16": "give either models= or model=",
    "model=[lenet5,vgg16]": "models=[NAME,NAME] takes several",
    "-m model=lenet5,vgg16": "cnnlab describe does not sweep",
    "modle=lenet5": "modle is not a key; did you mean model?",
    "model.activation=rellu": "got 'rellu'; did you mean relu?",
    "format=jsn": "format must be one of plain, markdown, json, got 'jsn'; did you mean json?",
    "output=table.csv": "output: table.csv must end in .json, .md, .txt",
    "output=nowhere/table.json": "output: the folder of nowhere/table.json does not exist",
    "data=cifar10": "data has no choices here; known: data.image_size",
    "data.image_size=8": "model: images of 3x8x8",
    "model=lenet5 data.image_size=28": "the smallest size that works is 32 pixels",
    "model=timm": "model.name must be given",
    "model=torchvision model.name=resnet81": "resnet81 is not a classifier of torchvision; did you mean resnet18?",
    "data.image_size=0": "data.image_size must be from 1 to 10000, got 0",
    "data.image_size=100000": "data.image_size must be from 1 to 10000, got 100000",
    "data.image_size=many": "data.image_size must be a whole number",
    "data.path=x": "data.path is not a key",
}


@pytest.mark.parametrize("arguments", WRONG)
def test_a_wrong_request_is_explained_and_leaves_nothing(describe, tmp_path, arguments):
    outcome = describe(*arguments.split())
    assert (outcome.code, outcome.out) == (2, "")
    assert WRONG[arguments] in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1
    assert tmp_path.is_dir()
    assert not list(tmp_path.iterdir())


def test_help_explains_the_columns(describe):
    outcome = describe("--help")
    assert outcome.code == 0
    for text in ("models=[lenet5,resnet18]", "output=null", "receptive field", *MODELS):
        assert text in outcome.out
