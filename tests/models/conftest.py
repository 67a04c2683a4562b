from collections.abc import Callable

import pytest
import torch
from torch import nn


@pytest.fixture
def assert_trains() -> Callable[[nn.Module, int], None]:
    """Checks that one batch gives every parameter of a network a finite gradient that is not nothing."""

    def check(network: nn.Module, batch_size: int = 4) -> None:
        images = torch.randn(batch_size, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        loss = nn.functional.cross_entropy(network(images), torch.arange(batch_size) % 10)
        loss.backward()
        assert loss.isfinite()
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.abs().max() > 0, name

    return check
