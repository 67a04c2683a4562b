"""Schedule the learning rate by step. Each function takes the optimizer, the number of steps, and its own options.

The optimizer's `lr` is the peak; a schedule multiplies it by a factor in [0, 1].
"""

import math
from collections.abc import Callable
from typing import Annotated

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from cnnlab.limits import AboveZero, BelowOne, Share


def constant(optimizer: Optimizer, total_steps: int) -> LRScheduler:
    """Keep the same rate throughout."""
    return LambdaLR(optimizer, lambda step: 1.0)


def triangle(optimizer: Optimizer, total_steps: int, warmup: BelowOne = 0.2, final: Share = 0.0) -> LRScheduler:
    """Rise linearly to the peak, then fall linearly.

    Args:
        optimizer: its rates are scheduled.
        total_steps: of the whole training.
        warmup: share of the steps in which the rate rises, in [0, 1).
        final: share of the peak that remains at the end, in [0, 1].
    """
    return _warmup_then(optimizer, total_steps, warmup, final, lambda progress: 1 - progress)


def cosine(optimizer: Optimizer, total_steps: int, warmup: BelowOne = 0.0, final: Share = 0.0) -> LRScheduler:
    """Rise linearly to the peak, then fall along half a cosine (Loshchilov and Hutter 2017, SGDR, equation 5).

    With a warm-up of about 0.3, this is known as one-cycle. Arguments as in `triangle`.
    """
    return _warmup_then(optimizer, total_steps, warmup, final, lambda progress: (1 + math.cos(math.pi * progress)) / 2)


def multistep(
    optimizer: Optimizer,
    total_steps: int,
    milestones: Annotated[list[float] | tuple[float, ...], "(0, 1)"] = (0.5, 0.75),
    gamma: AboveZero = 0.1,
    warmup: BelowOne = 0.0,
    warmup_factor: AboveZero = 0.1,
) -> LRScheduler:
    """Keep the rate constant between milestones and reduce it at each (He et al. 2015, section 4.2).

    Args:
        optimizer: its rates are scheduled.
        total_steps: of the whole training.
        milestones: rising shares of the steps, in (0, 1).
        gamma: factor on the rate at each milestone, in (0, 1].
        warmup: share of the steps, at the beginning, with a lower rate, in [0, 1).
        warmup_factor: share of the peak during the warm-up, in (0, 1].
    """
    if list(milestones) != sorted(set(milestones)):
        raise ValueError(f"milestones must be rising shares of the steps, got {list(milestones)}")

    def factor(step: int) -> float:
        if step < round(warmup * total_steps):
            return warmup_factor
        return gamma ** sum(step >= round(share * total_steps) for share in milestones)

    return LambdaLR(optimizer, factor)


def _warmup_then(
    optimizer: Optimizer, total_steps: int, warmup: float, final: float, fall: Callable[[float], float]
) -> LRScheduler:
    """Rise linearly, then follow `fall`, which maps the progress after the warm-up, 0 to 1, to a factor, 1 to 0."""
    rising = warmup * total_steps

    def factor(step: int) -> float:
        if step < rising:
            return (step + 1) / (rising + 1)
        progress = min(1.0, (step - rising) / max(1.0, total_steps - rising))
        return final + (1 - final) * fall(progress)

    return LambdaLR(optimizer, factor)
