"""Pack the numbers of a network into two blocks that a page can hold."""

import base64

import torch
from torch import Tensor

LARGEST = 32767  # of 16 bits with a sign


class Store:
    """Collects weights, with 16 bits each, and single numbers, as float32.

    A weight is a whole number times the scale of its filter. This is as small as float16 and ten times as exact,
    because the weights of a filter are of similar size.
    """

    def __init__(self) -> None:
        self._weights: list[bytes] = []
        self._numbers: list[bytes] = []
        self.weights = self.numbers = 0  # how many there are

    def add_weights(self, weights: Tensor) -> dict[str, int]:
        """Add weights (filters, ...); return where they begin among the weights, and their scales among the numbers."""
        rows = weights.detach().double().flatten(1)
        scales = (rows.abs().amax(dim=1) / LARGEST).float().double()
        whole = (rows / torch.where(scales > 0, scales, 1)[:, None]).round().clamp(-LARGEST, LARGEST)
        place = {"at": self.weights, "scale": self.add_numbers(scales)}
        self._weights.append(whole.to(torch.int16).cpu().numpy().astype("<i2").tobytes())
        self.weights += rows.numel()
        return place

    def add_numbers(self, numbers: Tensor) -> int:
        """Add float32 numbers; return where they begin."""
        begin = self.numbers
        self._numbers.append(numbers.detach().float().flatten().cpu().numpy().astype("<f4").tobytes())
        self.numbers += numbers.numel()
        return begin

    def texts(self) -> tuple[str, str]:
        """Return weights and numbers as base64."""
        return tuple(base64.b64encode(b"".join(parts)).decode() for parts in (self._weights, self._numbers))  # pyright: ignore[reportReturnType]
