"""Train with weights in bfloat16 (`trainer.precision=bf16-true`), whose updates are added up in float32."""

from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.optim import LBFGS, Optimizer

from cnnlab.errors import RequestError


class HalfWeights(MixedPrecision):
    """Compute as in `bf16-mixed`, with weights and gradients that are in bfloat16 already.

    A weight in bfloat16 has two or three digits, so a small update would leave it as it is. Therefore every weight has
    a master in float32: the optimizer works on it, the average of the weights is one of masters, and checkpoints hold
    it. Batch norms stay in float32, weights and statistics.

    Args:
        device: kind of device, such as `cuda`.
    """

    def __init__(self, device: str):
        super().__init__("bf16-mixed", device)
        self.precision: Any = "bf16-true"

    def autocast_context_manager(self) -> torch.autocast:
        """Return the context of a step."""
        return torch.autocast(self.device, torch.bfloat16, cache_enabled=False)

    def convert_module(self, module: nn.Module) -> nn.Module:
        """Turn weights to bfloat16, and keep their masters. Lightning calls this before it makes the optimizer."""
        converts = False
        norms = {id(p) for norm in module.modules() if isinstance(norm, _NormBase) for p in norm.parameters()}
        for weight in module.parameters():
            if weight.dtype == torch.float32 and id(weight) not in norms:
                weight.master = nn.Parameter(weight.detach(), weight.requires_grad)  # pyright: ignore
                weight.data = weight.detach().bfloat16()
                converts = True
        if converts:  # not again before the test
            module.register_state_dict_post_hook(_save_masters)
            module.register_load_state_dict_pre_hook(_load_masters)
        return module


def master(weight: Tensor) -> Any:
    """Return the master of a weight, on its device; the weight itself if it has none."""
    found = getattr(weight, "master", weight)
    if found.device != weight.device:
        found.data = found.data.to(weight.device)
    return found


def half_weights(network: nn.Module) -> list[nn.Parameter]:
    """Return the weights of a network that have a master."""
    return [weight for weight in network.parameters() if hasattr(weight, "master")]


def follow_masters(optimizer: Optimizer, weights: Sequence[nn.Parameter]) -> None:
    """Copy the masters of weights to these after every step of the optimizer.

    Raises:
        RequestError: if the optimizer computes the loss within its step.
    """
    if weights and isinstance(optimizer, LBFGS):
        raise RequestError("optimizer: LBFGS does not work with trainer.precision=bf16-true; bf16-mixed does")

    @torch.no_grad()
    def follow(*_: Any) -> None:
        torch._foreach_copy_(weights, [weight.master for weight in weights])  # pyright: ignore

    if weights:
        optimizer.register_step_post_hook(follow)


def hand_over_gradients(weights: Sequence[nn.Parameter]) -> None:
    """Move the gradients of weights to their masters, in float32, before a step of the optimizer."""
    learning = [weight for weight in weights if weight.grad is not None]
    gradients = [torch.empty_like(weight.master) for weight in learning]  # pyright: ignore
    if learning:
        torch._foreach_copy_(gradients, [weight.grad for weight in learning])  # pyright: ignore
    for weight, gradient in zip(learning, gradients, strict=True):
        weight.master.grad, weight.grad = gradient, None  # pyright: ignore


def _masters(module: nn.Module) -> dict[str, Tensor]:
    return {name: weight.master for name, weight in module.named_parameters() if hasattr(weight, "master")}  # pyright: ignore


def _save_masters(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    state |= {prefix + name: value.detach() for name, value in _masters(module).items()}


def _load_masters(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    for name, value in _masters(module).items():
        if prefix + name in state:
            value.data.copy_(state[prefix + name])
