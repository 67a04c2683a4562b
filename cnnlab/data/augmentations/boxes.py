"""Find the pixels that lie in boxes."""

import torch
from torch import Tensor


def in_boxes(boxes: Tensor, images: Tensor) -> Tensor:
    """Return which pixels lie in the box of their image.

    Args:
        boxes: top, left, bottom and right of each image's box, (B, 4).
        images: (B, C, H, W).

    Returns:
        bool (B, 1, H, W).
    """
    top, left, bottom, right = boxes[:, :, None].unbind(1)
    rows = torch.arange(images.shape[-2], device=images.device)
    columns = torch.arange(images.shape[-1], device=images.device)
    in_rows, in_columns = (rows >= top) & (rows < bottom), (columns >= left) & (columns < right)
    return (in_rows[:, :, None] & in_columns[:, None, :])[:, None]
