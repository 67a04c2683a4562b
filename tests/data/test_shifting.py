"""Test that images are shifted, and their borders reflected."""

import pytest
import torch

from cnnlab.data.shifting import DIRECTIONS, move


@pytest.mark.parametrize("by", [1, 2])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_content_is_shifted_and_the_border_reflected(direction, by):
    pixels = torch.randint(0, 256, (2, 5, 6, 3), dtype=torch.uint8)
    rows, columns = (by * step for step in DIRECTIONS[direction])
    padded = torch.nn.functional.pad(pixels.permute(0, 3, 1, 2).float(), (by,) * 4, mode="reflect")
    expected = padded[:, :, by - rows : by - rows + 5, by - columns : by - columns + 6].permute(0, 2, 3, 1)
    assert torch.equal(move(pixels, rows, columns).float(), expected)


def test_down_shifts_down():
    pixels = torch.arange(3).reshape(1, 3, 1, 1)
    assert move(pixels, 1, 0).flatten().tolist() == [1, 0, 1]
