"""Images that are moved by some pixels."""

import torch
from torch import Tensor

# Rows and columns that the content moves by, for one pixel.
DIRECTIONS = {"up": (-1, 0), "down": (1, 0), "left": (0, -1), "right": (0, 1)}


def move(pixels: Tensor, rows: int, columns: int) -> Tensor:
    """Moves the content of images down and to the right; at the border they are filled up by reflection.

    Args:
        pixels: (N, H, W, C).
        rows: fewer than H; negative to move up.
        columns: fewer than W; negative to move to the left.
    """
    height, width = pixels.shape[1:3]
    return pixels[:, _reflected(height, rows)][:, :, _reflected(width, columns)]


def _reflected(size: int, by: int) -> Tensor:
    """Which row each row is taken from."""
    places = (torch.arange(size) - by).abs()
    return size - 1 - (size - 1 - places).abs()
