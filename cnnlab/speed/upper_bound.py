"""Measure how fast a device multiplies matrices and copies memory: an upper bound for any network on it."""

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.benchmark import Timer

SECONDS_PER_RATE = 0.3  # time to measure one rate in a turn
PASSES = 3  # a training step multiplies in the forward pass, for the gradients of the inputs, and of the weights


def measure_rates(device: torch.device) -> dict[str, float]:
    """Measure matrix products and a copy on the CPU or a CUDA device.

    Returns `float32`, `bfloat16` and on CUDA `tf32` in FLOP/s (a multiplication with its addition counts as two), and
    `copy` in bytes per second, read and written.
    """
    if device.index:
        torch.cuda.set_device(device)  # the clock waits for the current one
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("highest")
        rates = {"float32": matmul_rate(device, torch.float32), "bfloat16": matmul_rate(device, torch.bfloat16)}
        if device.type == "cuda":
            torch.set_float32_matmul_precision("high")
            rates["tf32"] = matmul_rate(device, torch.float32)
    finally:
        torch.set_float32_matmul_precision(before)
    return {**rates, "copy": copy_rate(device)}


def matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Return FLOP/s of a product of square matrices of random numbers; zeros would be faster on some devices."""
    side = 8192 if device.type == "cuda" else 1536
    generator = torch.Generator(device).manual_seed(0)
    a, b = (torch.randn(side, side, device=device, dtype=torch.float32, generator=generator).to(dtype) for _ in "ab")
    out = torch.empty_like(a)
    return 2 * side**3 / _fastest_seconds(lambda: torch.mm(a, b, out=out))


def copy_rate(device: torch.device) -> float:
    """Return bytes per second, read and written, of a copy larger than any cache."""
    source = torch.ones(2**30 if device.type == "cuda" else 2**28, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * source.numel() / _fastest_seconds(lambda: target.copy_(source))


def max_images_per_second(flops: float, macs: int, training: bool) -> float:
    """Return the images per second if only a network's multiplications, `macs` for an image, took time.

    Training computes gradients too. (The first layer needs none of its input, but is counted so.)
    """
    return flops / (2 * macs * (PASSES if training else 1))


def rate_name(precision: str, device_type: str, tf32: bool) -> str:
    """Return the name of the measured rate that bounds a training in this precision."""
    if precision.startswith(("bf16", "16")):
        return "bfloat16"  # as fast as float16 on hardware that supports both
    return "tf32" if tf32 and device_type == "cuda" else "float32"


def _fastest_seconds(work: Callable[[], Any]) -> float:
    timer = Timer("work()", globals={"work": work}, num_threads=torch.get_num_threads())
    return min(timer.blocked_autorange(min_run_time=SECONDS_PER_RATE).times)
