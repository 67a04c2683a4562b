from torch import nn

from cnnlab.inspection.layers import tabulate
from cnnlab.inspection.titles import in_words, titles
from cnnlab.models.lenet import LeNet5
from cnnlab.models.resnet import ResNet
from cnnlab.models.speednet import SpeedNet


def titled(network: nn.Module, size: int = 32) -> dict[str, list[str]]:
    """The titles of each module's calls."""
    found: dict[str, list[str]] = {}
    for layer in tabulate(network.eval(), (3, size, size)).layers:
        found.setdefault(layer.name, []).append(layer.title)
    return found


def test_layers_of_a_chain_are_counted_by_kind() -> None:
    found = titled(LeNet5())
    assert found["features.3"] == ["Second convolution"]
    assert found["features.5"] == ["Second max pooling"]
    assert found["classifier.2"] == ["Third ReLU"]
    assert found["classifier.0"] == ["List of all values"]


def test_layers_of_blocks_are_counted_in_their_block() -> None:
    found = titled(ResNet(18, width=0.125))
    assert found["conv1"] == ["Convolution"]
    assert found["layer2.0.conv2"] == ["Block 3, second convolution"]
    assert found["layer2.0.downsample.0"] == ["Block 3, convolution of the shortcut"]
    assert found["layer2.0"] == ["Block 3, addition of the shortcut"]
    assert found["layer4.1.activation"] == ["Block 8, first ReLU", "Block 8, second ReLU"]
    assert titled(SpeedNet(width=0.125))["block3.pool"] == ["Block 3, max pooling"]


def test_of_many_layers_of_a_kind_the_later_ones_have_numbers() -> None:
    network = nn.Sequential(*(nn.ReLU() for _ in range(22)))
    layers = [(str(number), "ReLU") for number in range(22)]
    assert titles(network, layers)[9:13] == ["Tenth ReLU", "11th ReLU", "12th ReLU", "13th ReLU"]
    assert titles(network, layers)[20:] == ["21st ReLU", "22nd ReLU"]


def test_modules_and_functions_have_the_same_words() -> None:
    assert in_words("MaxPool2d") == in_words("max_pool2d") == "max pooling"
    assert in_words("Conv2d") == in_words("conv2d") == in_words("convolution") == "convolution"
    assert in_words("SiLU") == in_words("silu") == "SiLU"
    assert in_words("Rotate") == "Rotate"
