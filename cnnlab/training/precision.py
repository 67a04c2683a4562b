"""Choose the device, and the number format in which it computes fastest."""

import functools
import platform
import time

import torch

FORMATS = ("bf16-mixed", "32-true")  # that `auto` chooses from


def device_type(accelerator: str) -> str:
    """Return `cuda`, `mps` or `cpu` for Lightning's name of an accelerator, choosing as Lightning does."""
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return "cuda"
    if accelerator in ("auto", "gpu", "mps") and torch.backends.mps.is_available():
        return "mps"
    return "cpu"


@functools.cache
def auto_precision(*devices: str) -> str:
    """Return `bf16-mixed` if all devices compute faster in it, else `32-true`.

    A CPU must have bfloat16 instructions: emulating them is slower than float32. With matrix tiles (AMX), bfloat16 is
    faster. With vector instructions alone (AVX512-BF16), it is twice as fast as float32 on some processors and half as
    fast on others, so a matrix product is timed (a few milliseconds, once per process).

    Args:
        devices: names of devices of one kind, such as `cpu`, `mps`, or `cuda:0` and `cuda:1`.
    """
    if devices[0].startswith("cuda"):
        every = [torch.cuda.get_device_capability(device) for device in devices]
        return "bf16-mixed" if min(every) >= (8, 0) else "32-true"
    if devices[0] == "cpu" and platform.machine() in ("x86_64", "AMD64"):
        is_faster = has_matrix_tiles() or (_supports("_is_avx512_bf16_supported") and _product_is_faster())
        return "bf16-mixed" if is_faster else "32-true"
    return "32-true"


def has_matrix_tiles() -> bool:
    """Return whether the processor has AMX: instructions for small bfloat16 matrices."""
    return _supports("_is_amx_tile_supported")


def _supports(name: str) -> bool:
    """Call a private function of torch.cpu; older releases do not have each of them."""
    function = getattr(torch.cpu, name, None)
    return function is not None and function()


def _product_is_faster(size: int = 512, tries: int = 5) -> bool:
    """Return whether a bfloat16 matrix product is faster than a float32 one, by the best of some tries of each."""
    matrices = {dtype: torch.ones(size, size, dtype=dtype) for dtype in (torch.float32, torch.bfloat16)}
    seconds = dict.fromkeys(matrices, float("inf"))
    for _ in range(1 + tries):  # the first try also loads the kernels
        for dtype, matrix in matrices.items():
            start = time.perf_counter()
            torch.mm(matrix, matrix)
            seconds[dtype] = min(seconds[dtype], time.perf_counter() - start)
    return seconds[torch.bfloat16] < seconds[torch.float32]
