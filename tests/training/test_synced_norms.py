"""Test in one process; tests/runs/test_several_processes.py tests several."""

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from cnnlab.training.synced_norms import SyncedNorms, norms_are_synced


@pytest.fixture(autouse=True)
def process_group(tmp_path: Path) -> Iterator[None]:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def passes(norm: nn.Module, images: Tensor) -> tuple[Tensor, ...]:
    """Return output, gradients and statistics after two batches, and the output in evaluation."""
    images = images.clone().requires_grad_()
    norm(images.detach() * 2 + 1)
    output = norm(images)
    output.square().mul(torch.linspace(0, 1, output.numel()).view_as(output)).sum().backward()
    assert images.grad is not None
    found = (output, images.grad, *(p.grad for p in norm.parameters()), *norm.buffers(), norm.eval()(images))
    return tuple(value for value in found if value is not None)


@pytest.mark.parametrize(
    "norm",
    [
        nn.BatchNorm2d(3),
        nn.BatchNorm2d(3, momentum=None, eps=1e-2),
        nn.BatchNorm2d(3, affine=False),
        nn.BatchNorm2d(3, track_running_stats=False),
    ],
)
def test_one_process_computes_the_same_as_torch(norm: nn.BatchNorm2d) -> None:
    images = torch.randn(5, 3, 4, 4, generator=torch.Generator().manual_seed(0)) + 3
    synced = SyncedNorms().apply(copy.deepcopy(norm))
    assert norms_are_synced(synced)
    for value, expected in zip(passes(synced, images), passes(norm, images), strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-4)


def test_revert_restores_a_plain_norm() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    sync = SyncedNorms()
    sync.revert(sync.apply(network))
    assert not norms_are_synced(network)
    assert "forward" not in network[1].__dict__


def test_a_share_without_images_gives_no_nan() -> None:
    norm = SyncedNorms().apply(nn.BatchNorm2d(3))
    output = norm(torch.zeros(0, 3, 4, 4, requires_grad=True))
    output.sum().backward()
    assert output.shape == (0, 3, 4, 4)
    assert all(torch.equal(p.grad, torch.zeros(3)) for p in norm.parameters() if p.grad is not None)


def test_torchs_synced_norms_for_gpus_are_recognized() -> None:
    assert norms_are_synced(nn.Sequential(nn.SyncBatchNorm(3)))
    assert not norms_are_synced(nn.Sequential(nn.BatchNorm2d(3)))
