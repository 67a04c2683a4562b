"""Describe the machine and the software, for records."""

import contextlib
import os
import platform
import resource
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("cnnlab", "torch", "torchvision", "lightning", "torchmetrics", "hydra-core", "datasets", "numpy")
# Files that do not change the result of a run, as pathspecs of git.
WITHOUT_EFFECT = (":(top,exclude)*.md", ":(top,exclude)experiments/results")


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that a result depends on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue  # cnnlab is used without being installed
    return found


def git_commit(folder: Path) -> str | None:
    """Return the commit that is checked out in a folder, or None outside git.

    `-dirty` is added if files differ from it, except texts and published results, which experiments write.
    """

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ":/", *WITHOUT_EFFECT)
        return git("rev-parse", "HEAD") + ("-dirty" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None


def device_name(device: torch.device) -> str:
    """Return a name such as `NVIDIA H200` or `cpu: Intel(R) Xeon(R) Processor, 2 threads`."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "cpu":
        threads = torch.get_num_threads()
        return f"cpu: {_processor()}, {threads} thread{'s' if threads > 1 else ''}"
    return str(device)


def device_kind(name: str | None) -> str:
    """Return `cpu`, `mps` or `cuda` for a name that `device_name` gave."""
    kind = str(name).partition(":")[0]
    return kind if kind in ("cpu", "mps") else "cuda"


def visible_gpus() -> list[str]:
    """Return the GPUs that this process may use, as `CUDA_VISIBLE_DEVICES` names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return [name.strip() for name in named.split(",")] if named else [str(i) for i in range(torch.cuda.device_count())]


def machine(device: torch.device) -> dict[str, Any]:
    """Describe what a measurement depends on: device, processor, cores, threads, memory, software."""
    return {
        "device": device_name(device),
        "device_type": device.type,
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "device_memory_bytes": torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else None,
        "system": platform.platform(),
        "cuda": torch.version.cuda,
        "versions": versions(),
    }


def peak_memory_bytes(device: torch.device) -> int:
    """Return the peak memory of this process: of the GPU for `cuda`, of the host otherwise."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, Linux KiB


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
