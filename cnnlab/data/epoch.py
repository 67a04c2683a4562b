"""Describe an epoch, and draw its random numbers from the seed and the epoch alone."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Epoch:
    """Describe the epoch that random decisions are drawn for."""

    images: int
    size: int  # height and width of the images in pixels
    seed: int  # of the run
    number: int  # from 0


def seeded_generator(seed: int, epoch: int, stream: int) -> torch.Generator:
    """Return a generator on the CPU that depends on nothing but its arguments; `stream` keeps purposes apart."""
    state = seed
    for part in (epoch, stream):
        state = (state * 6364136223846793005 + part + 1442695040888963407) % 2**63
    return torch.Generator().manual_seed(state)
