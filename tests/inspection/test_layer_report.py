import json
import re

import pytest
import torch
from torch import nn

from cnnlab.inspection.layer_report import Description, render
from cnnlab.inspection.layers import tabulate
from cnnlab.inspection.published import BATCH_NORM, published
from cnnlab.models.lenet import LeNet5
from cnnlab.models.resnet import ResNet
from cnnlab.models.resnet_cifar import CifarResNet


@pytest.fixture(scope="module")
def resnet20() -> Description:
    entries = published("resnet20", {"depth": 20, "shortcuts": True, **BATCH_NORM}, 10, (3, 32, 32))
    return Description("resnet20", 10, tabulate(CifarResNet(20), (3, 32, 32)), entries)


@pytest.fixture(scope="module")
def resnet50() -> Description:
    entries = published("resnet50", {"depth": 50, "stem": "imagenet", **BATCH_NORM}, 1000, (3, 224, 224))
    with torch.device("meta"):
        network = ResNet(50, num_classes=1000, stem="imagenet")
    return Description("resnet50", 1000, tabulate(network, (3, 224, 224)), entries)


def test_json_has_plain_values(resnet20: Description) -> None:
    record = json.loads(render([resnet20], False, "json"))
    assert (record["model"], record["image"], record["classes"]) == ("resnet20", [3, 32, 32], 10)
    assert (record["parameters"], record["trainable_parameters"], record["macs"]) == (269722, 269722, 40551040)
    assert sum(layer["parameters"] for layer in record["layers"]) == record["parameters"]
    assert sum(layer["macs"] for layer in record["layers"]) == record["macs"]
    assert sum(layer["activation_bytes"] for layer in record["layers"]) == record["activation_bytes"]
    first = record["layers"][0]
    assert first == {
        **{"name": "conv1", "kind": "Conv2d", "kernel": [3, 3], "stride": [1, 1], "padding": [1, 1]},
        **{"dilation": [1, 1], "groups": 1, "output": [16, 32, 32], "parameters": 432, "macs": 442368},
        **{"activation_bytes": 65536, "receptive_field": [3, 3], "larger_than_image": False, "compression": 0.1875},
    }
    assert all(layer.keys() == first.keys() for layer in record["layers"])
    (entry,) = record["published"]
    assert (entry["parameters"], entry["parameters_agree"], entry["test_accuracy"]) == ("0.27 M", True, 0.9125)
    assert (entry["macs"], entry["macs_agree"]) == (None, None)


def test_json_of_several_is_a_list_of_them(resnet20: Description, resnet50: Description) -> None:
    record = json.loads(render([resnet20, resnet50], True, "json"))
    assert [model["model"] for model in record["models"]] == ["resnet20", "resnet50"]
    assert record["models"][0] == json.loads(render([resnet20], False, "json"))
    assert record["models"][1]["receptive_field"] == [427, 427]
    assert record["models"][1]["smallest_map"] == [7, 7]


@pytest.mark.parametrize("compare", [True, False])
def test_markdown_is_a_table(resnet20: Description, compare: bool) -> None:
    text = render([resnet20], compare, "markdown")
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert len(tables) == 2
    for head, rule, *rows in tables:
        assert rows
        assert re.fullmatch(r"\|(--[-:]\|)+", rule)
        for row in (head, *rows):
            assert row.startswith("| ")
            assert row.endswith(" |")
            assert len(re.findall(r"(?<!\\)\|", row)) == rule.count("|")
    if not compare:
        assert len(tables[0]) == 2 + len(resnet20.table.layers) + 1
        assert r"81\*" in text


def test_names_are_escaped_in_markdown() -> None:
    network = nn.Sequential()
    network.add_module("a_b|c_*d", nn.Flatten())
    text = render([Description("x", 48, tabulate(network, (3, 4, 4)), [])], False, "markdown")
    assert r"| a\_b\|c\_\*d | Flatten |" in text


@pytest.mark.parametrize("width", [60, 80, 110, 120, 200, None])
@pytest.mark.parametrize("compare", [True, False])
def test_plain_text_fits_the_terminal(resnet50: Description, compare: bool, width: int | None) -> None:
    lines = render([resnet50], compare, "plain", width).splitlines()
    if width:
        assert max(len(line) for line in lines) <= width
    text = "\n".join(lines)
    if width == 60:  # the last columns are lost, and no name is broken
        assert "25,557,032 parameters" in text if not compare else "resnet50" in text
        return
    for figure in ("427*", "7x7") if compare else ("427*", "Conv2d", "25,557,032 parameters", "4,089,184,256 MACs"):
        assert figure in text
    if width and width >= 120:
        assert all(len(line.split()) > 3 for line in lines[4:-30] if line.startswith(" layer"))  # nothing is folded


def test_a_published_figure_stands_beside_ours(resnet50: Description) -> None:
    text = re.sub(" +", " ", render([resnet50], False, "plain"))
    assert "MACs 3.8 G 4,089,184,256 +7.6% He et al. 2015, Deep residual learning, table 1" in text
    assert "parameters 25,557,032 25,557,032 equal torchvision, ResNet50_Weights.IMAGENET1K_V1" in text
    assert "MACs 4.089 G 4,089,184,256 equal when rounded torchvision" in text


def test_without_published_figures_there_is_no_table_of_them() -> None:
    text = render([Description("lenet5", 10, tabulate(LeNet5(), (3, 32, 32)), [])], False, "plain")
    assert "Published" not in text
    assert "*" not in text  # no field is larger than the image


def test_windows_that_are_not_square_dilated_or_grouped_are_written_out() -> None:
    network = nn.Sequential(
        nn.Conv2d(4, 8, (3, 5), (1, 2), (0, 2), dilation=(1, 2), groups=4), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    description = Description("x", 8, tabulate(network, (4, 12, 16)), [])
    wide = re.sub(" +", " ", render([description], False, "plain"))
    assert "0 Conv2d 3x5 d1x2 g4 1x2 0x2 8 x 10 x 6" in wide
    assert " 3x9 " in wide
    narrow = re.sub(" +", " ", render([description], False, "plain", 80))
    assert "0 Conv2d 3x5/1x2/0x2 d1x2 g4 8x10x6" in narrow
