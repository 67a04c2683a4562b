"""Find the images whose features are most similar to those of another image."""

import torch
from torch import Tensor

CHUNK = 65536  # known images that are compared at a time, to bound the memory


def scale_to_unit_length(features: Tensor) -> Tensor:
    """Scale each row to length 1, in place, so that a large set is held only once; return the same tensor."""
    return features.div_(features.norm(dim=1, keepdim=True).clamp_min_(1e-12))


def find_nearest(known: Tensor, queries: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Find the known images with the smallest cosine distance to each query.

    Args:
        known: features scaled by `scale_to_unit_length`, float32 (N, D).
        queries: features of other images, float32 (B, D).
        count: neighbours per query; N if that is smaller.

    Returns:
        Distances, float32 (B, count) in [0, 2], nearest first (0: same direction; 1: orthogonal), and positions among
        the known images, int64 (B, count).
    """
    queries = scale_to_unit_length(queries.clone())
    similarities, positions = torch.empty(len(queries), 0), torch.empty(len(queries), 0, dtype=torch.int64)
    for start in range(0, len(known), CHUNK):
        found = queries @ known[start : start + CHUNK].T
        candidates = torch.cat([similarities, found], dim=1)
        places = torch.arange(start, start + found.shape[1]).expand(len(queries), -1)
        similarities, kept = candidates.topk(min(count, candidates.shape[1]), dim=1)
        positions = torch.cat([positions, places], dim=1).gather(1, kept)
    return (1 - similarities).clamp_(0, 2), positions
