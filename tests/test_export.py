"""The command `cnnlab export`."""

import shlex
import sys
from collections.abc import Callable

import pytest
import torch

OWN = """
import torch
from torch import nn


class Own(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.head = nn.Linear(3, num_classes)

    def forward(self, images):
        logits = self.head(images.mean((2, 3)))
        return {answer}
"""


@pytest.fixture
def export(command, save) -> Callable:
    """Write a checkpoint of LeNet-5, and return a function that runs `cnnlab export` with it and more arguments."""
    save()
    return lambda *arguments: command("export", "checkpoint=best.ckpt", *arguments)


def test_it_says_what_it_wrote(export, tmp_path):
    outcome = export()
    assert (outcome.code, outcome.err) == (0, "")
    file, images, logits, opset, checked = outcome.out.splitlines()
    assert file == f"best.onnx: {(tmp_path / 'best.onnx').stat().st_size:,} bytes"
    assert images.split(maxsplit=1)[1].startswith("images: float32 (batch, 3, 32, 32), RGB, normalized")
    assert logits.split(maxsplit=1)[1] == "logits: float32 (batch, 3)"
    assert opset.split() == ["opset", "18"]
    assert "checked with batches of 1, 3, 8: outputs differ from the checkpoint's by " in checked
    assert {file.name for file in tmp_path.iterdir()} == {"best.ckpt", "best.onnx"}


def test_a_trained_network_is_exported_by_its_run(train, command, tmp_path):
    short = ("trainer.max_epochs=1", "trainer.limit_train_batches=2", "logger=none", "hydra.run.dir=run")
    assert train("data=digits", "model=lenet5", *short).code == 0
    outcome = command("export", "checkpoint=run", "format=torch", "normalize=true", "softmax=true", "output=net.pt2")
    assert (outcome.code, outcome.err) == (0, "")
    assert "images: float32 (batch, 3, 32, 32), RGB in [0, 1]" in outcome.out
    module = torch.export.load(tmp_path / "net.pt2").module()
    torch.testing.assert_close(module(torch.rand(4, 3, 32, 32)).sum(dim=1), torch.ones(4))


@pytest.mark.parametrize("format", ["onnx", "torch", "safetensors"])
def test_the_suggested_program_uses_the_file(export, monkeypatch, capsys, format):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    suggested = export(f"format={format}").err.removeprefix("Next: ")
    python, flag, program = shlex.split(suggested.replace("\\\n", ""))  # as a shell joins lines
    assert (python, flag) == ("python", "-c")
    exec(program, {})
    assert ("classifier" if format == "safetensors" else "[") in capsys.readouterr().out


def test_a_folder_for_the_hub_lies_beside_the_checkpoint(export, tmp_path):
    outcome = export("format=hub")
    assert (outcome.code, outcome.err) == (0, "")
    assert {file.name for file in (tmp_path / "hub").iterdir()} == {"model.safetensors", "config.json", "README.md"}
    refused = export("format=hub", "output=best.ckpt")
    assert (refused.code, refused.err) == (2, "output: best.ckpt is not a folder\n")


def test_safetensors_come_with_a_json_file(export, tmp_path):
    outcome = export("format=safetensors", "output=weights.safetensors")
    assert outcome.code == 0
    assert [line.partition(":")[0] for line in outcome.out.splitlines()[:2]] == ["weights.safetensors", "weights.json"]
    assert {file.name for file in tmp_path.iterdir()} == {"best.ckpt", "weights.safetensors", "weights.json"}


@pytest.mark.parametrize(
    ("module", "answer", "message"),
    [
        (
            "ownotherwise",
            "logits * (1.01 if torch.compiler.is_exporting() else 1)",
            "outputs differ from the checkpoint's",
        ),
        ("ownunwritable", "logits * float(logits.max())", "torch cannot export this network"),
        ("ownoneatatime", "logits if len(images) < 4 else logits * 2", "torch cannot export this network"),
    ],
)
def test_a_network_that_cannot_be_exported_leaves_nothing(command, save, tmp_path, module, answer, message):
    (tmp_path / f"{module}.py").write_text(OWN.replace("{answer}", answer))
    sys.path.append(str(tmp_path))  # `command` takes it away
    save({"_target_": f"{module}.Own"})
    outcome = command("export", "checkpoint=best.ckpt", "format=torch", f"trust={module}")
    assert (outcome.code, outcome.out) == (1, "")
    assert message in outcome.err.splitlines()[-1]
    assert not list(tmp_path.glob("*.pt2"))


WRONG = {
    "format=onx": "format must be one of onnx, torch, safetensors, hub, got 'onx'; did you mean onnx?",
    "output=net.pt2": "output: net.pt2 must end in .onnx",
    "output=nowhere/net.onnx": "output: the folder of nowhere/net.onnx does not exist",
    "opset=17": "opset must be 18 to 25, got 17",
    "opset=new": "opset must be a whole number or null, got 'new'",
    "format=torch opset=18": "opset is for format=onnx only, got format=torch",
    "normalize=1": "normalize must be true or false, got 1",
    "format=safetensors normalize=true": "normalize needs format=onnx or format=torch",
    "format=safetensors softmax=true": "softmax needs format=onnx or format=torch",
    "checkpoint=gone.ckpt": "checkpoint: there is no checkpoint gone.ckpt",
    "checkpoint=null": "checkpoint must be a text",
    "model=lenet5": "model is not a key",
    "chekpoint=best.ckpt": "chekpoint is not a key; did you mean checkpoint?",
    "-m format=onnx,torch": "cnnlab export does not sweep",
}


@pytest.mark.parametrize("arguments", WRONG)
def test_a_wrong_request_is_explained_and_leaves_nothing(export, tmp_path, arguments):
    outcome = export(*arguments.split())
    assert (outcome.code, outcome.out) == (2, "")
    assert WRONG[arguments] in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["best.ckpt"]


def test_a_checkpoint_must_be_given(command):
    assert command("export").err == "checkpoint must be given: checkpoint=...\n"


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_a_package_that_is_missing_is_named(export, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    outcome = export()
    assert outcome.code == 2
    assert f"format=onnx needs the package {package}: pip install 'cnnlab[onnx]'" in outcome.err
