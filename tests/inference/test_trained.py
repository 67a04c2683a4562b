import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import cnnlab
from cnnlab.build.network import build_network
from cnnlab.data.pictures import UnreadablePicture
from cnnlab.errors import RequestError
from cnnlab.inference.trained import TrainedNetwork, load

LENET = {"_target_": "cnnlab.models.lenet.LeNet5"}
Saver = Callable[..., Path]


@pytest.fixture
def net(save: Saver) -> TrainedNetwork:
    return load(save(), device="cpu", precision="32-true")


@pytest.fixture
def photos() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)


def test_the_package_itself_has_load(save: Saver) -> None:
    assert cnnlab.load(save()).classes == ("cat", "dog", "owl")


def test_logits_are_the_networks_own_on_normalized_images(net: TrainedNetwork, photos: np.ndarray) -> None:
    images = torch.from_numpy(photos).permute(0, 3, 1, 2) / 255
    images = (images - net.mean[:, None, None]) / net.std[:, None, None]
    with torch.no_grad():
        expected = net.network(images)
    torch.testing.assert_close(net.predict(photos).logits, expected, rtol=1e-4, atol=1e-5)


def test_every_form_of_an_image_gives_the_same_logits(net: TrainedNetwork, photos: np.ndarray, tmp_path: Path) -> None:
    file = tmp_path / "photo.png"
    Image.fromarray(photos[0]).save(file)
    tensor = torch.from_numpy(photos[0]).permute(2, 0, 1)
    forms = [photos[0], tensor, tensor / 255, Image.open(file), file, str(file), file.read_bytes()]
    expected = net.predict(photos[:1]).logits
    for form in forms:
        assert torch.equal(net.predict(form).logits, expected)
    for listed in (net.predict(forms), net.predict(iter(forms), batch_size=2)):
        torch.testing.assert_close(listed.logits, expected.expand(len(forms), -1))


def test_the_batch_size_does_not_change_the_logits(net: TrainedNetwork, photos: np.ndarray) -> None:
    whole = net.predict(photos)
    parts = list(net.stream(photos, batch_size=2))
    assert [len(part) for part in parts] == [2, 2, 1]
    torch.testing.assert_close(torch.cat([part.logits for part in parts]), whole.logits)


def test_predictions_name_the_most_probable_classes(net: TrainedNetwork, photos: np.ndarray) -> None:
    predictions = net.predict(photos)
    torch.testing.assert_close(predictions.probabilities.sum(dim=1), torch.ones(5))
    for row, name, confidence in zip(predictions.top(2), predictions.names, predictions.confidences, strict=True):
        assert row[0] == (name, pytest.approx(float(confidence)))
        assert row[0][1] >= row[1][1]
    assert len(predictions.top(10)[0]) == 3


def test_no_image_gives_no_prediction(net: TrainedNetwork) -> None:
    assert len(net.predict([])) == 0


def test_a_batch_size_of_zero_is_refused(net: TrainedNetwork, photos: np.ndarray) -> None:
    with pytest.raises(ValueError, match="batch_size must be 1 or more, got 0"):
        net.predict(photos, batch_size=0)


@pytest.mark.parametrize(
    ("model", "features"),
    [
        (LENET, 84),
        ({"_target_": "cnnlab.models.resnet_cifar.CifarResNet", "depth": 20}, 64),
        ({"_target_": "cnnlab.libraries.torchvision_network", "name": "squeezenet1_1"}, 512),
    ],
)
def test_an_embedding_is_the_input_of_the_last_layer(
    save: Saver, photos: np.ndarray, model: dict[str, Any], features: int
) -> None:
    net = load(save(model), device="cpu")
    assert net.embed(photos, batch_size=2).shape == (5, features)


def test_the_last_layer_makes_the_logits_of_an_embedding(net: TrainedNetwork, photos: np.ndarray) -> None:
    last = [module for module in net.network.modules() if isinstance(module, nn.Linear)][-1]
    with torch.no_grad():
        torch.testing.assert_close(last(net.embed(photos)), net.predict(photos).logits)


def test_a_run_directory_stands_for_its_best_epoch(save: Saver, tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    save().rename(run / "checkpoints" / "best.ckpt")
    assert load(run).checkpoint == run / "checkpoints" / "best.ckpt"


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((32, 32, 3)) + 2, r"floats must be in \[0, 1\]"),
        (np.zeros((32, 32, 3)) - 1, r"floats must be in \[0, 1\]"),
        (np.full((32, 32, 3), np.nan), r"floats must be in \[0, 1\]"),
        (np.zeros((32, 32, 3), np.int64), "uint8 or floats"),
        (np.zeros((3, 32, 32), np.uint8), r"\(H, W, C\) with 1, 3 or 4 channels, got \(32, 3, 32\)"),
        (torch.zeros(32, 32, 3, dtype=torch.uint8), r"\(C, H, W\) with 1, 3 or 4"),
        (np.zeros((0, 0, 3), np.uint8), "must be"),
        (np.zeros(5, np.uint8), "must be"),
    ],
)
def test_arrays_of_wrong_shape_type_or_range_are_refused(net: TrainedNetwork, image: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        net.predict(image)


def test_an_unreadable_file_is_named(net: TrainedNetwork, tmp_path: Path) -> None:
    file = tmp_path / "text.png"
    file.write_text("no image")
    with pytest.raises(UnreadablePicture, match=r"text\.png: it is a text, not an image"):
        net.predict([np.zeros((32, 32, 3), np.uint8), file])
    with pytest.raises(UnreadablePicture, match="image 2: it is a text, not an image"):
        net.predict([np.zeros((32, 32, 3), np.uint8), b"no image"])


# --- checkpoints of strangers ----------------------------------------------------------------------------------------


class _Attack:
    def __init__(self, file: Path):
        self.file = file

    def __reduce__(self) -> Any:
        return (Path.touch, (self.file,))


def test_a_pickle_that_runs_code_is_refused(tmp_path: Path) -> None:
    torch.save({"cnnlab": _Attack(tmp_path / "attacked"), "state_dict": {}}, tmp_path / "evil.ckpt")
    with pytest.raises(RequestError, match="not a checkpoint of tensors and plain values; it is not loaded"):
        load(tmp_path / "evil.ckpt")
    assert not (tmp_path / "attacked").exists()


@pytest.mark.parametrize(
    "model",
    [
        {"_target_": "os.mkdir", "path": "attacked"},
        {"_target_": "pathlib.Path.mkdir", "self": "attacked"},
        # What a module of ours imports can be reached through it.
        {"_target_": "cnnlab.libraries.contextlib.os.mkdir", "path": "attacked"},
        {"_target_": "cnnlab.libraries:contextlib.os.mkdir", "path": "attacked"},
        {"_target_": "cnnlab.models.lenet_1998.torch.os.mkdir", "path": "attacked"},
        {"_target_": "cnnlab.models.lenet.LeNet5", "activation": {"_target_": "os.mkdir", "path": "attacked"}},
        {"_target_": "cnnlab.models.lenet.LeNet5", "activation": [{"_target_": "os.mkdir", "path": "attacked"}]},
        {"_target_": "cnnlab.models.lenet.LeNet5", "width": {"deep": {"_target_": "os.mkdir", "path": "attacked"}}},
        {"_target_": "cnnlab.models.lenet.LeNet5", "width": torch.ones(1)},
        {"_target_": "cnnlab.models.lenet.LeNet5", 1: 2},
        {"_target_": "torch.nn.Linear", "in_features": "many", "out_features": 3},
        {"_target_": "mynetwork.Missing"},
        {"_target_": None},
        {"width": 1.0},
        {},
        "text",
    ],
)
def test_a_checkpoint_that_names_something_else_than_a_network_is_refused(
    save: Saver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RequestError):
        load(save(model, weights={}))
    assert not (tmp_path / "attacked").exists()


def test_no_module_is_imported_that_holds_no_networks(save: Saver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "this", raising=False)
    with pytest.raises(RequestError, match="is not loaded: it names this.Network, which may run any code"):
        load(save({"_target_": "this.Network"}, weights={}))
    assert "this" not in sys.modules


def test_a_network_that_would_fill_the_memory_is_not_built(save: Saver) -> None:
    weights = {f"network.{name}": value for name, value in build_network(LENET, 3).state_dict().items()}
    with pytest.raises(RequestError, match="holds another network"):
        load(save({**LENET, "width": 1e5}, weights=weights))


def test_lists_that_hold_themselves_are_refused(save: Saver) -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(RequestError, match="is not a network"):
        load(save({**LENET, "options": endless}, weights={}))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("classes", None),
        ("classes", "cat"),
        ("classes", []),
        ("classes", ["cat", 2, "owl"]),
        ("mean", [0.5, 0.5]),
        ("mean", [0.5, 0.5, float("nan")]),
        ("mean", 0.5),
        ("std", [0.5, 0.5, float("inf")]),
        ("std", [0.5, 0.5, 0]),
        ("std", ["0.5", "0.5", "0.5"]),
        ("image_size", 0),
        ("image_size", 10**9),
        ("image_size", "32"),
        ("image_size", True),
        ("channels", 1),
        ("data_fingerprint", 7),
    ],
)
def test_an_impossible_value_is_named(save: Saver, key: str, value: Any) -> None:
    with pytest.raises(RequestError, match=rf"best\.ckpt is damaged: its {key} cannot be "):
        load(save(weights={}, model=LENET, **{key: value}))


def test_a_checkpoint_must_hold_what_it_says(save: Saver) -> None:
    file = save()
    content = torch.load(file, weights_only=True)
    weights = content["state_dict"]
    for damage, message in [
        ({"cnnlab": []}, "its classes cannot be None"),
        ({"state_dict": None}, "it holds no weights"),
        ({"state_dict": weights | {"network.classifier.5.bias": [0.0] * 3}}, "classifier.5.bias is no tensor there"),
        ({"state_dict": {1: torch.ones(1)}}, "is missing there"),
        ({"cnnlab": content["cnnlab"] | {"classes": ["cat", "dog"]}}, "holds another network"),
        ({"cnnlab": content["cnnlab"] | {"model": {**LENET, "activation": "rellu"}}}, "did you mean relu?"),
    ]:
        torch.save(content | damage, file)
        with pytest.raises(RequestError, match=message):
            load(file)


def test_a_damaged_pickle_is_refused_whatever_torch_raises(save: Saver) -> None:
    file = save()
    with zipfile.ZipFile(file) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    pickled = next(name for name in parts if name.endswith("data.pkl"))
    refused = 0
    for place in range(0, len(parts[pickled]), 13):
        damaged = bytearray(parts[pickled])
        damaged[place] ^= 0x55
        with zipfile.ZipFile(file, "w") as archive:
            for name, content in parts.items():
                archive.writestr(name, damaged if name == pickled else content)
        try:
            load(file)
        except RequestError:
            refused += 1
    assert refused


def test_weights_are_never_downloaded(save: Saver, monkeypatch: pytest.MonkeyPatch) -> None:
    timm = pytest.importorskip("timm")
    model = {"_target_": "cnnlab.libraries.timm_network", "name": "test_resnet", "pretrained": False}
    file = save(model)
    content = torch.load(file, weights_only=True)
    content["cnnlab"]["model"] |= {"pretrained": True, "checkpoint_path": "elsewhere.pth"}
    torch.save(content, file)
    made = timm.create_model

    def create_model(name: str, **options: Any) -> nn.Module:
        assert not options["pretrained"]
        assert not options["checkpoint_path"]
        return made(name, **options)

    monkeypatch.setattr(timm, "create_model", create_model)
    assert load(file).predict(np.zeros((32, 32, 3), np.uint8)).logits.shape == (1, 3)


@pytest.mark.parametrize("name", ["gone.ckpt", "."])
def test_a_missing_checkpoint_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(RequestError, match="checkpoint: there is no checkpoint"):
        load(tmp_path / name)


def test_an_unknown_device_is_named(save: Saver) -> None:
    with pytest.raises(RequestError, match="device: 'gpu7'"):
        load(save(), device="gpu7")


def test_an_unknown_precision_is_named(save: Saver) -> None:
    precision: Any = "bf16"
    with pytest.raises(RequestError, match="precision must be one of auto, 32-true, bf16-mixed, got 'bf16'"):
        load(save(), precision=precision)


def test_a_checkpoint_of_few_bytes_that_stands_for_endless_values_is_refused(save):
    several: list = [0] * 1000
    for _ in range(2):
        several = [several] * 1000
    file = save({"_target_": "cnnlab.models.lenet.LeNet5", "width": several}, weights={})
    with pytest.raises(RequestError, match="is not loaded: .* is not a network"):
        load(file)
