"""Change batches by functions of the user."""

import contextlib
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cnnlab.data.epoch import Epoch
from cnnlab.errors import RequestError


@dataclass(frozen=True)
class Own:
    """Apply functions of float images (B, C, H, W) in [0, 1], one after the other.

    All generators of random numbers are seeded before, from (seed, epoch, batch), and left as they were.
    """

    functions: Sequence[Callable[[Tensor], Tensor]]

    stream = 9

    def draw(self, generator: torch.Generator, epoch: Epoch) -> dict[str, Any]:
        """Draw the `seed` of an epoch."""
        return {"seed": int(torch.randint(2**32, (), generator=generator))} if self.functions else {}

    def apply(self, pixels: Tensor, batch: int, seed: int) -> Tensor:
        """Change uint8 images (B, H, W, C); return their values from 0 to 255, float32 (B, H, W, C).

        Raises:
            RequestError: if a function returns anything but images of the same form.
        """
        images = pixels.permute(0, 3, 1, 2).float() / 255
        shape = images.shape
        with torch.no_grad(), seeded((seed + batch) % 2**32, images.device):
            for number, function in enumerate(self.functions):
                if isinstance(function, nn.Module):
                    function.to(images.device)
                images = function(images)
                if not isinstance(images, Tensor) or images.shape != shape or images.dtype != torch.float32:
                    found = f"{images.dtype} {tuple(images.shape)}" if isinstance(images, Tensor) else type(images)
                    raise RequestError(f"augmentation.then[{number}] must return float32 {tuple(shape)}, not {found}")
        return images.permute(0, 2, 3, 1) * 255


@contextlib.contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the generators of Python, numpy and torch inside of a block; restore them after it."""
    python, arrays = random.getstate(), np.random.get_state()
    on_cpu = device.type == "cpu"
    with torch.random.fork_rng([] if on_cpu else [device], device_type="cuda" if on_cpu else device.type):
        torch.default_generator.manual_seed(seed)
        if not on_cpu:
            torch.get_device_module(device).manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(arrays)
