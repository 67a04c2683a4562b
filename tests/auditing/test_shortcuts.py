"""Test that properties of files that give the class away are told from those that do not."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from cnnlab.auditing.shortcuts import beyond_chance, find_shortcuts
from cnnlab.auditing.survey import survey
from cnnlab.data.images import ImageData, Images

IMAGES = 120


def files(size=lambda label: (20, 20), suffix=lambda label: "PNG", border=lambda label: 0) -> ImageData:
    """Return files of noise, in three classes of equal size."""
    random, items, labels = np.random.default_rng(0), [], []
    for number in range(IMAGES):
        label = number % 3
        pixels = random.integers(0, 256, (*size(label), 3), dtype=np.uint8)
        if width := border(label):
            pixels[:width] = pixels[-width:] = 255
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, suffix(label))
        items.append(stream.getvalue())
        labels.append(label)
    of_class, rows = torch.tensor(labels), torch.arange(IMAGES)
    return ImageData(Images(items, of_class, rows, 20), Images(items, of_class[:3], rows[:3], 20), ("a", "b", "c"), "")


@pytest.mark.parametrize(
    ("data", "property", "accuracy"),
    [
        (files(size=lambda label: (20 + label, 20)), "size in pixels", 1),
        (files(suffix=lambda label: ("PNG", "BMP", "PNG")[label]), "format and colour mode", 2 / 3),
        (files(border=lambda label: 2 * (label == 1)), "plain border", 2 / 3),
    ],
    ids=["size", "format", "border"],
)
def test_a_property_that_gives_classes_away_is_found(data, property, accuracy):
    one = next(found for found in find_shortcuts(survey(data)) if found.property == property)
    assert one.found and one.accuracy == pytest.approx(accuracy) and one.p == pytest.approx(1e-4)
    assert any(f"{name}\n" in one.rule for name in "abc")


def test_a_property_that_differs_at_random_is_none():
    sizes = iter(np.random.default_rng(1).integers(20, 40, IMAGES).tolist())
    found = find_shortcuts(survey(files(size=lambda label: (next(sizes), 20))))
    assert {one.property for one in found} >= {"size in pixels"} and not any(one.found for one in found)


def test_chance_is_as_often_beyond_as_the_level_says():
    random = np.random.default_rng(2)
    values = [beyond_chance(random.integers(0, 3, 90), random.integers(0, 3, 90))[1] for _ in range(100)]
    assert 0 <= sum(p <= 0.1 for p in values) <= 20


def test_classes_of_different_sizes_weigh_the_same():
    labels = np.array([0] * 90 + [1] * 10)
    assert beyond_chance(np.zeros(100, int), labels) == (0.5, 1.0)
    accuracy, p = beyond_chance(labels, labels)
    assert accuracy == 1 and p == pytest.approx(1e-4)
