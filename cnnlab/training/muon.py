"""Muon for the hidden layers of a network and SGD for the rest, in one optimizer."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.sgd import sgd

from cnnlab.training.precision import auto_precision

# Jordan 2024, "Muon: an optimizer for hidden layers in neural networks", the tuned quintic.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
SMALLEST_NORM = 1e-7


class Muon(Optimizer):
    """Momentum whose steps are orthogonalized (Jordan 2024) for hidden layers; Nesterov SGD for everything else.

    A filter bank (out, in, k, k) counts as the matrix (out, in * k * k). The direction of a step is the momentum with
    all its singular values brought near 1, so that rare directions are followed as fast as frequent ones. The first
    and the last layer and all vectors (biases, norms) are left to SGD, which is torch's own. torch.optim.Muon takes
    matrices only, one after the other, and no other parameters; Lightning runs one optimizer; hence this one.

    Args:
        params: groups as `cnnlab.training.optimizers.parameter_groups` makes them: those with `hidden` true are
            Muon's. Parameters without groups are Muon's if they have two dimensions or more.
        lr: of the hidden layers; times sqrt(out / in) where a matrix is taller than wide. A step has the same length
            whatever the gradient's.
        momentum: of the hidden layers, in [0, 1).
        nesterov: whether the hidden layers look ahead.
        weight_decay: of the hidden layers; a step shrinks them by lr * weight_decay.
        ns_steps: Newton-Schulz iterations.
        normalize_weights: brings every hidden matrix to the norm sqrt(out) before each step, instead of weight decay
            (as Jordan's airbench94_muon does). For networks whose hidden layers are all followed by norms.
        sgd_lr: of the other parameters.
        sgd_momentum: of the other parameters, in [0, 1); Nesterov's, unless it is 0.
        sgd_weight_decay: of the other parameters, added to the gradient.
    """

    hidden_apart = True  # asks `build_optimizer` for groups that are marked

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.02,
        momentum: float = 0.95,
        nesterov: bool = True,
        weight_decay: float = 0.0,
        ns_steps: int = 5,
        normalize_weights: bool = False,
        sgd_lr: float = 0.1,
        sgd_momentum: float = 0.9,
        sgd_weight_decay: float = 0.0,
    ):
        rates = {"lr": lr, "sgd_lr": sgd_lr, "weight_decay": weight_decay, "sgd_weight_decay": sgd_weight_decay}
        for name, value in rates.items():
            if value < 0:
                raise ValueError(f"{name} must be 0 or more, got {value}")
        for name, value in {"momentum": momentum, "sgd_momentum": sgd_momentum}.items():
            if not 0 <= value < 1:
                raise ValueError(f"{name} must be at least 0 and below 1, got {value}")
        if ns_steps < 1:
            raise ValueError(f"ns_steps must be 1 or more, got {ns_steps}")
        self.ns_steps, self.normalize_weights = ns_steps, normalize_weights
        of_hidden = {"lr": lr, "momentum": momentum, "nesterov": nesterov, "weight_decay": weight_decay}
        of_others = {
            "lr": sgd_lr,
            "momentum": sgd_momentum,
            "nesterov": sgd_momentum > 0,
            "weight_decay": sgd_weight_decay,
        }
        groups = [(of_hidden if group["hidden"] else of_others) | group for group in _marked(params)]
        super().__init__(groups, of_hidden)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One step for all parameters that have a gradient; waits for no device."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if not params:
                continue
            if group["hidden"]:
                self._muon_step(params, group)
            else:
                self._sgd_step(params, group)
        return loss

    def _muon_step(self, params: list[Tensor], group: dict[str, Any]) -> None:
        gradients = [_gradient(p) for p in params]
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
        for positions in _by_shape(params):
            matrices = torch.stack([directions[i].reshape(len(params[i]), -1) for i in positions])
            height, width = matrices.shape[1:]
            lr = group["lr"] * max(1, height / width) ** 0.5
            for i, update in zip(positions, orthogonalized(matrices, self.ns_steps), strict=True):
                params[i].add_(update.view(params[i].shape), alpha=-lr)

    def _sgd_step(self, params: list[Tensor], group: dict[str, Any]) -> None:
        sgd(
            params,
            [_gradient(p) for p in params],
            [self._momentum_buffer(p) for p in params] if group["momentum"] else [None] * len(params),
            weight_decay=group["weight_decay"],
            momentum=group["momentum"],
            lr=group["lr"],
            dampening=0.0,
            nesterov=group["nesterov"],
            maximize=False,
        )

    def _momentum_buffer(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        return state["momentum_buffer"]


def orthogonalized(matrices: Tensor, steps: int = 5) -> Tensor:
    """The nearest semi-orthogonal matrices, roughly: singular values end between about 0.7 and 1.2 after five steps.

    A quintic Newton-Schulz iteration (Jordan 2024), in bfloat16 on devices that compute faster in it.

    Args:
        matrices: (N, height, width).
        steps: iterations; fewer leave small singular values small.

    Returns:
        (N, height, width), of the same type.
    """
    a, b, c = COEFFICIENTS
    in_bf16 = auto_precision(matrices.device.type) == "bf16-mixed"
    x = matrices.bfloat16() if in_bf16 else matrices
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.mT
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp_min(SMALLEST_NORM)  # no singular value above 1
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(matrices.dtype)


def _marked(params: Iterable[Any]) -> list[dict[str, Any]]:
    """Groups of which each says whether it is `hidden`."""
    groups = list(params)
    if groups and not isinstance(groups[0], dict):
        groups = [{"params": groups}]
    marked = []
    for group in groups:
        if "hidden" in group:
            marked.append(group)
            continue
        members = list(group["params"])
        for hidden in (True, False):
            if chosen := [p for p in members if (p.ndim >= 2) is hidden]:
                marked.append({**group, "params": chosen, "hidden": hidden})
    return marked


def _by_shape(params: list[Tensor]) -> list[list[int]]:
    """Positions of parameters that are matrices of one shape."""
    positions = defaultdict(list)
    for i, p in enumerate(params):
        positions[p.shape[0], p[0].numel()].append(i)
    return list(positions.values())


def _gradient(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad
