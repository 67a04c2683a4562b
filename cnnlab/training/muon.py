"""Combine Muon for hidden layers and SGD for all other parameters in one optimizer."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.sgd import sgd

from cnnlab.limits import BelowOne, Count, NotNegative
from cnnlab.training.precision import auto_precision

# Jordan 2024, "Muon: an optimizer for hidden layers in neural networks": the tuned quintic.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
SMALLEST_NORM = 1e-7


class Muon(Optimizer):
    """Momentum with orthogonalized steps (Jordan 2024) for hidden layers; Nesterov SGD for all other parameters.

    A filter bank (out, in, k, k) counts as a matrix (out, in * k * k). The step's direction is the momentum with all
    its singular values brought close to 1, so that rare directions are learned as fast as frequent ones. The first and
    last layer and all vectors (biases, norms) use torch's SGD. torch.optim.Muon takes only matrices, one at a time, and
    Lightning runs only one optimizer; this class serves all parameters at once.

    Args:
        params: groups of `cnnlab.training.optimizers.parameter_groups`; Muon takes those with `hidden` true. Of
            parameters without groups, Muon takes those of two or more dimensions.
        lr: of hidden layers; times sqrt(out / in) if the matrix is taller than wide. The gradient's length does not
            change the length of a step.
        momentum: of hidden layers, in [0, 1).
        nesterov: whether hidden layers use Nesterov momentum.
        weight_decay: of hidden layers; a step shrinks them by lr * weight_decay.
        ns_steps: Newton-Schulz iterations.
        normalize_weights: scale every hidden matrix to the norm sqrt(out) before each step, in place of weight decay
            (as Jordan's airbench94_muon does). For networks with a norm after every hidden layer.
        sgd_lr: of the other parameters.
        sgd_momentum: of the other parameters, in [0, 1); Nesterov momentum unless 0.
        sgd_weight_decay: of the other parameters, added to the gradient.
    """

    separate_hidden = True  # tells `build_optimizer` to mark which groups are hidden layers

    def __init__(
        self,
        params: Iterable[Any],
        lr: NotNegative = 0.02,
        momentum: BelowOne = 0.95,
        nesterov: bool = True,
        weight_decay: NotNegative = 0.0,
        ns_steps: Count = 5,
        normalize_weights: bool = False,
        sgd_lr: NotNegative = 0.1,
        sgd_momentum: BelowOne = 0.9,
        sgd_weight_decay: NotNegative = 0.0,
    ):
        self.ns_steps, self.normalize_weights = ns_steps, normalize_weights
        hidden = {"lr": lr, "momentum": momentum, "nesterov": nesterov, "weight_decay": weight_decay}
        others = {"lr": sgd_lr, "momentum": sgd_momentum, "nesterov": sgd_momentum > 0}
        others["weight_decay"] = sgd_weight_decay
        groups = list(params)
        if not isinstance(groups[0], dict):
            matrices, vectors = [p for p in groups if p.ndim >= 2], [p for p in groups if p.ndim < 2]
            groups = [{"params": matrices, "hidden": True}, {"params": vectors, "hidden": False}]
        super().__init__([(hidden if group["hidden"] else others) | group for group in groups], hidden)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """Update all parameters that have a gradient, without waiting for the device."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            update = self._muon_step if group["hidden"] else self._sgd_step
            if params := [p for p in group["params"] if p.grad is not None]:
                update(params, [p.grad for p in params], group)
        return loss

    def _muon_step(self, params: list[Tensor], gradients: list[Tensor], group: dict[str, Any]) -> None:
        momenta = [self._momentum_buffer(p) for p in params]
        torch._foreach_mul_(momenta, group["momentum"])  # pyright: ignore[reportPrivateImportUsage]
        torch._foreach_add_(momenta, gradients)  # pyright: ignore[reportPrivateImportUsage]
        directions = momenta
        if group["nesterov"]:
            directions = torch._foreach_add(gradients, momenta, alpha=group["momentum"])  # pyright: ignore
        if self.normalize_weights:
            for p in params:
                p.mul_(len(p) ** 0.5 / p.norm().clamp_min(SMALLEST_NORM))
        if group["weight_decay"]:
            torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])  # pyright: ignore
        by_shape: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = defaultdict(list)
        for p, direction in zip(params, directions, strict=True):
            by_shape[len(p), p[0].numel()].append((p, direction))
        for (height, width), pairs in by_shape.items():
            updates = orthogonalized(torch.stack([d.reshape(height, width) for _, d in pairs]), self.ns_steps)
            lr = group["lr"] * max(1, height / width) ** 0.5
            for (p, _), update in zip(pairs, updates, strict=True):
                p.add_(update.view(p.shape), alpha=-lr)

    def _sgd_step(self, params: list[Tensor], gradients: list[Tensor], group: dict[str, Any]) -> None:
        momenta = [self._momentum_buffer(p) if group["momentum"] else None for p in params]
        options = {name: group[name] for name in ("weight_decay", "momentum", "lr", "nesterov")}
        sgd(params, gradients, momenta, dampening=0.0, maximize=False, **options)

    def _momentum_buffer(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        return state["momentum_buffer"]


def orthogonalized(matrices: Tensor, steps: int = 5) -> Tensor:
    """Return approximately the nearest semi-orthogonal matrices: after five steps, singular values are 0.7 to 1.2.

    Uses a quintic Newton-Schulz iteration (Jordan 2024), in bfloat16 on devices that compute faster in it.

    Args:
        matrices: (N, height, width).
        steps: iterations; with fewer, small singular values stay small.

    Returns:
        (N, height, width), of the same dtype.
    """
    a, b, c = COEFFICIENTS
    in_bf16 = auto_precision(matrices.device.type) == "bf16-mixed"
    x = matrices.bfloat16() if in_bf16 else matrices
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.mT
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp_min(SMALLEST_NORM)  # makes all singular values 1 or less
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(matrices.dtype)
