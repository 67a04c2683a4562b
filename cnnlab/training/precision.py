"""Which number format a device computes fastest in."""

import platform

import torch


def auto_precision(accelerator: str) -> str:
    """`bf16-mixed` where the device has instructions for it, `32-true` elsewhere.

    Emulated bfloat16 is slower than float32, so support in software is not enough.

    Args:
        accelerator: `cpu`, `cuda` or `mps`.
    """
    if accelerator == "cuda":
        return "bf16-mixed" if torch.cuda.get_device_capability() >= (8, 0) else "32-true"
    if accelerator == "cpu":
        return "bf16-mixed" if _cpu_computes_in_bf16() else "32-true"
    return "32-true"


def _cpu_computes_in_bf16() -> bool:
    if platform.machine() not in ("x86_64", "AMD64"):
        return False
    # Torch has no public question for this; each name appeared in some release.
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        supported = getattr(torch.cpu, name, None)
        if supported is not None and supported():
            return True
    return False
