import pytest
import torch
from torch import Tensor

from cnnlab.data.augmentations.erasing import Erasing
from cnnlab.data.epoch import Epoch, seeded_generator


def drawn(probability: float) -> Tensor:
    epoch = Epoch(4000, 32, seed=0, number=0)
    return Erasing(probability).draw(seeded_generator(0, 0, Erasing.stream), epoch)["boxes"]


def areas(boxes: Tensor) -> Tensor:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) / 32**2


def test_only_the_box_is_blanked() -> None:
    boxes = torch.tensor([[0, 0, 8, 8], [2, 1, 5, 7], [3, 3, 3, 3], [7, 0, 8, 1]])
    expected = torch.ones(4, 3, 8, 8)
    for image, (top, left, bottom, right) in zip(expected, boxes.tolist(), strict=True):
        image[:, top:bottom, left:right] = 0
    assert torch.equal(Erasing(1.0).apply(torch.ones(4, 3, 8, 8), boxes), expected)


def test_rectangles_have_the_sizes_of_the_paper_and_lie_inside_the_image() -> None:
    boxes = drawn(0.4)
    assert boxes.min() >= 0
    assert boxes.max() <= 32
    erased = areas(boxes) > 0
    assert 0.35 < erased.float().mean() < 0.45
    share = areas(boxes[erased])
    assert share.min() > 0.015
    assert 0.35 < share.max() < 0.42
    heights, widths = (boxes[erased][:, 2 + i] - boxes[erased][:, i] for i in range(2))
    assert 0.25 < (heights / widths).min() < 0.4
    assert 2.5 < (heights / widths).max() < 4
    assert boxes[erased][:, :2].min() == 0  # every border is reached
    assert boxes[erased][:, 2:].max() == 32


def test_erasing_always_or_never() -> None:
    assert (areas(drawn(1.0)) > 0).all()
    assert Erasing(0.0).draw(torch.Generator(), Epoch(10, 32, seed=0, number=0)) == {}


def test_a_probability_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="erasing must be from 0 to 1, got 1.5"):
        Erasing(1.5)
