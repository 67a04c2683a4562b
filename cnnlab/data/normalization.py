"""Normalize images, and compute the constants for it."""

from collections.abc import Iterable

import torch
from torch import Tensor


class Normalization:
    """Bring pixels to mean 0 and standard deviation 1 in each channel.

    Args:
        mean: mean of each channel, of pixels in [0, 1].
        std: standard deviation of each channel, of pixels in [0, 1].
        width: width of the images in pixels.
        device: device of the images.
    """

    def __init__(self, mean: Tensor, std: Tensor, width: int, device: torch.device | str = "cpu"):
        # One factor and one offset for each value of a row of pixels: a row is contiguous, so this is one fast pass.
        self.scale = (1 / (255 * std)).repeat(width).to(device, torch.float32)
        self.offset = (-mean / std).repeat(width).to(device, torch.float32)

    def __call__(self, pixels: Tensor) -> Tensor:
        """Turn values from 0 to 255, (B, H, W, C), into float32 (B, C, H, W), in channels_last layout."""
        b, h, w, c = pixels.shape
        rows = pixels.reshape(b, h, w * c).to(torch.float32, copy=True).mul_(self.scale).add_(self.offset)
        return rows.view(b, h, w, c).permute(0, 3, 1, 2)


def channel_statistics(parts: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each channel, float32 (3,) in [0, 1], of uint8 images (N, H, W, 3).

    Both are exact, from the counts of the 256 values. A channel that never varies gets the deviation 1.
    """
    counts = torch.zeros(3, 256, dtype=torch.int64)
    for part in parts:
        for channel in range(3):
            counts[channel] += torch.bincount(part[..., channel].flatten(), minlength=256)
    values = torch.arange(256, dtype=torch.float64) / 255
    shares = counts / counts.sum(dim=1, keepdim=True, dtype=torch.float64)
    mean = (shares * values).sum(dim=1)
    std = (shares * (values - mean[:, None]) ** 2).sum(dim=1).sqrt()
    return mean.float(), torch.where(std > 0, std, 1).float()
