"""Exported files, opened without cnnlab."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
import onnx
import onnxruntime
import pytest
import safetensors
import safetensors.torch
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from cnnlab.build.network import build_network
from cnnlab.config.paths import ROOT
from cnnlab.errors import Failed
from cnnlab.inference.export import Export, Format, export_network
from cnnlab.inference.trained import TrainedNetwork, load

MODELS = sorted(file.stem for file in (ROOT / "conf" / "model").glob("*.yaml"))
# Choices that stand for a whole library need the name of one of its networks.
NAMED = {"timm": ["model.name=convnext_atto"], "torchvision": ["model.name=squeezenet1_1"]}
LARGE = 64  # pixels: networks of these libraries are made for larger images


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, save_untrained: Callable[..., Path]) -> Path:
    return save_untrained(tmp_path_factory.mktemp("trained"))


@pytest.fixture(scope="module")
def net(checkpoint: Path) -> TrainedNetwork:
    return load(checkpoint, device="cpu", precision="32-true")


@pytest.fixture(scope="module")
def in_onnx(checkpoint: Path) -> Export:
    return export_network(checkpoint)


@pytest.fixture(scope="module")
def photos() -> Tensor:
    """Return uint8 (5, 3, 32, 32)."""
    return torch.randint(256, (5, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def normalized(photos: Tensor) -> Tensor:
    """Normalize images as the metadata of the file describes it."""
    mean, std = (torch.tensor(values)[:, None, None] for values in ([0.4, 0.5, 0.6], [0.2, 0.25, 0.3]))
    return (photos / 255 - mean) / std


def run_onnx(file: Path, images: Tensor) -> Tensor:
    session = onnxruntime.InferenceSession(file)
    return torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


def test_onnxruntime_has_the_outputs_of_the_checkpoint(net: TrainedNetwork, in_onnx: Export, photos: Tensor) -> None:
    assert in_onnx.difference <= 1e-4
    expected = net.predict(photos).logits
    for images in (1, 5):
        given = run_onnx(in_onnx.files[0], normalized(photos[:images]))
        torch.testing.assert_close(given, expected[:images], atol=1e-5, rtol=1e-5)


def test_an_onnx_file_stands_alone_and_says_what_it_takes(in_onnx: Export, checkpoint: Path) -> None:
    assert in_onnx.files == (checkpoint.with_suffix(".onnx"),)
    assert {file.suffix for file in checkpoint.parent.iterdir()} <= {".ckpt", ".onnx", ".pt2", ".safetensors", ".json"}
    session = onnxruntime.InferenceSession(in_onnx.files[0])
    assert [(put.name, put.type, put.shape) for put in [*session.get_inputs(), *session.get_outputs()]] == [
        ("images", "tensor(float)", ["batch", 3, 32, 32]),
        ("logits", "tensor(float)", ["batch", 3]),
    ]
    model = onnx.load(in_onnx.files[0])
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(metadata["classes"]) == ["cat", "dog", "owl"]
    assert json.loads(metadata["mean"]) == pytest.approx([0.4, 0.5, 0.6])
    assert json.loads(metadata["std"]) == pytest.approx([0.2, 0.25, 0.3])
    assert json.loads(metadata["model"]) == {"_target_": "cnnlab.models.lenet.LeNet5"}
    assert (metadata["image_size"], metadata["opset"], metadata["normalize"]) == ("32", "18", "false")
    assert metadata["data_fingerprint"] == "0123456789abcdef"
    assert "normalized: (values in [0, 1] - mean) / std" in metadata["input"]


def test_normalization_softmax_and_opset_are_choices(
    net: TrainedNetwork, checkpoint: Path, photos: Tensor, tmp_path: Path
) -> None:
    exported = export_network(checkpoint, tmp_path / "all.onnx", opset=20, normalize=True, softmax=True)
    given = run_onnx(tmp_path / "all.onnx", photos / 255)
    torch.testing.assert_close(given, net.predict(photos).probabilities, atol=1e-5, rtol=1e-5)
    model = onnx.load(tmp_path / "all.onnx")
    assert model.opset_import[0].version == 20
    assert model.graph.output[0].name == "probabilities"
    assert "RGB in [0, 1]" in exported.metadata["input"]


def test_a_program_of_torch_needs_no_code_of_the_network(net: TrainedNetwork, checkpoint: Path, photos: Tensor) -> None:
    exported = export_network(checkpoint, format="torch")
    assert exported.files == (checkpoint.with_suffix(".pt2"),)
    extra = {"cnnlab.json": ""}
    module = torch.export.load(exported.files[0], extra_files=extra).module()
    expected = net.predict(photos).logits
    for images in (1, 5):
        torch.testing.assert_close(module(normalized(photos[:images])), expected[:images], atol=1e-5, rtol=1e-5)
    assert json.loads(extra["cnnlab.json"]) == exported.metadata


def test_safetensors_hold_the_weights_by_their_plain_names(net: TrainedNetwork, checkpoint: Path) -> None:
    exported = export_network(checkpoint, format="safetensors")
    assert exported.files == (checkpoint.with_suffix(".safetensors"), checkpoint.with_suffix(".json"))
    assert exported.difference <= 1e-6
    weights = safetensors.torch.load_file(exported.files[0])
    assert weights.keys() == net.network.state_dict().keys()
    for name, value in net.network.state_dict().items():
        assert torch.equal(weights[name], value)
    metadata = json.loads(exported.files[1].read_text())
    assert metadata == exported.metadata
    assert metadata["classes"] == ["cat", "dog", "owl"]
    assert {"image_size", "mean", "std", "resize", "crop", "model"} <= metadata.keys()
    with safetensors.safe_open(exported.files[0], "pt") as opened:
        inside = opened.metadata()
    assert {
        key: value if isinstance(metadata[key], str) else json.loads(value) for key, value in inside.items()
    } == metadata


@pytest.mark.parametrize("format", ["onnx", "torch"])
def test_a_file_tells_nothing_of_the_machine_that_wrote_it(
    in_onnx: Export, checkpoint: Path, tmp_path: Path, format: str
) -> None:
    content = in_onnx.files[0].read_bytes()
    if format == "torch":
        content = export_network(checkpoint, tmp_path / "net.pt2", format="torch").files[0].read_bytes()
    assert b"lenet.py" not in content
    assert str(ROOT).encode() not in content


class Otherwise(nn.Module):
    """Compute something else while it is exported."""

    def __init__(self, num_classes: int):
        super().__init__()
        self.head = nn.Linear(3, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        logits = self.head(images.mean((2, 3)))
        return logits * 1.01 if torch.compiler.is_exporting() else logits


def test_a_file_with_other_outputs_is_not_written(
    save: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.nn.Otherwise", Otherwise, raising=False)
    checkpoint = save({"_target_": "torch.nn.Otherwise"})
    (tmp_path / "best.pt2").write_text("older")
    with pytest.raises(
        RuntimeError, match=r"outputs differ from the checkpoint's by up to .* in a batch of 1; nothing was"
    ):
        export_network(checkpoint, format="torch", trust="torch.nn.Otherwise")
    assert (tmp_path / "best.pt2").read_text() == "older"
    assert len(list(tmp_path.iterdir())) == 2


class Branching(Otherwise):
    """Choose what to compute by the values of the images."""

    def forward(self, images: Tensor) -> Tensor:
        return self.head(images.mean((2, 3)) if images.sum() > 0 else images.amax((2, 3)))


class ForPairs(Otherwise):
    """Compute something else with batches of two, with which networks are exported."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) + (len(images) == 2)


@pytest.mark.parametrize("network", [Branching, ForPairs])
@pytest.mark.parametrize("format", ["onnx", "torch"])
def test_a_network_that_torch_cannot_export_is_told_in_a_line(
    save: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capfd: Any, network: type[nn.Module], format: Format
) -> None:
    monkeypatch.setattr("torch.nn.Odd", network, raising=False)
    with pytest.raises(Failed, match=r"^torch cannot export this network \([^\n\x1b]+\); nothing was written$"):
        export_network(save({"_target_": "torch.nn.Odd"}), format=format, trust="torch.nn.Odd")
    assert capfd.readouterr() == ("", "")


# --- every network ---------------------------------------------------------------------------------------------------


def check_network(save: Callable[..., Path], model: str, options: list[str], format: Any) -> None:
    with hydra.initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        composed = hydra.compose("describe", [f"model={model}", *options])
    settings: Any = OmegaConf.to_container(composed["model"])
    size = LARGE if model in NAMED else 32
    torch.manual_seed(0)
    network = build_network(settings, 3, size)
    images = normalized(nn.functional.interpolate(torch.rand(8, 3, 4, 4), size) * 255)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    with torch.no_grad():  # a network that is as it was made may say the same of every image, as any file would
        for parameter in network.parameters():
            if not norms and parameter.ndim > 1:
                parameter *= 6**0.5  # torch's default weights let images fade away
        for norm in norms:
            norm.momentum = 0.5
        network.train()(images)
        spread = network.eval()(images).std(dim=0).max()
    weights = {f"network.{name}": value for name, value in network.state_dict().items()}
    checkpoint = save(settings, weights, image_size=size)
    exported = export_network(checkpoint, format=format)
    assert exported.difference < spread / 100
    assert exported.files[0].stat().st_size > 0.9 * checkpoint.stat().st_size


# What is hard to write: a pooling that sums and filters that are put together; a frozen layer and GELU; shortcuts
# without parameters.
HARD = {"lenet5_1998": [], "speednet": ["model.width=0.25"], "resnet20": ["model.depth=8"]}


@pytest.mark.parametrize("format", ["onnx", "torch"])
@pytest.mark.parametrize("model", HARD)
def test_a_network_that_is_hard_to_write(save: Callable[..., Path], model: str, format: str) -> None:
    check_network(save, model, HARD[model], format)


@pytest.mark.slow
@pytest.mark.parametrize("format", ["onnx", "torch", "safetensors"])
@pytest.mark.parametrize("model", MODELS)
def test_every_network(save: Callable[..., Path], model: str, format: str) -> None:
    check_network(save, model, NAMED.get(model, []), format)
