"""Create an optimizer from a network's parameters, in groups."""

from collections.abc import Callable, Collection
from functools import partial
from inspect import signature
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from cnnlab.errors import RequestError
from cnnlab.training.half_weights import follow_masters, half_weights, master
from cnnlab.training.layer_order import layer_factors

OptimizerFactory = Callable[[list[dict[str, Any]]], Optimizer]


def build_optimizer(
    factory: OptimizerFactory,
    network: nn.Module,
    decay_norms_and_biases: bool = True,
    bias_lr_factor: float = 1.0,
    layer_decay: float | None = None,
    head: Collection[str] = (),
) -> Optimizer:
    """Return an optimizer of a network's trainable parameters.

    Args:
        factory: creates the optimizer from parameter groups, such as `partial(torch.optim.SGD, lr=0.1)`. A class with a
            true attribute `separate_hidden` gets groups that are marked as hidden layers or not.
        network: the network to train.
        decay_norms_and_biases: see `parameter_groups`.
        bias_lr_factor: factor on the learning rate of all vectors. Their weight decay is divided by it, so a step
            shrinks them as much as without the factor.
        layer_decay: factor on the rates with every step from the head to the input; see `layer_order.layer_factors`.
        head: names of the weights of the head.
    """
    separate_hidden = getattr(getattr(factory, "func", factory), "separate_hidden", False)
    groups = parameter_groups(network, decay_norms_and_biases, bias_lr_factor, separate_hidden)
    if layer_decay is not None:
        groups = _split_by_layers(groups, network, layer_factors(network, layer_decay, head))
    for group in groups:
        group["params"] = [master(weight) for weight in group["params"]]
    optimizer = factory(groups)
    follow_masters(optimizer, half_weights(network))
    for group in optimizer.param_groups:
        lr_factor = group.pop("lr_factor", 1.0)
        group["lr"] *= lr_factor * group.pop("layer_factor", 1.0)
        if "weight_decay" in group:
            group["weight_decay"] /= lr_factor
    optimizer.register_load_state_dict_pre_hook(_keep_kernels)
    return optimizer


def _keep_kernels(optimizer: Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    """Return the state of a checkpoint with this optimizer's kernels: it may come from another kind of device."""
    kernels = {key: optimizer.defaults[key] for key in ("fused", "foreach") if key in optimizer.defaults}
    return {**state, "param_groups": [{**group, **kernels} for group in state["param_groups"]]}


def fused_on_gpu(
    factory: OptimizerFactory, device: torch.device, precision: str, clips: float | None = None
) -> OptimizerFactory:
    """Return a factory whose optimizer updates all parameters with one GPU kernel, if torch has such a kernel.

    A factory that sets `fused` or `foreach` itself is returned unchanged, and so is one for another device. With the
    precision `16-mixed`, gradients of fused optimizers cannot be clipped.

    Raises:
        RequestError: if the factory sets `fused`, and gradients are clipped (`clips`) in `16-mixed`.
    """
    keywords = getattr(factory, "keywords", {})
    if keywords.get("fused") and clips and precision == "16-mixed":
        raise RequestError("optimizer.fused: gradients of a fused optimizer cannot be clipped in 16-mixed")
    is_chosen = any(keywords.get(name) is not None for name in ("fused", "foreach"))
    can_fuse = device.type == "cuda" and precision != "16-mixed" and "fused" in signature(factory).parameters
    return partial(factory, fused=True) if can_fuse and not is_chosen else factory  # pyright: ignore


def parameter_groups(
    network: nn.Module, decay_norms_and_biases: bool, bias_lr_factor: float = 1.0, separate_hidden: bool = False
) -> list[dict[str, Any]]:
    """Return parameter groups for any optimizer of `torch.optim`: filters and matrices first, vectors last.

    If all parameters are treated alike, there is one group.

    Args:
        network: its trainable parameters are grouped.
        decay_norms_and_biases: False exempts all vectors (biases, scales and offsets of norms) from weight decay (He,
            T. et al. 2019, "Bag of tricks for image classification with convolutional neural networks", section 3.1).
        bias_lr_factor: stored as `lr_factor` in the group of the vectors.
        separate_hidden: whether each group gets a key `hidden`, true for filters and matrices except those of the first
            layer (trained or not) and the last layer.
    """
    trainable = [p for p in network.parameters() if p.requires_grad]
    matrices = [p for p in trainable if p.ndim >= 2]
    vectors: dict[str, Any] = {"params": [p for p in trainable if p.ndim < 2]}
    if not decay_norms_and_biases:
        vectors["weight_decay"] = 0.0
    if bias_lr_factor != 1:
        vectors["lr_factor"] = bias_lr_factor
    if separate_hidden:
        layers = [p for p in network.parameters() if p.ndim >= 2]
        ends = {id(p) for p in (*layers[:1], *layers[-1:])}
        groups = [
            {"params": [p for p in matrices if id(p) not in ends], "hidden": True},
            {"params": [p for p in matrices if id(p) in ends], "hidden": False},
            {**vectors, "hidden": False},
        ]
    elif len(vectors) > 1:
        groups = [{"params": matrices}, vectors]
    else:
        groups = [{"params": trainable}]
    return [group for group in groups if group["params"]]


def _split_by_layers(
    groups: list[dict[str, Any]], network: nn.Module, factors: dict[str, float]
) -> list[dict[str, Any]]:
    """Return groups of parameters that also share their `layer_factor`, the highest, that of the head, first."""
    by_id = {id(parameter): factors[name] for name, parameter in network.named_parameters()}
    split = []
    for factor in sorted(set(by_id.values()), reverse=True):
        for group in groups:
            if members := [p for p in group["params"] if by_id[id(p)] == factor]:
                split.append({**group, "params": members, "layer_factor": factor})
    return split
