from typing import Any

import pytest
import torch

from cnnlab.data.augmentations.resize import Resize
from cnnlab.data.epoch import Epoch


def sides(resize: Resize, epoch: int, share: float = 0.0) -> tuple[int, int]:
    """Return the size of images of 32 pixels a side in an epoch, after a share of the training."""
    draws = resize.draw(torch.Generator(), Epoch(1, 32, seed=0, number=epoch))
    height, width = resize.apply(torch.zeros(1, 3, 32, 32), share, **draws).shape[2:]
    return height, width


def test_a_size_holds_from_its_epoch_on() -> None:
    resize = Resize([[1, 20], [3, 24], [4, 32]])
    assert [sides(resize, epoch)[0] for epoch in range(6)] == [32, 20, 20, 24, 32, 32]


def test_a_size_holds_from_its_share_of_the_training_on() -> None:
    resize = Resize([[0, 16], [0.25, 24], [0.5, 32]])
    shares = (0, 0.249, 0.25, 0.499, 0.5, 1)
    assert [sides(resize, 7, share) for share in shares] == [(16, 16), (16, 16), (24, 24), (24, 24), (32, 32), (32, 32)]


def test_without_sizes_nothing_is_drawn() -> None:
    assert Resize([]).draw(torch.Generator(), Epoch(1, 32, seed=0, number=0)) == {}


def test_resizing_keeps_the_content() -> None:
    left_to_right = torch.linspace(-1, 1, 32).expand(2, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    small = Resize([[0, 16]]).apply(left_to_right, 0.0, 0)
    assert small.shape == (2, 3, 16, 16)
    assert small.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(small.mean(), left_to_right.mean())
    assert (small.diff(dim=-1) > 0).all()


@pytest.mark.parametrize(
    "sizes",
    [
        [[0, 20], [0, 24]],
        [[4, 20], [2, 24]],
        [[0]],
        [[0, -20]],
        [[0, 0]],
        [[-1, 20]],
        [[1.5, 20]],
        [[0, 20.5]],
        [24],
        24,
    ],
)
def test_wrong_sizes_are_refused(sizes: Any) -> None:
    with pytest.raises(
        ValueError, match=r"sizes must be \[time, pixels\] pairs with rising times, shares .* or epochs \(2\), got "
    ):
        Resize(sizes)
