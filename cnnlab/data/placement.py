"""Choose where images are during training: on the device, in the host's memory, or in their files."""

import logging
import os
import shutil
from pathlib import Path
from typing import Literal

import torch

from cnnlab.data.cache import cache_folder, cached_images
from cnnlab.data.sources.base import Source

log = logging.getLogger(__name__)

DEVICE_SHARE = 0.5  # share of the device's free memory that images may take: the network needs the rest
HOST_SHARE = 0.8  # share of the host's free memory that decoded images may take
DISK_SHARE = 0.9  # share of the free disk space that a new cache of decoded images may take
NO_LIMIT = 1 << 62  # bytes


def choose_placement(
    source: Source, image_size: int, pad: int, cache: str | Path | None, device: torch.device, processes: int = 1
) -> Literal["device", "host", "stream"]:
    """Choose a placement for `data.residence=auto` from the number of images, before any image is decoded.

    `device` if the images, padded for the augmentation, fit there; else `host`. Both also need room on the host, and a
    cache must exist or fit on the disk. Otherwise `stream`. A choice other than `device` is logged with its reasons.

    Args:
        pad: pixels added on each side on the device.
        cache: folder of the caches, see `cnnlab.data.cache.cache_folder`.
        device: device of the training.
        processes: number of training processes on this machine; on GPUs, each has its own device.
    """
    folder = cache_folder(source, image_size, cache)
    cached = cached_images(folder)
    images = source.count() if cached is None else cached
    decoded, padded = (images * 3 * side**2 for side in (image_size, image_size + 2 * pad))
    on_device, on_host, on_disk = free_memory(device), free_memory(torch.device("cpu")), _free_disk(folder)
    on_cpu = device.type == "cpu"
    needed = padded * processes if on_cpu else padded
    fits_on_disk = cached is not None or decoded <= DISK_SHARE * on_disk
    # On their way to GPUs, the images of all processes are in the host's memory.
    fits_on_the_way = on_cpu or decoded * processes <= HOST_SHARE * on_host
    if needed <= DEVICE_SHARE * on_device and fits_on_the_way and fits_on_disk:
        return "device"
    chosen = "host" if decoded <= HOST_SHARE * on_host and fits_on_disk else "stream"
    log.info(
        "data.residence=%s: %s images need %s on %s (%s free), or %s of memory (%s free) and disk space (%s free).",
        *(chosen, f"{images:,}", _gigabytes(needed), device, _gigabytes(on_device)),
        *(_gigabytes(decoded), _gigabytes(on_host), _gigabytes(on_disk)),
    )
    return chosen


def free_memory(device: torch.device) -> int:
    """Return the free bytes of a GPU, or of the host for any other device."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return min(_free_on_host(), _free_in_container())


def _free_on_host() -> int:
    try:
        for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2  # macOS does not tell what is free


def _free_in_container(group: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the bytes left below a container's limit; memory that only caches files counts as free."""
    try:
        limit, used = ((group / name).read_text(encoding="utf-8").strip() for name in ("memory.max", "memory.current"))
        kept = dict(line.split() for line in (group / "memory.stat").read_text(encoding="utf-8").splitlines())
        return int(limit) - int(used) + int(kept.get("file", 0)) if limit != "max" else NO_LIMIT
    except (OSError, ValueError):
        return NO_LIMIT


def _free_disk(folder: Path) -> int:
    existing = next(parent for parent in folder.parents if parent.exists())
    return shutil.disk_usage(existing).free


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:,.1f} GB"
