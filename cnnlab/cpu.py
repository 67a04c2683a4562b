"""Configure how this process uses the CPU: waiting threads, freed memory, and numbers close to zero."""

import contextlib
import ctypes
import os
import sys

# mallopt's parameters, from glibc's malloc.h
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


def prepare() -> None:
    """Set environment variables for threads and memory, unless they are set; call this before importing torch."""
    # OpenMP threads that spin on busy cores slow everything down. A short spin before they sleep makes the steps of
    # small networks a fifth faster and costs nothing on a busy machine. torch reads this when it is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    keep_freed_memory()


def keep_freed_memory() -> None:
    """Have glibc keep freed blocks of memory for the next step, which needs blocks of the same size.

    Otherwise it returns them to the system, which has to clear every page again. Other C libraries are left alone.
    """
    if sys.platform != "linux" or any(name.startswith("MALLOC_") for name in os.environ):
        return
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_MAX, 0)  # take large blocks from the heap too
        mallopt(M_TRIM_THRESHOLD, -1)  # never shrink the heap


def flush_denormals() -> None:
    """Have the processor round numbers close to zero (denormals) to zero; they are slow, and saturated units have many.

    Call this before torch computes anything: threads that it has started already do not change.
    """
    import torch

    torch.set_flush_denormal(True)


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
