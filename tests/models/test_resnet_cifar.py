import pytest
import torch
from torch import Tensor, nn

from cnnlab.models.resnet_cifar import CifarBlock, CifarResNet

PARAMETERS = {20: 269_722, 32: 464_154, 44: 658_586, 56: 853_018, 110: 1_727_962}


@pytest.mark.parametrize("shortcuts", [True, False])
@pytest.mark.parametrize("depth", PARAMETERS)
def test_parameters_equal_the_published_ones(depth: int, shortcuts: bool) -> None:
    with torch.device("meta"):
        network = CifarResNet(depth, shortcuts=shortcuts)
    assert sum(p.numel() for p in network.parameters()) == PARAMETERS[depth]
    assert sum(isinstance(m, nn.Conv2d | nn.Linear) for m in network.modules()) == depth


def reference(weights: dict[str, Tensor], depth: int, images: Tensor) -> Tensor:
    """Compute section 4.2 independently, as functions of the weights, in evaluation mode."""
    f = nn.functional

    def convolution_and_norm(x: Tensor, convolution: str, norm: str, stride: int) -> Tensor:
        x = f.conv2d(x, weights[f"{convolution}.weight"], stride=stride, padding=1)
        mean, var = weights[f"{norm}.running_mean"], weights[f"{norm}.running_var"]
        return f.batch_norm(x, mean, var, weights[f"{norm}.weight"], weights[f"{norm}.bias"])

    x = convolution_and_norm(images, "conv1", "bn1", 1).clamp(min=0)
    for stage in (1, 2, 3):
        for block in range((depth - 2) // 6):
            name = f"layer{stage}.{block}"
            stride = 2 if stage > 1 and block == 0 else 1
            out = convolution_and_norm(x, f"{name}.conv1", f"{name}.bn1", stride).clamp(min=0)
            out = convolution_and_norm(out, f"{name}.conv2", f"{name}.bn2", 1)
            if stride == 2:
                half = x[:, :, ::2, ::2]
                x = torch.cat([half, torch.zeros_like(half)], dim=1)
            x = (out + x).clamp(min=0)
    return x.mean((2, 3)) @ weights["fc.weight"].T + weights["fc.bias"]


@torch.no_grad()
@pytest.mark.parametrize("depth", PARAMETERS)
def test_outputs_agree_with_an_independent_reference(depth: int) -> None:
    torch.manual_seed(0)
    network = CifarResNet(depth)
    images = torch.randn(8, 3, 32, 32)
    network.train()(images)  # so that the norms' statistics are not only zeros and ones
    expected = reference(network.state_dict(), depth, images)
    torch.testing.assert_close(network.eval()(images), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("shortcuts", [True, False])
def test_every_parameter_is_trained(assert_trains, shortcuts: bool) -> None:
    torch.manual_seed(0)
    assert_trains(CifarResNet(20, shortcuts=shortcuts))


def test_a_block_with_a_zero_residual_is_its_shortcut_or_zero() -> None:
    x = torch.rand(2, 4, 8, 8)
    for shortcut, expected in ((True, x), (False, torch.zeros_like(x))):
        block = CifarBlock(4, 4, shortcut, "relu", "batch").eval()
        nn.init.zeros_(block.conv2.weight)
        torch.testing.assert_close(block(x), expected)


def test_other_channels_classes_and_sizes_work() -> None:
    network = CifarResNet(20, in_channels=1, num_classes=7).eval()
    for size in (28, 32):
        assert network(torch.zeros(2, 1, size, size)).shape == (2, 7)


@pytest.mark.parametrize("depth", [2, 18, 21])
def test_impossible_depths_are_refused(depth: int) -> None:
    with pytest.raises(ValueError, match=f"depth must be 6n \\+ 2, .* got {depth}"):
        CifarResNet(depth)


def test_weights_start_as_in_the_paper_on_rectifiers() -> None:
    torch.manual_seed(0)
    weight = CifarResNet(110).get_parameter("layer3.1.conv2.weight")
    assert weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.02)
