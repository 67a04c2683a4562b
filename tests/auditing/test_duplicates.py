"""Test that a picture is found again after usual changes, and that others are not taken for it."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from cnnlab.auditing import duplicates
from cnnlab.auditing.duplicates import correlate_details, exact_groups, near_pairs
from cnnlab.auditing.survey import Survey, survey
from cnnlab.data.images import ImageData, Images


def photograph(seed: int) -> np.ndarray:
    """Return noise at all scales, less of the finer ones, as photographs have it, uint8 (64, 64, 3)."""
    random = np.random.default_rng(seed)
    layers = [random.normal(0, 160 / side**0.75, (side, side, 3)) for side in (4, 8, 16, 32)]
    grown = sum(np.kron(layer, np.ones((64 // len(layer), 64 // len(layer), 1))) for layer in layers)
    return (128 + np.asarray(grown)).clip(0, 255).astype(np.uint8)


def compressed(pixels: np.ndarray) -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=60)
    return np.asarray(Image.open(stream))


CHANGES = {
    "brighter": lambda x: (x * 0.7 + 60).astype(np.uint8),
    "compressed": compressed,
    "mirrored": lambda x: x[:, ::-1],
    "shifted": lambda x: np.roll(x, (2, -2), (0, 1)),
    "grey": lambda x: np.repeat(x.mean(2, keepdims=True).astype(np.uint8), 3, 2),
}


def look_at(pictures: list[np.ndarray]) -> Survey:
    pixels = torch.from_numpy(np.stack(pictures))
    labels = torch.arange(len(pixels)) % 2
    return survey(
        ImageData(Images.decoded(pixels[:-1], labels[:-1]), Images.decoded(pixels[-1:], labels[-1:]), ("a", "b"), "")
    )


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_picture_is_found_again(change):
    others = [photograph(seed) for seed in range(1, 12)]
    pairs = near_pairs(look_at([photograph(0), *others, CHANGES[change](photograph(0))]), 0.55)
    assert [(pair.first, pair.second) for pair in pairs] == [(0, 12)]
    assert 0.55 <= pairs[0].score <= 1


def test_features_find_what_small_copies_do_not(monkeypatch):
    monkeypatch.setattr(duplicates, "COARSE", 1.1)  # no candidates from pixels
    found = look_at([photograph(seed) for seed in range(5)] + [compressed(photograph(2))])
    features = torch.eye(6)
    assert near_pairs(found, 0.55, features) == []
    features[5] = features[2]
    features[4] = features[0]  # similar to the network, but another picture
    assert [(pair.first, pair.second) for pair in near_pairs(found, 0.55, features)] == [(2, 5)]


def test_equal_pixels_are_one_group_and_no_near_duplicates():
    found = look_at([photograph(1), photograph(0), photograph(1), photograph(2), photograph(1)])
    assert [group.tolist() for group in exact_groups(found)] == [[0, 2, 4]]
    assert near_pairs(found, 0.55) == []


@pytest.mark.parametrize("width", [4, 8])
def test_a_common_frame_or_horizon_makes_no_duplicates(width):
    pictures = [photograph(seed) for seed in range(8)]
    for picture in pictures[:4]:
        picture[:width], picture[-width:], picture[:, :width], picture[:, -width:] = 255, 255, 255, 255
    for picture in pictures[4:]:
        picture[:] = picture // 8 + np.where(np.arange(64) < 30 + width // 4, 200, 40)[:, None, None]
    assert near_pairs(look_at(pictures), 0.55) == []


def test_details_of_one_picture_correlate_at_any_shift_within_reach():
    picture = torch.from_numpy(photograph(3)).float().mean(2)[None]
    shifted = torch.cat([picture.roll(shift, 2) for shift in (0, 2, 5, 20)])
    scores = correlate_details(picture.expand(4, -1, -1), shifted)
    assert scores[0] == pytest.approx(1, abs=1e-4) and (scores[1:3] > 0.8).all() and scores[3] < 0.3


def test_candidates_are_limited_for_images_that_are_all_alike(monkeypatch):
    monkeypatch.setattr(duplicates, "ROWS", 16)
    monkeypatch.setattr(duplicates, "COLUMNS", 24)
    rows = torch.nn.functional.normalize(torch.rand(100, 8) + 5)
    products, count = rows @ rows.T, 0
    for one, other in duplicates._candidates(rows, rows, 0.9, lambda _: None):
        assert (one < other).all() and one.bincount().max() <= duplicates.MOST
        count += len(one)
        for row in one.unique():
            best = products[row, row + 1 :].topk(min(duplicates.MOST, 99 - int(row))).values
            assert torch.allclose(products[row, other[one == row]].sort(descending=True).values, best)
    assert count == sum(min(duplicates.MOST, 99 - row) for row in range(100))


def test_tiny_images_are_only_compared_exactly():
    tiny = [photograph(0)[::8, ::8], photograph(0)[::8, ::8] // 2, photograph(1)[::8, ::8]]
    assert near_pairs(look_at(tiny), 0.55) == []
