"""What the optimizers are given: the parameters of a network, in groups."""

from collections.abc import Callable
from functools import partial
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from cnnlab.errors import RequestError

OptimizerFactory = Callable[[list[dict[str, Any]]], Optimizer]


def build_optimizer(
    make: OptimizerFactory, network: nn.Module, decay_norms_and_biases: bool = True, bias_lr_factor: float = 1.0
) -> Optimizer:
    """The optimizer of a network's parameters.

    Args:
        make: makes it from parameter groups, such as `partial(torch.optim.SGD, lr=0.1)`. A class with an attribute
            `hidden_apart` that is true gets groups that say which layers are hidden.
        network: whose trainable parameters are optimized.
        decay_norms_and_biases: see `parameter_groups`.
        bias_lr_factor: on the learning rate of all vectors. Their weight decay is divided by it, so that a step
            shrinks them by as much as without.

    Raises:
        RequestError: where the factor is not above 0.
    """
    if bias_lr_factor <= 0:
        raise RequestError(f"bias_lr_factor must be above 0, got {bias_lr_factor}")
    hidden_apart = getattr(getattr(make, "func", make), "hidden_apart", False)
    optimizer = make(parameter_groups(network, decay_norms_and_biases, bias_lr_factor, hidden_apart))
    for group in optimizer.param_groups:
        factor = group.pop("lr_factor", 1.0)
        group["lr"] *= factor
        if "weight_decay" in group:
            group["weight_decay"] /= factor
    return optimizer


def fused_on_gpu(make: OptimizerFactory, device: torch.device, precision: str) -> OptimizerFactory:
    """The same factory, of an optimizer that changes all parameters with one kernel where torch has it.

    Args:
        make: as for `build_optimizer`. What it says of `fused` and `foreach` itself is left alone.
        device: of the parameters; nothing but a GPU is served.
        precision: Lightning's name. With `16-mixed`, fused optimizers cannot be clipped.
    """
    said = getattr(make, "keywords", {})
    asked = any(said.get(name) is not None for name in ("fused", "foreach"))
    if device.type != "cuda" or precision == "16-mixed" or asked or "fused" not in signature(make).parameters:
        return make
    return partial(make, fused=True)  # pyright: ignore[reportCallIssue]


def parameter_groups(
    network: nn.Module, decay_norms_and_biases: bool, bias_lr_factor: float = 1.0, hidden_apart: bool = False
) -> list[dict[str, Any]]:
    """Parameter groups as every optimizer of `torch.optim` takes them.

    Args:
        network: whose trainable parameters are grouped.
        decay_norms_and_biases: False keeps all vectors (biases, and the scales and offsets of norms) from weight
            decay, so that it acts on filters and matrices alone (He, T. et al. 2019, "Bag of tricks for image
            classification with convolutional neural networks", section 3.1).
        bias_lr_factor: noted as `lr_factor` in the group of the vectors.
        hidden_apart: whether filters and matrices are parted, and each group says whether it is `hidden`: not the
            first layer (trained or not), not the last, and no vector.

    Returns:
        One group of all parameters where nothing tells them apart; else filters and matrices first, vectors last.
    """
    trainable = [p for p in network.parameters() if p.requires_grad]
    matrices = [p for p in trainable if p.ndim >= 2]
    vectors: dict[str, Any] = {"params": [p for p in trainable if p.ndim < 2]}
    if not decay_norms_and_biases:
        vectors["weight_decay"] = 0.0
    if bias_lr_factor != 1:
        vectors["lr_factor"] = bias_lr_factor
    if hidden_apart:
        ends = _first_and_last(network)
        groups = [
            {"params": [p for p in matrices if not any(p is end for end in ends)], "hidden": True},
            {"params": [p for p in matrices if any(p is end for end in ends)], "hidden": False},
            {**vectors, "hidden": False},
        ]
    elif len(vectors) > 1:
        groups = [{"params": matrices}, vectors]
    else:
        groups = [{"params": trainable}]
    return [group for group in groups if group["params"]]


def _first_and_last(network: nn.Module) -> tuple[Tensor, ...]:
    """The weights of the first and of the last layer, in the order in which the network has its parameters."""
    matrices = [p for p in network.parameters() if p.ndim >= 2]
    return (matrices[0], matrices[-1]) if matrices else ()
