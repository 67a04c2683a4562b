from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from cnnlab.inference import embedding_report as embeddings
from cnnlab.inference.embedding_report import draw_map, map_to_plane, save_embeddings


@pytest.mark.parametrize("classes", [3, 40])
def test_the_legend_of_a_map_lists_the_classes_present(classes: int) -> None:
    names = [f"kind{number}" for number in range(classes)]
    labels = np.arange(100) % (classes - 1)  # the last class is not there
    places = np.random.default_rng(0).normal(size=(100, 2))
    for predicted, more in ((labels, []), (labels[::-1], ["misclassified"])):
        (axes,) = draw_map(places, labels, predicted, names, "a map").axes
        legend = axes.get_legend()
        assert legend is not None
        assert [text.get_text() for text in legend.get_texts()] == names[:-1] + more
        assert axes.get_title(loc="left") == "a map"


@pytest.mark.parametrize("size", [8, 100])
def test_embeddings_are_saved_drawn_and_projected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(embeddings, "MOST_MAPPED", 9)
    features = torch.randn(12, 5, generator=torch.Generator().manual_seed(0))
    labels, predicted = torch.arange(12) % 2, torch.zeros(12, dtype=torch.long)
    read: list[list[int]] = []

    def pixels(positions: torch.Tensor) -> torch.Tensor:
        read.append(positions.tolist())
        return torch.full((len(positions), size, size, 3), 255, dtype=torch.uint8)

    save_embeddings(tmp_path, "net", features, labels, predicted, ("cat", "dog"), pixels)
    read.clear()  # and again, in the place of the first
    said = save_embeddings(tmp_path, "net", features, labels, predicted, ("cat", "dog"), pixels)
    assert said == {"features": 5, "map": "t-SNE", "mapped_images": 9}
    saved = np.load(tmp_path / "embeddings.npz")
    assert np.array_equal(saved["features"], features.numpy())
    assert np.array_equal(saved["labels"], labels.numpy())
    assert imread(tmp_path / "embeddings.png").std() > 0.02
    config = (tmp_path / "tensorboard" / "projector_config.pbtxt").read_text()
    assert config.count("tensor_name") == 1
    (folder,) = (tmp_path / "tensorboard").glob("*/embeddings")
    shown = np.loadtxt(folder / "tensors.tsv")
    assert np.allclose(shown, features[read[0]])
    rows = [line.split("\t") for line in (folder / "metadata.tsv").read_text().splitlines()]
    assert rows[0] == ["class", "predicted", "correct"]
    assert [row[0] for row in rows[1:]] == [("cat", "dog")[number % 2] for number in read[0]]
    assert (read[0][0], read[0][-1], len(read[0])) == (0, 11, 9)
    side = 3 * min(size, embeddings.THUMBNAIL)
    assert imread(folder / "sprite.png").shape[:2] == (side, side)


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
