import pytest
import torch
from torch import Tensor

from cnnlab.data.augmentations.blanking import Cutout, Erasing
from cnnlab.data.epoch import Epoch, seeded_generator


@pytest.mark.parametrize("side", [1, 3, 4, 20])
def test_cutout_blanks_a_square_that_may_reach_over_the_border(side: int) -> None:
    centres = torch.cartesian_prod(torch.arange(8), torch.arange(8))  # with borders and corners
    images = torch.rand(len(centres), 3, 8, 8, generator=torch.Generator().manual_seed(0)) + 1
    expected = images.clone()
    for image, (row, column) in zip(expected, centres.tolist(), strict=True):
        top, left = row - side // 2, column - side // 2
        image[:, max(0, top) : max(0, top + side), max(0, left) : max(0, left + side)] = 0
    assert torch.equal(Cutout(side).apply(images, centres), expected)


def test_centres_cover_the_whole_image() -> None:
    centres = Cutout(8).draw(torch.Generator(), Epoch(5000, 32, seed=0, number=0))["centres"]
    assert centres.unique().tolist() == list(range(32))


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
    share = areas(boxes[erased]).float()
    assert 0.138 < share.mean() < 0.152  # 14.5 % by the rule of the paper, 20.2 % by that of torchvision
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
