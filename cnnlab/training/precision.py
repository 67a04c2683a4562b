"""Which device computes, and which number format it computes fastest in."""

import functools
import platform
import time

import torch


def device_type(asked: str) -> str:
    """`cuda`, `mps` or `cpu` for an accelerator's name, the way that Lightning chooses."""
    if asked in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return "cuda"
    if asked in ("auto", "gpu", "mps") and torch.backends.mps.is_available():
        return "mps"
    return "cpu"


@functools.cache
def auto_precision(accelerator: str) -> str:
    """`bf16-mixed` where the device computes faster in it, `32-true` elsewhere.

    A CPU is asked whether it has instructions for bfloat16, for emulation is slower than float32, and whether they
    are worth it: with matrix tiles (AMX) they are, the vector ones alone (AVX512-BF16) are twice as fast as float32 on
    some processors and half as fast on others, so a product is timed (some milliseconds, once in a process).

    Args:
        accelerator: `cpu`, `cuda` or `mps`.
    """
    if accelerator == "cuda":
        return "bf16-mixed" if torch.cuda.get_device_capability() >= (8, 0) else "32-true"
    if accelerator == "cpu" and platform.machine() in ("x86_64", "AMD64"):
        pays = has_matrix_tiles() or (_supports("_is_avx512_bf16_supported") and _product_is_faster())
        return "bf16-mixed" if pays else "32-true"
    return "32-true"


def has_matrix_tiles() -> bool:
    """Whether the processor has AMX, instructions for small matrices in bfloat16."""
    return _supports("_is_amx_tile_supported")


def _supports(question: str) -> bool:
    """Torch has no public name for these questions; each appeared in some release."""
    ask = getattr(torch.cpu, question, None)
    return ask is not None and ask()


def _product_is_faster(size: int = 512, tries: int = 5) -> bool:
    """Whether a matrix product takes less time in bfloat16 than in float32; the best of some tries of each in turn."""
    matrices = {dtype: torch.ones(size, size, dtype=dtype) for dtype in (torch.float32, torch.bfloat16)}
    seconds = dict.fromkeys(matrices, float("inf"))
    for _ in range(1 + tries):  # the first pays for the kernels
        for dtype, matrix in matrices.items():
            start = time.perf_counter()
            torch.mm(matrix, matrix)
            seconds[dtype] = min(seconds[dtype], time.perf_counter() - start)
    return seconds[torch.bfloat16] < seconds[torch.float32]
