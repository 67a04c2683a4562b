"""Synchronize batch normalization over processes on the CPU.

Torch's SyncBatchNorm, which Lightning uses for `sync_batchnorm: true`, works on GPUs only.
"""

import types
from typing import Any

import torch
from lightning.pytorch.plugins import LayerSync
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class SyncedNorms(LayerSync):
    """Let batch norms use mean and variance of the whole batch instead of the process's own share.

    Replaces only the forward pass of the modules.
    """

    def apply(self, model: nn.Module) -> nn.Module:
        """Replace the forward pass of every batch norm."""
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                module.forward = types.MethodType(_normalize, module)
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        """Undo `apply`."""
        for module in model.modules():
            if _is_synced(module):
                del module.forward
        return model


class _SumOverProcesses(torch.autograd.Function):
    """Sum a tensor over all processes. Every process uses the sum, so gradients are summed, too."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        total = value.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _SumOverProcesses.forward(ctx, gradient)


def norms_are_synced(network: nn.Module) -> bool:
    """Return whether the network has batch norms that need all processes at the same time."""
    return any(isinstance(module, nn.SyncBatchNorm) or _is_synced(module) for module in network.modules())


def _is_synced(module: nn.Module) -> bool:
    return getattr(module.__dict__.get("forward"), "__func__", None) is _normalize


def _normalize(norm: _BatchNorm, images: Tensor) -> Tensor:
    """Run a batch norm's forward pass on a share of a batch (N, C, ...), which may be empty."""
    if not norm.training:
        return type(norm).forward(norm, images)
    values = images.float()  # sums in half precision would be inexact
    axes = [axis for axis in range(values.ndim) if axis != 1]
    shape = [1, -1] + [1] * (values.ndim - 2)
    count = torch.tensor(float(values.numel() // values.shape[1]))
    torch.distributed.all_reduce(count)
    mean = _SumOverProcesses.apply(values.sum(axes)) / count
    centred = values - mean.view(shape)
    variance = _SumOverProcesses.apply(centred.square().sum(axes)) / count
    _update_statistics(norm, mean.detach(), variance.detach() * count / (count - 1).clamp(min=1))
    normalized = centred * (variance + norm.eps).rsqrt().view(shape)
    if norm.affine:
        normalized = normalized * norm.weight.view(shape) + norm.bias.view(shape)
    return normalized.to(images.dtype)


def _update_statistics(norm: _BatchNorm, mean: Tensor, variance: Tensor) -> None:
    """Update the running statistics as torch does: by `momentum`, or as the plain mean over batches without it."""
    if norm.running_mean is None or norm.running_var is None or norm.num_batches_tracked is None:
        return
    norm.num_batches_tracked.add_(1)
    weight = 1 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), weight)
    norm.running_var.lerp_(variance.to(norm.running_var.dtype), weight)
