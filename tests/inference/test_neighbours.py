import pytest
import torch

from cnnlab.inference import neighbours
from cnnlab.inference.neighbours import Neighbours


def test_distances_are_those_of_the_angles() -> None:
    known = Neighbours(torch.tensor([[5.0, 0.0], [0.0, 0.1], [-2.0, 0.0], [1.0, 1.0]]))
    distances, numbers = known.nearest(torch.tensor([[3.0, 0.0]]), 4)
    assert numbers.tolist() == [[0, 3, 1, 2]]
    torch.testing.assert_close(distances, torch.tensor([[0.0, 1 - 0.5**0.5, 1.0, 2.0]]))


@pytest.mark.parametrize("count", [1, 5, 100])
def test_parts_of_a_large_set_are_compared_as_the_whole(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(neighbours, "CHUNK", 7)
    random = torch.Generator().manual_seed(0)
    features, queries = torch.randn(30, 6, generator=random), torch.randn(4, 6, generator=random)
    distances, numbers = Neighbours(features.clone()).nearest(queries, count)
    expected = 1 - torch.nn.functional.cosine_similarity(queries[:, None], features[None], dim=2)
    closest = expected.sort(dim=1)
    assert torch.equal(numbers, closest.indices[:, :count])
    torch.testing.assert_close(distances, closest.values[:, :count])


def test_features_without_direction_are_far_from_everything() -> None:
    distances, _ = Neighbours(torch.tensor([[0.0, 0.0], [1.0, 0.0]])).nearest(torch.tensor([[0.0, 2.0]]), 2)
    assert distances.tolist() == [[1.0, 1.0]]
