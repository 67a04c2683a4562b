import pytest
import torch
from torch import nn

from cnnlab.errors import RequestError
from cnnlab.instantiate import build
from cnnlab.models.speednet import SpeedNet


def correlated_images(channels: int = 3) -> torch.Tensor:
    noise = torch.randn(200, channels, 32, 32, generator=torch.Generator().manual_seed(0))
    return noise + noise.roll(1, 2) + noise.roll(1, 3) + 0.5 * noise.roll(1, 1)


def test_parameters_and_shapes() -> None:
    network = SpeedNet()
    whitening = 3 * 2 * 2 * 24 + 24
    convolutions = 9 * (24 * 64 + 64 * 64 + 64 * 256 + 3 * 256 * 256)
    offsets, head = 2 * (64 + 256 + 256), 256 * 10
    trained = sum(p.numel() for p in network.parameters() if p.requires_grad)
    assert trained == whitening - 288 + convolutions + offsets + head == 1_971_352
    x = network.whitening(torch.zeros(2, 3, 32, 32))
    shapes = [x.shape[1:]]
    for block in (network.block1, network.block2, network.block3):
        x = block(x)
        shapes.append(x.shape[1:])
    assert shapes == [(24, 31, 31), (64, 15, 15), (256, 7, 7), (256, 3, 3)]


def test_width_scales_the_blocks() -> None:
    network = SpeedNet(width=0.5)
    assert [network.block1.conv1.out_channels, network.head.in_features] == [32, 128]


def test_whitening_filters_give_uncorrelated_maps_of_unit_variance_and_their_negatives() -> None:
    network, images = SpeedNet(), correlated_images()
    network.initialize_from(images)
    maps = nn.functional.conv2d(images, network.whitening.weight).permute(1, 0, 2, 3).flatten(1)
    torch.testing.assert_close(maps[:12], -maps[12:])
    covariance = maps[:12] @ maps[:12].T / maps.shape[1]
    torch.testing.assert_close(covariance, torch.eye(12), atol=0.01, rtol=0)


@pytest.mark.parametrize(("eps", "least", "most"), [(1e-8, 0.9, 1.1), (5e-4, 0.05, 0.15), (2e-2, 0, 0.01)])
def test_whitening_eps_keeps_components_of_small_variance_faint(eps: float, least: float, most: float) -> None:
    torch.manual_seed(0)
    images = torch.randn(500, 3, 8, 8)
    images[:, 2] = images[:, 1] + 0.01 * torch.randn(500, 8, 8)  # so 4 of the 12 components vary by 0.00005
    network = SpeedNet(whitening_eps=eps)
    network.initialize_from(images)
    variances = nn.functional.conv2d(images, network.whitening.weight)[:, :12].var((0, 2, 3))
    assert (variances[:8] > 0.9).all()
    assert ((least <= variances[8:]) & (variances[8:] <= most)).all()


def test_the_norms_statistics_move_by_their_momentum() -> None:
    network = SpeedNet(width=0.25, norm_momentum=0.1)
    network(torch.randn(4, 3, 32, 32))
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) == 6
    for norm in norms:
        assert norm.running_var is not None
        assert (norm.running_var >= 0.9).all()  # from 1


@pytest.mark.parametrize(
    "wrong", [{"whitening_eps": 0}, {"whitening_eps": -0.1}, {"norm_momentum": 0}, {"norm_momentum": 1.5}]
)
def test_values_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(RequestError, match=f"model.{next(iter(wrong))} must be above 0"):
        build({"_target_": "cnnlab.models.speednet.SpeedNet", **wrong}, "model")


def test_the_components_that_vary_most_come_first() -> None:
    network, images = SpeedNet(), correlated_images()
    network.initialize_from(images)
    norms = network.whitening.weight[:12].flatten(1).norm(dim=1)  # the more a component varies, the less it is scaled
    assert (norms.diff() > 0).all()


def test_filters_start_as_the_identity() -> None:
    torch.manual_seed(0)
    network = SpeedNet()
    x = torch.rand(2, 64, 8, 8)
    torch.testing.assert_close(network.block2.conv1(x)[:, :64], x)
    beyond = network.block2.conv1.weight[64:]
    assert beyond.std().item() == pytest.approx((1 / (3 * 64 * 9)) ** 0.5, rel=0.05)


def test_everything_but_whitening_filters_and_scales_is_trained() -> None:
    torch.manual_seed(0)
    network = SpeedNet(width=0.25)
    network.initialize_from(correlated_images())
    nn.functional.cross_entropy(network(torch.randn(4, 3, 32, 32)), torch.arange(4)).backward()
    frozen = {name for name, p in network.named_parameters() if not p.requires_grad}
    assert frozen == {"whitening.weight", *(f"block{b}.norm{n}.weight" for b in (1, 2, 3) for n in (1, 2))}
    for name, parameter in network.named_parameters():
        if name not in frozen:
            assert parameter.grad is not None, name
            assert parameter.grad.abs().max() > 0, name


def test_other_channels_classes_and_sizes_work() -> None:
    network = SpeedNet(in_channels=1, num_classes=7, width=0.25).eval()
    network.initialize_from(correlated_images(channels=1))
    for size in (9, 28, 64):
        assert network(torch.zeros(2, 1, size, size)).shape == (2, 7)
    with pytest.raises(RuntimeError):
        network(torch.zeros(2, 1, 8, 8))
