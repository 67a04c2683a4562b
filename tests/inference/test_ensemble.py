from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from cnnlab.errors import RequestError
from cnnlab.inference.ensemble import average_weights, check_members, combine
from cnnlab.inference.scoring import NetworkOutputs
from cnnlab.inference.trained import TrainedNetwork, load


def outputs(logits: torch.Tensor, tta: torch.Tensor | None = None) -> NetworkOutputs:
    return NetworkOutputs(logits, tta, None, images_per_second=30.0)


def test_the_answer_is_the_mean_of_the_probabilities() -> None:
    logits = 5 * torch.randn(3, 20, 4, generator=torch.Generator().manual_seed(0))
    found = combine([outputs(part, 2 * part) for part in logits])
    torch.testing.assert_close(found.logits.softmax(dim=1), logits.softmax(dim=2).mean(dim=0))
    assert found.tta_logits is not None
    torch.testing.assert_close(found.tta_logits.softmax(dim=1), (2 * logits).softmax(dim=2).mean(dim=0))
    assert found.images_per_second == pytest.approx(10)


@pytest.fixture
def network(tmp_path: Path, save_untrained: Callable[..., Path]) -> Callable[..., TrainedNetwork]:
    """Return a function that makes a network whose weights have one value."""

    def make(value: float, **about: object) -> TrainedNetwork:
        folder = tmp_path / str(value)
        folder.mkdir()
        net = load(save_untrained(folder, **about), "cpu", "32-true")
        for weight in net.network.parameters():
            weight.data.fill_(value)
        return net

    return make


def test_weights_are_averaged(network) -> None:
    net = average_weights([network(value) for value in (1.0, 2.0, 6.0)])
    assert all(bool((weight == 3).all()) for weight in net.network.parameters())


def test_networks_with_other_classes_do_not_answer_together(network) -> None:
    check_members([network(1.0), network(2.0)])
    with pytest.raises(RequestError, match="differ in classes"):
        check_members([network(3.0), network(4.0, classes=["cat", "dog", "cow"])])
