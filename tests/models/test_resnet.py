import pytest
import torch
import torchvision
from torch import Tensor, nn

from cnnlab.models.resnet import LAYOUTS, BasicBlock, Bottleneck, Depth, ResNet, Stem

PARAMETERS = {18: 11_173_962, 34: 21_282_122, 50: 23_520_842, 101: 42_512_970, 152: 58_156_618}


@pytest.mark.parametrize("depth", LAYOUTS)
def test_parameters_equal_the_published_ones(depth: Depth) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in ResNet(depth).parameters()) == PARAMETERS[depth]


@pytest.mark.parametrize("depth", LAYOUTS)
def test_a_depth_counts_the_layers_with_weights(depth: Depth) -> None:
    with torch.device("meta"):
        modules = dict(ResNet(depth).named_modules())
    layers = [n for n, m in modules.items() if isinstance(m, nn.Conv2d | nn.Linear) and "downsample" not in n]
    assert len(layers) == depth


@pytest.mark.parametrize(("stem", "size", "sides"), [("cifar", 32, (32, 16, 8, 4)), ("imagenet", 224, (56, 28, 14, 7))])
def test_stages_have_the_documented_shapes(stem: Stem, size: int, sides: tuple[int, ...]) -> None:
    network, shapes = ResNet(18, stem=stem).eval(), []

    def note(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        shapes.append(tuple(output.shape[1:]))

    for stage in (network.layer1, network.layer2, network.layer3, network.layer4):
        stage.register_forward_hook(note)
    with torch.no_grad():
        network(torch.zeros(1, 3, size, size))
    assert shapes == [(c, side, side) for c, side in zip((64, 128, 256, 512), sides, strict=True)]


@pytest.mark.parametrize("stem", ["cifar", "imagenet"])
def test_other_channels_classes_and_sizes_work(stem: Stem) -> None:
    network = ResNet(18, in_channels=1, num_classes=7, stem=stem).eval()
    with torch.no_grad():
        for size in (32, 40):
            assert network(torch.zeros(2, 1, size, size)).shape == (2, 7)


# The deepest are built as the one before: with `make test-all`.
@pytest.mark.parametrize("depth", [pytest.param(d, marks=pytest.mark.slow if d > 50 else ()) for d in LAYOUTS])
def test_the_imagenet_form_equals_torchvisions(assert_same_network, depth: Depth) -> None:
    torch.manual_seed(0)
    theirs = getattr(torchvision.models, f"resnet{depth}")()
    with torch.device("meta"):
        ours = ResNet(depth, num_classes=1000, stem="imagenet")
    assert_same_network(ours, theirs)


def test_every_parameter_is_trained(assert_trains) -> None:
    torch.manual_seed(0)
    assert_trains(ResNet(18))


def test_weights_start_as_in_the_paper_on_rectifiers() -> None:
    torch.manual_seed(0)
    weight = ResNet(18).get_parameter("layer3.1.conv2.weight")
    assert weight.std().item() == pytest.approx((2 / (256 * 9)) ** 0.5, rel=0.01)


def test_a_block_with_a_zero_residual_is_its_shortcut() -> None:
    block = BasicBlock(4, 4).eval()
    nn.init.zeros_(block.conv2.weight)
    x = torch.rand(2, 4, 8, 8)
    torch.testing.assert_close(block(x), x)
    assert block.downsample is None
    assert BasicBlock(4, 8).downsample is not None
    assert BasicBlock(4, 4, stride=2)(x).shape == (2, 4, 4, 4)


def test_a_bottleneck_has_four_times_the_channels_and_its_stride_in_the_middle() -> None:
    block = Bottleneck(8, 4, stride=2).eval()
    assert block(torch.rand(2, 8, 8, 8)).shape == (2, 16, 4, 4)
    assert (block.conv1.stride, block.conv2.stride, block.conv3.stride) == ((1, 1), (2, 2), (1, 1))
