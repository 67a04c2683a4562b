"""Which images lie nearest to an image, as a network sees them."""

import torch
from torch import Tensor

CHUNK = 65536  # images that are compared at a time


class Neighbours:
    """Finds the nearest of some images by the cosine distance of their features.

    Args:
        features: float32 (N, D), such as `TrainedNetwork.embed` returns. They are scaled to length 1 in place, so that
            a large set is held only once.
    """

    def __init__(self, features: Tensor):
        self.features = _to_unit_length(features)

    def nearest(self, queries: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """The nearest images of each query, the nearest first.

        Args:
            queries: features of other images, float32 (B, D).
            count: of neighbours; all there are, where they are fewer.

        Returns:
            Distances, float32 (B, count) in [0, 2] (0: the same direction; 1: nothing in common), and the images'
            numbers, int64 (B, count).
        """
        queries = _to_unit_length(queries.clone())
        similarities, numbers = torch.empty(len(queries), 0), torch.empty(len(queries), 0, dtype=torch.int64)
        for start in range(0, len(self.features), CHUNK):
            found = queries @ self.features[start : start + CHUNK].T
            both = torch.cat([similarities, found], dim=1)
            places = torch.arange(start, start + found.shape[1]).expand(len(queries), -1)
            similarities, kept = both.topk(min(count, both.shape[1]), dim=1)
            numbers = torch.cat([numbers, places], dim=1).gather(1, kept)
        return (1 - similarities).clamp_(0, 2), numbers


def _to_unit_length(features: Tensor) -> Tensor:
    return features.div_(features.norm(dim=1, keepdim=True).clamp_min_(1e-12))
