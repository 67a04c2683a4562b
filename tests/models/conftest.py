from collections.abc import Callable

import pytest
import torch
from torch import nn


@pytest.fixture
def assert_trains() -> Callable[[nn.Module, int], None]:
    """Check that one batch gives every parameter of a network a finite gradient other than zero."""

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


@pytest.fixture
def assert_same_network() -> Callable[[nn.Module, nn.Module], None]:
    """Check that two networks have the same weights, outputs at 224 pixels and gradients."""

    def check(ours: nn.Module, theirs: nn.Module) -> None:
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():  # so that the norms' statistics are not only zeros and ones
            theirs.train()(torch.randn(4, 3, 64, 64, generator=generator))
        weights = {name: value.clone() for name, value in theirs.state_dict().items()}
        ours.load_state_dict(weights, assign=True)
        images = torch.randn(1, 3, 224, 224, generator=generator)
        outputs = [network.eval()(images) for network in (ours, theirs)]
        torch.testing.assert_close(outputs[0], outputs[1], atol=1e-5, rtol=1e-5)
        for output in outputs:
            nn.functional.cross_entropy(output, torch.tensor([3])).backward()
        gradients = [dict(network.named_parameters()) for network in (ours, theirs)]
        for name in weights:
            if name in gradients[1]:
                torch.testing.assert_close(gradients[0][name].grad, gradients[1][name].grad, atol=1e-5, rtol=1e-3)

    return check
