"""A process on the CPU: the cores that it has, and what it is set to before it computes: how threads wait, what becomes
of freed memory, and of numbers next to 0."""

import contextlib
import ctypes
import os
import sys

# mallopt's parameters, from glibc's malloc.h
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


def prepare() -> None:
    """To be called before torch is imported. What the environment says already stays as it is."""
    # OpenMP threads that spin while others compute slow everything down. A short spin before they sleep makes the
    # steps of small networks a fifth faster and costs nothing on a busy machine. Read when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    keep_freed_memory()


def keep_freed_memory() -> None:
    """Makes glibc keep large blocks that are freed, for the next step, which needs the same ones.

    It would hand them back to the system, which then has to clear every page again. Where there is another C library,
    nothing is done.
    """
    if sys.platform != "linux" or any(name.startswith("MALLOC_") for name in os.environ):
        return
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_MAX, 0)  # large blocks come from the heap, too
        mallopt(M_TRIM_THRESHOLD, -1)  # and the heap never shrinks


def flush_denormals() -> None:
    """Makes the processor take numbers next to 0 for 0. Saturated units have many, and they are slow to compute with.

    To be called before torch computes anything: threads that it has started by then go on as they did.
    """
    import torch

    torch.set_flush_denormal(True)


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
