import numpy as np
import pytest

from cnnlab.inference.embedding_map import map_to_plane


@pytest.fixture(scope="module")
def features() -> np.ndarray:
    """Return three groups of 20 images, far from each other in 60 dimensions."""
    random = np.random.default_rng(0)
    return (np.repeat(np.eye(3, 60) * 20, 20, axis=0) + random.normal(size=(60, 60))).astype(np.float32)


def test_similar_images_lie_together_and_the_map_is_deterministic(features: np.ndarray) -> None:
    places = map_to_plane(features)
    distances = np.linalg.norm(places[:, None] - places[None], axis=-1)
    np.fill_diagonal(distances, np.inf)
    assert places.shape == (60, 2)
    assert (distances.argmin(axis=1) // 20 == np.arange(60) // 20).all()
    assert np.array_equal(places, map_to_plane(features))


@pytest.mark.parametrize("width", [1, 5])
def test_few_images_and_few_features_can_be_mapped(features: np.ndarray, width: int) -> None:
    assert np.isfinite(map_to_plane(features[:8, :width])).all()


def test_too_few_images_are_refused(features: np.ndarray) -> None:
    with pytest.raises(ValueError, match="a map needs 8 images or more, got 7"):
        map_to_plane(features[:7])
