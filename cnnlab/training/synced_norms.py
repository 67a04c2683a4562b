"""Batch normalization over the images of all processes, on the CPU.

torch's own SyncBatchNorm, which Lightning puts in with `sync_batchnorm: true`, works on GPUs alone.
"""

import types
from typing import Any

import torch
from lightning.pytorch.plugins import LayerSync
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class SyncedNorms(LayerSync):
    """Makes batch norms compute with the mean and variance of the whole batch instead of the process's own share.

    The modules stay the ones they are; only what they do in training is exchanged.
    """

    def apply(self, model: nn.Module) -> nn.Module:
        """Exchanges the forward pass of every batch norm."""
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                module.forward = types.MethodType(_normalize, module)
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        """Puts back what `apply` exchanged."""
        for module in model.modules():
            if _is_synced(module):
                del module.forward
        return model


class _SumOverProcesses(torch.autograd.Function):
    """A tensor's sum over all processes. Each depends on it, so the gradient is the sum of all gradients."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        total = value.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        total = gradient.clone()
        torch.distributed.all_reduce(total)
        return total


def norms_are_synced(network: nn.Module) -> bool:
    """Whether a network's batch norms need all processes at the same time."""
    return any(isinstance(module, nn.SyncBatchNorm) or _is_synced(module) for module in network.modules())


def _is_synced(module: nn.Module) -> bool:
    return getattr(module.__dict__.get("forward"), "__func__", None) is _normalize


def _normalize(norm: _BatchNorm, images: Tensor) -> Tensor:
    """The forward pass of a batch norm on a share of a batch (N, C, ...), which may be empty."""
    if not norm.training:
        return type(norm).forward(norm, images)
    values = images.float()  # sums in half precision would be coarse
    over = [axis for axis in range(values.ndim) if axis != 1]
    shape = [1, -1] + [1] * (values.ndim - 2)
    count = torch.tensor(float(values.numel() // values.shape[1]))
    torch.distributed.all_reduce(count)
    mean = _SumOverProcesses.apply(values.sum(over)) / count
    centred = values - mean.view(shape)
    variance = _SumOverProcesses.apply(centred.square().sum(over)) / count
    _track(norm, mean.detach(), variance.detach() * count / (count - 1).clamp(min=1))
    normalized = centred * (variance + norm.eps).rsqrt().view(shape)
    if norm.affine:
        normalized = normalized * norm.weight.view(shape) + norm.bias.view(shape)
    return normalized.to(images.dtype)


def _track(norm: _BatchNorm, mean: Tensor, variance: Tensor) -> None:
    """Moves the running statistics as torch does: by `momentum`, or to the plain mean of all batches without one."""
    if norm.running_mean is None or norm.running_var is None or norm.num_batches_tracked is None:
        return
    norm.num_batches_tracked.add_(1)
    weight = 1 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), weight)
    norm.running_var.lerp_(variance.to(norm.running_var.dtype), weight)
