from typing import Any

import pytest
import torch

from cnnlab.data.augmentations.resize import Resize
from cnnlab.data.epoch import Epoch


def test_a_size_holds_from_its_epoch_on() -> None:
    resize = Resize([[1, 20], [3, 24], [4, 32]])
    sizes = [resize.draw(torch.Generator(), Epoch(1, 32, seed=0, number=epoch)) for epoch in range(6)]
    assert sizes == [{}, {"size": 20}, {"size": 20}, {"size": 24}, {}, {}]


def test_resizing_keeps_the_content() -> None:
    left_to_right = torch.linspace(-1, 1, 32).expand(2, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    small = Resize([]).apply(left_to_right, 16)
    assert small.shape == (2, 3, 16, 16)
    assert small.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(small.mean(), left_to_right.mean())
    assert (small.diff(dim=-1) > 0).all()


@pytest.mark.parametrize(
    "sizes", [[[0, 20], [0, 24]], [[4, 20], [2, 24]], [[0]], [[0, -20]], [[0, 0]], [[-1, 20]], [24], 24]
)
def test_wrong_sizes_are_refused(sizes: Any) -> None:
    with pytest.raises(ValueError, match=r"sizes must be \[epoch, pixels\] pairs with rising epochs, got "):
        Resize(sizes)
