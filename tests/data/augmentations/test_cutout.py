import pytest
import torch

from cnnlab.data.augmentations.cutout import Cutout
from cnnlab.data.epoch import Epoch


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


def test_a_negative_side_is_refused() -> None:
    with pytest.raises(ValueError, match="cutout must be 0 or more pixels, got -1"):
        Cutout(-1)
