import pytest
import torch

from cnnlab.inference import classify
from cnnlab.inference.classify import find_nearest, scale_to_unit_length


def test_distances_are_cosine_distances() -> None:
    known = scale_to_unit_length(torch.tensor([[5.0, 0.0], [0.0, 0.1], [-2.0, 0.0], [1.0, 1.0]]))
    distances, positions = find_nearest(known, torch.tensor([[3.0, 0.0]]), 4)
    assert positions.tolist() == [[0, 3, 1, 2]]
    torch.testing.assert_close(distances, torch.tensor([[0.0, 1 - 0.5**0.5, 1.0, 2.0]]))


@pytest.mark.parametrize("count", [1, 5, 100])
def test_a_large_set_is_compared_in_chunks_with_the_same_result(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(classify, "CHUNK", 7)
    random = torch.Generator().manual_seed(0)
    features, queries = torch.randn(30, 6, generator=random), torch.randn(4, 6, generator=random)
    distances, positions = find_nearest(scale_to_unit_length(features.clone()), queries, count)
    expected = 1 - torch.nn.functional.cosine_similarity(queries[:, None], features[None], dim=2)
    closest = expected.sort(dim=1)
    assert torch.equal(positions, closest.indices[:, :count])
    torch.testing.assert_close(distances, closest.values[:, :count])


def test_features_of_zeros_have_distance_1_to_everything() -> None:
    known = scale_to_unit_length(torch.tensor([[0.0, 0.0], [1.0, 0.0]]))
    distances, _ = find_nearest(known, torch.tensor([[0.0, 2.0]]), 2)
    assert distances.tolist() == [[1.0, 1.0]]
