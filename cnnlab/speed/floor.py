"""What a machine can do at most: the best rate of matrix products and of copies that torch reaches on it."""

import time
from collections.abc import Callable
from typing import Any

import torch

SECONDS = 0.3  # that each rate is tried for in a turn
PASSES = 3  # a training step multiplies forward, for the gradients of the inputs, and for those of the weights


def measure_rates(device: torch.device) -> dict[str, float]:
    """Operations a second of matrix products, by number format, and bytes a second of a copy.

    Args:
        device: `cpu` or a CUDA device.

    Returns:
        `float32`, `bfloat16` and on CUDA `tf32`: FLOP/s, two for a multiplication with its addition; `copy`: bytes
        read plus bytes written a second.
    """
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
    """FLOP/s of the product of two square matrices of random numbers: zeros would be faster on some devices."""
    side = 8192 if device.type == "cuda" else 1536
    generator = torch.Generator(device).manual_seed(0)
    a, b = (torch.randn(side, side, device=device, dtype=torch.float32, generator=generator).to(dtype) for _ in "ab")
    out = torch.empty_like(a)
    return 2 * side**3 / _seconds(lambda: torch.mm(a, b, out=out), device)


def copy_rate(device: torch.device) -> float:
    """Bytes a second, read and written, of a copy that is larger than any cache."""
    source = torch.ones(2**30 if device.type == "cuda" else 2**28, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * source.numel() / _seconds(lambda: target.copy_(source), device)


def attainable_images_per_second(flops: float, macs: int, training: bool) -> float:
    """Images a second if nothing but a network's multiplications took time.

    Args:
        flops: FLOP/s of the device in the number format that is used.
        macs: of one image.
        training: whether gradients are computed too, which takes twice the multiplications of the forward pass. (The
            first layer needs no gradient of its input; it is counted as if it did.)
    """
    return flops / (2 * macs * (PASSES if training else 1))


def rate_name(precision: str, device_type: str, tf32: bool) -> str:
    """Which of the measured rates a training in this precision is held against."""
    if precision.startswith(("bf16", "16")):
        return "bfloat16"  # as fast as float16 wherever there is hardware for both
    return "tf32" if tf32 and device_type == "cuda" else "float32"


def _seconds(work: Callable[[], Any], device: torch.device) -> float:
    """Seconds of one call, the fastest of those that fit into the time."""
    best, started = float("inf"), None
    while started is None or time.perf_counter() - started < SECONDS:
        before = _now(device)
        work()
        seconds = _now(device) - before
        if started is None:
            started = time.perf_counter()  # the first call warms up
        else:
            best = min(best, seconds)
    return best


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
