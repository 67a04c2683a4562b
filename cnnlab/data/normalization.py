"""From bytes to the numbers that a network sees."""

import torch
from torch import Tensor


class Normalization:
    """Brings pixels to mean 0 and deviation 1, channel by channel.

    Args:
        mean: per channel, of pixels in [0, 1].
        std: per channel, of pixels in [0, 1].
        width: of the images, in pixels.
        device: of the images.
    """

    def __init__(self, mean: Tensor, std: Tensor, width: int, device: torch.device | str = "cpu"):
        # One factor and one offset for each value of a row of pixels: a row is contiguous, so this is one fast pass.
        self.scale = (1 / (255 * std)).repeat(width).to(device, torch.float32)
        self.offset = (-mean / std).repeat(width).to(device, torch.float32)

    def __call__(self, pixels: Tensor) -> Tensor:
        """uint8 (B, H, W, C) to float32 (B, C, H, W), in channels_last layout."""
        b, h, w, c = pixels.shape
        rows = pixels.reshape(b, h, w * c).float().mul_(self.scale).add_(self.offset)
        return rows.view(b, h, w, c).permute(0, 3, 1, 2)
