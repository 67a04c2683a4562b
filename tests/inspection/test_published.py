import pytest
import torch
import yaml

from cnnlab.build.network import DescribedImages, tabulate_network
from cnnlab.config.paths import ROOT
from cnnlab.inspection.published import TABLE, Figure, Published, published
from cnnlab.models.resnet_cifar import CifarResNet

RESNET18 = {"depth": 18, "stem": "imagenet", "normalization": "batch", "width": 1.0}


@pytest.mark.parametrize("entry", TABLE, ids=lambda entry: f"{entry.model}, {entry.source}")
def test_an_entry_is_about_a_shipped_model_and_its_options(entry: Published) -> None:
    file = ROOT / "conf" / "model" / f"{entry.model}.yaml"
    config = yaml.safe_load(file.read_text())
    for key, value in entry.options.items():
        assert key in config
        assert config[key] == value or key in ("stem", "batch_norm")
    for key in ("width", "normalization", "batch_norm", "depth", "configuration", "stem", "shortcuts"):
        assert (key in entry.options) == (key in config), f"{key} changes the counts"
    assert entry.parameters or entry.macs or entry.accuracy
    assert entry.accuracy is None or 0.5 < entry.accuracy < 1


SMALL = ("AlexNet", "ShuffleNet_V2_X1_0", "SqueezeNet1_1")
LARGE = (
    "VGG11_BN",
    "ResNet50",
    "DenseNet121",
    "GoogLeNet",
    "MobileNet_V3_Large",
    "EfficientNet_V2_S",
    "ViT_B_16",
    "Swin_T",
)


@pytest.mark.parametrize("name", [*SMALL, *(pytest.param(name, marks=pytest.mark.slow) for name in LARGE)])
def test_our_counts_of_torchvisions_networks_agree_with_its_own(name: str) -> None:
    options = {"name": name.lower()}
    size = 384 if name == "EfficientNet_V2_S" else 224
    (entry,) = published("torchvision", options, 1000, (3, size, size))
    assert entry.source == f"torchvision, {name}_Weights.IMAGENET1K_V1"
    table = tabulate_network(
        {"_target_": "cnnlab.libraries.torchvision_network", **options}, DescribedImages(size, 3, 1000)
    )
    assert entry.parameters is not None
    assert entry.macs is not None
    assert entry.parameters.agrees(table.parameters)
    assert entry.macs.agrees(table.macs)


@pytest.mark.parametrize(
    ("model", "batch_norm", "parameters"), [("vgg16", False, "138,357,544"), ("vgg16", True, "138,365,992")]
)
def test_a_network_that_is_also_torchvisions_has_its_figures(model: str, batch_norm: bool, parameters: str) -> None:
    options = {"configuration": "D", "stem": "imagenet", "width": 1.0, "batch_norm": batch_norm}
    counts = {
        entry.source.partition(",")[0]: entry.parameters for entry in published(model, options, 1000, (3, 224, 224))
    }
    assert str(counts["torchvision"]) == parameters
    assert ("Simonyan and Zisserman 2014" in counts) != batch_norm


def test_a_count_with_outputs_that_only_training_uses_is_left_out() -> None:
    assert not published("torchvision", {"name": "inception_v3"}, 1000, (3, 299, 299))


def test_figures_apply_to_exactly_one_form() -> None:
    assert {entry.source[:5] for entry in published("resnet18", RESNET18, 1000, (3, 224, 224))} == {"He et", "torch"}
    for model, options, classes, shape in (
        ("resnet34", RESNET18, 1000, (3, 224, 224)),
        ("resnet18", RESNET18 | {"depth": 34}, 1000, (3, 224, 224)),
        ("resnet18", RESNET18 | {"stem": "cifar"}, 1000, (3, 224, 224)),
        ("resnet18", RESNET18 | {"width": 0.5}, 1000, (3, 224, 224)),
        ("resnet18", RESNET18 | {"normalization": "none"}, 1000, (3, 224, 224)),
        ("resnet18", RESNET18, 10, (3, 224, 224)),
        ("resnet18", RESNET18, 1000, (3, 64, 64)),
        ("resnet18", RESNET18, 1000, (1, 224, 224)),
    ):
        assert not published(model, options, classes, shape)


@pytest.mark.parametrize(
    ("figure", "count", "agrees"),
    [
        (Figure("0.27", "M"), 269_722, True),
        (Figure("0.27", "M"), 275_001, False),
        (Figure("1.7", "M"), 1_727_962, True),
        (Figure("138", "M"), 138_357_544, True),
        (Figure("15.47", "G"), 15_470_264_320, True),
        (Figure("60000"), 60_000, True),
        (Figure("60000"), 60_001, False),
    ],
)
def test_a_figure_agrees_with_counts_that_round_to_it(figure: Figure, count: int, agrees: bool) -> None:
    assert figure.agrees(count) is agrees


def test_a_figure_is_shown_as_it_was_printed() -> None:
    assert [str(Figure("0.27", "M")), str(Figure("11689512"))] == ["0.27 M", "11,689,512"]
    assert Figure("3.8", "G").difference(4_180_000_000) == pytest.approx(0.1)


def test_our_counts_agree_with_the_papers_for_cifar10() -> None:
    for depth in (20, 32, 44, 56, 110):
        options = {"depth": depth, "shortcuts": True, "normalization": "batch", "width": 1.0}
        (entry,) = published(f"resnet{depth}", options, 10, (3, 32, 32))
        with torch.device("meta"):
            network = CifarResNet(depth)
        assert entry.parameters is not None
        assert entry.parameters.agrees(sum(p.numel() for p in network.parameters()))
