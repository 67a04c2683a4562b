import zipfile
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.layers.pos_embed import resample_abs_pos_embed
from torch import Tensor, nn

from cnnlab.build.weights import StartingWeights, with_channels
from cnnlab.errors import RequestError
from cnnlab.models.lenet import LeNet5
from tests.helpers import TINY, configuration, same_weights, summary, weights


def network(channels: int = 3, classes: int = 2) -> nn.Sequential:
    layers = nn.Conv2d(channels, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes))


def start(folder: Path, content: object) -> StartingWeights:
    torch.save(content, folder / "start.pt")
    return StartingWeights(str(folder / "start.pt"))


def changed(net: nn.Module, before: dict[str, Tensor]) -> set[str]:
    return {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}


def test_all_of_the_same_network_is_loaded(tmp_path):
    given, net = network(), network()
    given.get_buffer("1.running_mean").fill_(3.0)
    begin = start(tmp_path, given.state_dict())
    begin.load(net, ["a", "b"])
    assert not changed(net, given.state_dict())
    assert begin.note == f"278 of 278 weights are from {tmp_path / 'start.pt'}; new: nothing; left in the file: nothing"


@pytest.mark.parametrize("prefix", ["module.", "network.", "_orig_mod."])
def test_names_of_wrappers_are_cut(tmp_path, prefix):
    given, net = network(), network()
    start(tmp_path, {f"{prefix}{name}": value for name, value in given.state_dict().items()}).load(net, ["a", "b"])
    assert not changed(net, given.state_dict())


def test_the_head_is_new_for_other_classes(tmp_path):
    given, net = network(classes=5), network()
    begin = start(tmp_path, given.state_dict())
    before = {name: value.clone() for name, value in net.state_dict().items()}
    begin.load(net, ["a", "b"])
    assert not changed(net, given.state_dict() | {name: before[name] for name in ("5.weight", "5.bias")})
    assert begin.note.endswith("; new: 5; left in the file: 5")


def test_the_first_convolution_is_adapted_to_other_channels(tmp_path):
    given, net = network(channels=1), network()
    begin = start(tmp_path, given.state_dict())
    begin.load(net, ["a", "b"])
    grey = torch.randn(2, 1, 8, 8)
    torch.testing.assert_close(net.eval()(grey.expand(-1, 3, -1, -1)), given.eval()(grey))
    assert "; adapted: 0 from 1 to 3 channels; new: nothing" in begin.note


def test_filters_for_one_channel_are_sums():
    filters = torch.randn(4, 3, 3, 3)
    image = torch.randn(2, 1, 8, 8)
    conv2d = nn.functional.conv2d
    torch.testing.assert_close(conv2d(image, with_channels(filters, 1)), conv2d(image.expand(-1, 3, -1, -1), filters))
    assert with_channels(filters, 5).shape == (4, 5, 3, 3)


def test_a_file_of_which_less_than_half_fits_is_refused(tmp_path):
    given = network().state_dict() | {"9.weight": torch.ones(1000)}
    with pytest.raises(RequestError, match=r"only 277 of its 1,277 weights fit by name and shape"):
        start(tmp_path, given).load(network(), ["a", "b"])


def test_a_run_starts_from_another_and_says_so(train, command, tmp_path):
    assert train(*TINY, "hydra.run.dir=runs/first").code == 0
    begun = train(*TINY, "weights=runs/first", "optimizer.lr=0.0", "hydra.run.dir=runs/second")
    assert begun.code == 0
    line = f"62,006 of 62,006 weights are from {tmp_path}/runs/first/checkpoints/best.ckpt; new: nothing; "
    assert line in begun.out + begun.err
    assert summary(tmp_path / "runs/second")["started_from"].startswith(line)
    assert configuration(tmp_path / "runs/second")["weights"] == f"{tmp_path}/runs/first"
    best, kept = weights(tmp_path / "runs/first", "best"), weights(tmp_path / "runs/second")
    assert all(torch.equal(best[name], kept[name]) for name in best)
    compared = command("compare", "runs=runs")
    assert "weights" in compared.out and "runs/first" in compared.out


def test_a_resumed_run_does_not_load_its_weights_again(train, tmp_path):
    torch.save(LeNet5().state_dict(), tmp_path / "start.pt")
    whole = (*TINY, "weights=start.pt", "trainer.precision=32-true")
    assert train(*whole, "hydra.run.dir=whole").code == 0
    assert train(*whole, "trainer.max_epochs=1", "hydra.run.dir=parts").code == 0
    (tmp_path / "start.pt").unlink()
    assert train("resume=parts", "trainer.max_epochs=2").code == 0
    assert summary(tmp_path / "parts")["started_from"] == summary(tmp_path / "whole")["started_from"]
    assert not same_weights(tmp_path / "parts", tmp_path / "whole")  # its schedule was shorter
    assert train(*whole, "hydra.run.dir=whole", "resume=auto").code == 0  # complete


def test_jobs_of_a_sweep_start_from_weights(train, tmp_path):
    torch.save(LeNet5().state_dict(), tmp_path / "start.pt")
    assert train("-m", *TINY, "weights=null,start.pt", "hydra.sweep.dir=sweep").code == 0
    notes = [summary(run.parent)["started_from"] for run in sorted((tmp_path / "sweep").rglob("summary.json"))]
    assert sorted(note is not None for note in notes) == [False, True]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("weights=gone.pt", "weights: there is no checkpoint"),
        ("weights=other.pt", "is of another network: only 0 of its 3 weights fit by name and shape"),
        ("weights=photos.zip data.path=nowhere", "photos.zip is not a checkpoint, but another zip archive"),
        ("weights=3", "weights must be a text or null, got 3"),
        ("weights=other.pt model=torchvision model.name=alexnet model.pretrained=true", "leave one of them out"),
    ],
)
def test_wrong_weights_are_refused_before_images_are_read(train, tmp_path, monkeypatch, arguments, message):
    torch.save({"a": torch.ones(3)}, tmp_path / "other.pt")
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.writestr("cat.png", b"a picture")
    monkeypatch.setattr("cnnlab.build.run.build_data", lambda settings: pytest.fail("images were read"))
    refused = train("data=digits", *arguments.split())
    assert refused.code == 2
    assert message in refused.err
    assert len(refused.err.splitlines()) == 1
    assert not (tmp_path / "runs").exists()


def test_position_embeddings_of_timm_are_resampled_for_another_image_size(tmp_path):
    options: dict[str, Any] = {"embed_dim": 12, "depth": 1, "num_heads": 2, "patch_size": 8, "num_classes": 2}
    given, net = (
        timm.create_model("vit_tiny_patch16_224", pretrained=False, img_size=size, **options) for size in (32, 64)
    )
    begin = start(tmp_path, given.state_dict())
    begin.load(net, ["a", "b"])
    found = net.state_dict()["pos_embed"].clone()
    assert changed(net, given.state_dict() | {"pos_embed": found}) == set()
    torch.testing.assert_close(found, resample_abs_pos_embed(given.state_dict()["pos_embed"], [8, 8]))
    assert found.shape == (1, 65, 12)
    assert "; resampled for this image size: pos_embed; new: nothing" in begin.note
