"""Shift images by some pixels."""

import torch
from torch import Tensor

# Rows and columns by which a shift of one pixel moves the content.
DIRECTIONS = {"up": (-1, 0), "down": (1, 0), "left": (0, -1), "right": (0, 1)}


def move(pixels: Tensor, rows: int, columns: int) -> Tensor:
    """Shift the content of images down and to the right; fill the border by reflection.

    Args:
        pixels: (N, H, W, C).
        rows: fewer than H; negative shifts up.
        columns: fewer than W; negative shifts to the left.
    """
    height, width = pixels.shape[1:3]
    return pixels[:, _reflected(height, rows)][:, :, _reflected(width, columns)]


def _reflected(size: int, by: int) -> Tensor:
    """Return the index that each row or column is taken from."""
    places = (torch.arange(size) - by).abs()
    return size - 1 - (size - 1 - places).abs()
