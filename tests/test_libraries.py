import json
import sys

import pytest
import torch
from torchvision.models import WeightsEnum

from cnnlab.errors import RequestError
from cnnlab.libraries import timm_network, torchvision_network


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext"])  # timm's own, made for tests
def test_networks_of_timm_take_channels_classes_and_size(name: str) -> None:
    network = timm_network(name, num_classes=7, in_channels=1, image_size=48).eval()
    assert network(torch.zeros(2, 1, 48, 48)).shape == (2, 7)


def test_options_of_timm_are_handed_on() -> None:
    network = timm_network("test_resnet", drop_rate=0.25)
    assert network.drop_rate == 0.25


def test_pretrained_weights_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}
    monkeypatch.setattr("timm.create_model", lambda name, **options: asked.update(options) or torch.nn.Identity())
    timm_network("test_resnet", pretrained=True)
    assert asked["pretrained"] is True


def test_pretrained_weights_that_cannot_be_had_are_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(name: str, **options: object) -> torch.nn.Module:
        raise ConnectionError("no route to the Hub\nand more")

    monkeypatch.setattr("timm.create_model", offline)
    with pytest.raises(RequestError) as caught:
        timm_network("test_resnet", pretrained=True)
    assert str(caught.value) == (
        "model.pretrained: the weights of test_resnet cannot be loaded (no route to the Hub); "
        "weights=FILE starts from a file on this machine"
    )


def test_a_missing_timm_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(RequestError, match="pip install 'cnnlab\\[timm\\]'"):
        timm_network("resnet18")


@pytest.mark.parametrize(
    ("name", "size"), [("mobilenet_v3_small", 32), ("vit_b_16", 32), ("googlenet", 32), ("inception_v3", 75)]
)
def test_networks_of_torchvision_have_one_output(name: str, size: int) -> None:
    network = torchvision_network(name, num_classes=7, image_size=size)
    assert network(torch.zeros(2, 3, size, size)).shape == (2, 7)


def test_options_of_torchvision_are_handed_on() -> None:
    network = torchvision_network("squeezenet1_1", dropout=0.25)
    assert [m.p for m in network.modules() if isinstance(m, torch.nn.Dropout)] == [0.25]
    with pytest.raises(ValueError, match="drop is not an option of squeezenet1_1"):
        torchvision_network("squeezenet1_1", drop=0.25)


def test_pretrained_weights_of_torchvision_are_loaded_but_for_the_head(monkeypatch: pytest.MonkeyPatch) -> None:
    published = torchvision_network("squeezenet1_1", num_classes=1000).state_dict()
    monkeypatch.setattr(WeightsEnum, "get_state_dict", lambda self, **options: published)
    network = torchvision_network("squeezenet1_1", num_classes=7, pretrained=True)
    same = {name: torch.equal(value, published[name]) for name, value in network.state_dict().items()}
    assert {name for name in same if not same[name]} == {"classifier.1.weight", "classifier.1.bias"}


def test_pretrained_weights_for_other_images_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    published = torchvision_network("vit_b_16", num_classes=1000, image_size=48).state_dict()
    monkeypatch.setattr(WeightsEnum, "get_state_dict", lambda self, **options: published)
    with pytest.raises(ValueError, match=r"pretrained: .*other images or options \(encoder.pos_embedding differs\)"):
        torchvision_network("vit_b_16", image_size=32, pretrained=True)


def test_pretrained_weights_without_network_name_the_other_way(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(self: WeightsEnum, **options: object) -> None:
        raise OSError("no route")

    monkeypatch.setattr(WeightsEnum, "get_state_dict", offline)
    with pytest.raises(RequestError, match=r"weights of squeezenet1_1 cannot be loaded \(no route\); weights=FILE"):
        torchvision_network("squeezenet1_1", pretrained=True)


def test_detectors_are_no_classifiers() -> None:
    with pytest.raises(ValueError, match="is not a classifier of torchvision"):
        torchvision_network("fasterrcnn_resnet50_fpn")


def test_the_record_has_the_networks_own_name(train, tmp_path) -> None:
    tiny = ("data=digits", "logger=none", "trainer.max_epochs=1", "trainer.limit_train_batches=1", "data.batch_size=4")
    assert train(*tiny, "model=timm", "model.name=test_resnet", "hydra.run.dir=run").code == 0
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["model"] == "timm/test_resnet"
    assert train("resume=run", "trainer.max_epochs=2").code == 0
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["model"] == "timm/test_resnet"
