from pathlib import Path

import pytest
import torch

from cnnlab.build.network import build_network
from cnnlab.data.images import ImageData
from cnnlab.inference.scoring import DIRECTIONS, Clock, chosen_tta, move, run_network
from cnnlab.inference.trained import TrainedNetwork
from cnnlab.training.tta import tta_logits


@pytest.fixture(scope="module")
def net(sample: ImageData) -> TrainedNetwork:
    model = {"_target_": "cnnlab.models.lenet.LeNet5"}
    about = {"classes": sample.classes, "image_size": 32, "mean": [0.5] * 3, "std": [0.25] * 3, "model": model}
    torch.manual_seed(0)
    network = build_network(model, len(sample.classes))
    return TrainedNetwork(network, about | {"data_fingerprint": ""}, torch.device("cpu"), "32-true", Path("x.ckpt"))


def test_logits_are_the_networks_own_in_the_order_of_the_images(net: TrainedNetwork, sample: ImageData) -> None:
    expected = net.logits(sample.test.pixels)
    for batch_size in (7, 1000):
        outputs = run_network(net, sample.test, batch_size)
        torch.testing.assert_close(outputs.logits, expected, rtol=1e-4, atol=1e-5)
        assert (outputs.tta_logits, outputs.features) == (None, None)
        assert outputs.images_per_second > 0


@pytest.mark.parametrize(("asked", "views"), [(True, "flip_translate"), ("flip", "flip")])
def test_augmented_logits_are_computed_beside_the_plain_ones(
    net: TrainedNetwork, sample: ImageData, asked: bool, views: str
) -> None:
    clock = Clock()
    outputs = run_network(net, sample.test, 16, asked, clock=clock)
    with torch.no_grad():
        expected = tta_logits(net.network, net.normalize(sample.test.pixels), views)  # pyright: ignore
    assert outputs.tta_logits is not None
    torch.testing.assert_close(outputs.tta_logits, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(outputs.logits, run_network(net, sample.test, 16).logits)
    assert clock["tta"] > 0 and clock["network"] > 0 and "data" in clock


def test_true_and_false_choose_a_kind_of_augmentation() -> None:
    assert [chosen_tta(asked) for asked in (True, False, "none", "flip")] == ["flip_translate", "none", "none", "flip"]


def test_features_are_kept_beside_the_same_logits(net: TrainedNetwork, sample: ImageData) -> None:
    outputs = run_network(net, sample.test, 16, embeddings=True)
    torch.testing.assert_close(outputs.logits, run_network(net, sample.test, 16).logits)
    assert outputs.features is not None
    torch.testing.assert_close(outputs.features, net.embed(sample.test.pixels.permute(0, 3, 1, 2)))


@pytest.mark.parametrize("by", [1, 2])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_content_is_shifted_and_the_border_reflected(direction, by):
    pixels = torch.randint(0, 256, (2, 5, 6, 3), dtype=torch.uint8)
    rows, columns = (by * step for step in DIRECTIONS[direction])
    padded = torch.nn.functional.pad(pixels.permute(0, 3, 1, 2).float(), (by,) * 4, mode="reflect")
    expected = padded[:, :, by - rows : by - rows + 5, by - columns : by - columns + 6].permute(0, 2, 3, 1)
    assert torch.equal(move(pixels, rows, columns).float(), expected)


def test_down_shifts_down():
    pixels = torch.arange(3).reshape(1, 3, 1, 1)
    assert move(pixels, 1, 0).flatten().tolist() == [1, 0, 1]
