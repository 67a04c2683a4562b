import pytest
import torch
from torch import Tensor, nn

from cnnlab.inspection.cost import Cost, measure_cost
from cnnlab.models.article import ArticleNet
from cnnlab.models.lenet import LeNet5
from cnnlab.models.resnet import ResNet


def test_cost_of_one_convolution_and_one_linear_layer() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, kernel_size=3, padding=1), nn.Flatten(), nn.Linear(8 * 10 * 12, 5))
    macs = (3 * 3 * 3) * 8 * 10 * 12 + 8 * 10 * 12 * 5
    parameters = (3 * 3 * 3 + 1) * 8 + (8 * 10 * 12 + 1) * 5
    assert measure_cost(network, (3, 10, 12)) == Cost(parameters, macs, outputs=5)


def test_strides_groups_and_frozen_parameters_are_counted_correctly() -> None:
    convolution = nn.Conv2d(4, 8, kernel_size=3, stride=2, groups=2, bias=False)
    convolution.weight.requires_grad_(False)
    network = nn.Sequential(convolution, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
    assert measure_cost(network, (4, 9, 9)) == Cost(8 * 3 + 3, (2 * 3 * 3) * 8 * 4 * 4 + 8 * 3, outputs=3)


def test_macs_of_the_article_are_those_of_its_table() -> None:
    convolutions = 64 * 31**2 * 48 + 192 * 14**2 * 1024 + 36 * 9 * (384 * 192 + 256 * 384 + 256 * 256)
    linear = 1024 * 512 + 512 * 256 + 256 * 10
    cost = measure_cost(ArticleNet(), (3, 32, 32))
    assert cost == Cost(2_997_642, convolutions + linear, outputs=10)
    assert round(cost.macs / 1e9, 2) == 0.12


def test_macs_of_resnet18_are_the_published_ones() -> None:
    cost = measure_cost(ResNet(18), (3, 32, 32))
    assert cost.parameters == 11_173_962
    first, last = 27 * 64 * 32**2, 512 * 10
    stage = (
        9 * 64 * 64 * 32**2
    )  # one convolution of layer1; each of the others costs as much, but for those with stride
    later = 3.5 * stage + 64 * 128 * 16**2  # three and a half, and the shortcut's projection
    assert cost.macs == first + 4 * stage + 3 * later + last
    assert cost.macs / 1e9 == pytest.approx(0.556, abs=0.001)


def test_macs_of_torchvisions_layout_are_the_published_ones() -> None:
    cost = measure_cost(ResNet(18, num_classes=1000, stem="imagenet"), (3, 224, 224))
    assert cost.parameters == 11_689_512
    assert round(cost.macs / 1e9, 3) == 1.814


def test_images_of_a_wrong_size_are_refused_in_one_line() -> None:
    with pytest.raises(ValueError, match="images of 3x28x28 .* do not fit the network .* 32 pixels") as caught:
        measure_cost(LeNet5(), (3, 28, 28))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("network", "size", "message"),
    [
        (LeNet5(), 28, "; the smallest size that works is 32 pixels"),
        (LeNet5(), 40, "; sizes that work: 32 to 35 pixels"),
        (nn.Sequential(nn.Flatten(), nn.Linear(3 * 9 * 9, 2)), 10, "; it takes 9 pixels"),
        (nn.Linear(3, 2), 10, "[^;]"),  # no image fits
    ],
)
def test_sizes_that_fit_are_named(network: nn.Module, size: int, message: str) -> None:
    with pytest.raises(ValueError, match=f"images of 3x{size}x{size} .*{message}$"):
        measure_cost(network, (3, size, size))


class TwoOutputs(nn.Module):
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return images, images


@pytest.mark.parametrize("network", [TwoOutputs(), nn.Conv2d(3, 8, kernel_size=1)])
def test_other_outputs_than_logits_are_refused(network: nn.Module) -> None:
    with pytest.raises(ValueError, match=r"must return logits \(images, classes\), got"):
        measure_cost(network, (3, 8, 8))


@pytest.mark.parametrize("size", [32, 28])
@pytest.mark.parametrize("training", [True, False])
def test_mode_and_weights_are_left_as_they_were(training: bool, size: int) -> None:
    network = nn.Sequential(nn.BatchNorm2d(3), LeNet5()).train(training)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    try:
        measure_cost(network, (3, size, size))
    except ValueError:
        assert size == 28
    assert all(module.training is training for module in network.modules())
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])
    assert all(parameter.grad is None for parameter in network.parameters())
