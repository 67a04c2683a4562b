import pytest
import torch
import torchvision
from torch import Tensor, nn

from cnnlab.models.resnet import BasicBlock, ResNet, Stem, resnet18


def test_parameters_are_the_published_ones() -> None:
    assert sum(p.numel() for p in resnet18().parameters()) == 11_173_962


@pytest.mark.parametrize(("stem", "size", "sides"), [("cifar", 32, (32, 16, 8, 4)), ("imagenet", 224, (56, 28, 14, 7))])
def test_stages_have_the_shapes_of_the_table(stem: Stem, size: int, sides: tuple[int, ...]) -> None:
    network, shapes = resnet18(stem=stem).eval(), []

    def note(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        shapes.append(tuple(output.shape[1:]))

    for stage in (network.layer1, network.layer2, network.layer3, network.layer4):
        stage.register_forward_hook(note)
    with torch.no_grad():
        network(torch.zeros(1, 3, size, size))
    assert shapes == [(c, side, side) for c, side in zip((64, 128, 256, 512), sides, strict=True)]


@pytest.mark.parametrize("stem", ["cifar", "imagenet"])
def test_channels_classes_and_any_size_are_honoured(stem: Stem) -> None:
    network = resnet18(in_channels=1, num_classes=7, stem=stem).eval()
    with torch.no_grad():
        for size in (32, 40):
            assert network(torch.zeros(2, 1, size, size)).shape == (2, 7)


@torch.no_grad()
def test_imagenet_form_is_torchvisions_weight_for_weight() -> None:
    torch.manual_seed(0)
    theirs = torchvision.models.resnet18(num_classes=10)
    images = torch.randn(4, 3, 64, 64)
    theirs.train()(images)  # so that the norms' statistics are not just zeros and ones
    ours = resnet18(stem="imagenet")
    ours.load_state_dict(theirs.state_dict())
    torch.testing.assert_close(ours.eval()(images), theirs.eval()(images), atol=1e-5, rtol=0)


def test_every_parameter_is_trained(assert_trains) -> None:
    torch.manual_seed(0)
    assert_trains(resnet18())


def test_weights_start_as_in_the_paper_on_rectifiers() -> None:
    torch.manual_seed(0)
    weight = resnet18().get_parameter("layer3.1.conv2.weight")
    assert weight.std().item() == pytest.approx((2 / (256 * 9)) ** 0.5, rel=0.01)


def test_block_without_a_residual_is_its_shortcut() -> None:
    block = BasicBlock(4, 4).eval()
    nn.init.zeros_(block.conv2.weight)
    x = torch.rand(2, 4, 8, 8)
    torch.testing.assert_close(block(x), x)
    assert block.downsample is None
    assert BasicBlock(4, 8).downsample is not None
    assert BasicBlock(4, 4, stride=2)(x).shape == (2, 4, 4, 4)


def test_blocks_are_counted_by_stage() -> None:
    network = ResNet((1, 2, 3, 1))
    assert [len(list(stage.children())) for stage in (network.layer1, network.layer2, network.layer3)] == [1, 2, 3]
