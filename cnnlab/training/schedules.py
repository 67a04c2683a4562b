"""Learning rates by step. Each function takes the optimizer, the number of steps, and its own options.

The optimizer's `lr` is the peak; a schedule multiplies it by a factor in [0, 1].
"""

import math
from collections.abc import Callable

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler


def constant(optimizer: Optimizer, total_steps: int) -> LRScheduler:
    """The same rate all along."""
    return LambdaLR(optimizer, lambda step: 1.0)


def triangle(optimizer: Optimizer, total_steps: int, warmup: float = 0.2, final: float = 0.0) -> LRScheduler:
    """Rises in a line to the peak, then falls in a line.

    Args:
        optimizer: whose rates are set.
        total_steps: of the whole training.
        warmup: share of the steps in which the rate rises, in [0, 1).
        final: share of the peak that is left at the end, in [0, 1].
    """
    return _warmup_then(optimizer, total_steps, warmup, final, lambda progress: 1 - progress)


def cosine(optimizer: Optimizer, total_steps: int, warmup: float = 0.0, final: float = 0.0) -> LRScheduler:
    """Rises in a line to the peak, then falls along half a cosine (Loshchilov and Hutter 2017, SGDR, equation 5).

    With a warm-up of about 0.3 this is what is called one-cycle. Arguments as in `triangle`.
    """
    return _warmup_then(optimizer, total_steps, warmup, final, lambda progress: (1 + math.cos(math.pi * progress)) / 2)


def _warmup_then(
    optimizer: Optimizer, total_steps: int, warmup: float, final: float, fall: Callable[[float], float]
) -> LRScheduler:
    """`fall` maps the progress after the warm-up, 0 to 1, to a factor that goes from 1 to 0."""
    if not 0 <= warmup < 1:
        raise ValueError(f"warmup must be at least 0 and below 1, got {warmup}")
    if not 0 <= final <= 1:
        raise ValueError(f"final must be from 0 to 1, got {final}")
    rising = warmup * total_steps

    def factor(step: int) -> float:
        if step < rising:
            return (step + 1) / (rising + 1)
        progress = min(1.0, (step - rising) / max(1.0, total_steps - rising))
        return final + (1 - final) * fall(progress)

    return LambdaLR(optimizer, factor)
