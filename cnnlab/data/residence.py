"""Where the images are while a network trains on them: on its device, in the host's memory, or still in their files."""

import logging
import os
import shutil
from pathlib import Path
from typing import Literal

import torch

from cnnlab.data.cache import cache_folder, cached_images
from cnnlab.data.sources import Source

log = logging.getLogger(__name__)

Residence = Literal["auto", "device", "host", "stream"]

DEVICE_SHARE = 0.5  # of the device's free memory that images may take: the network needs the rest
HOST_SHARE = 0.8  # of the host's free memory that decoded images may take when they are gathered from there
DISK_SHARE = 0.9  # of the free disk that a new cache of decoded images may take


def choose_residence(
    source: Source, image_size: int, pad: int, cache: str | Path | None, device: torch.device, processes: int = 1
) -> Literal["device", "host", "stream"]:
    """What `auto` stands for, decided from the number of images alone, before any is decoded.

    `device` where the images, padded for the augmentation, take at most half of the memory that is free on the device;
    else `host`. Both need room on the host too: decoded, the images take at most 80 % of its free memory, and a cache
    of them is there already or takes at most 90 % of the free disk. Else `stream`. Anything but `device` is said in the
    log, with its reasons.

    Args:
        source: of the images.
        image_size: height and width in pixels.
        pad: pixels more on each side on the device.
        cache: folder of the caches, as for `cnnlab.data.cache.cache_folder`.
        device: of the training.
        processes: how many train on this machine, each with a device of its own but on the CPU.
    """
    folder = cache_folder(source, image_size, cache)
    cached = cached_images(folder)
    images = source.count() if cached is None else cached
    decoded, padded = (images * 3 * side**2 for side in (image_size, image_size + 2 * pad))
    on_device, on_host, on_disk = free_memory(device), free_memory(torch.device("cpu")), _free_disk(folder)
    on_cpu = device.type == "cpu"
    taken = padded * processes if on_cpu else padded
    fits_on_disk = cached is not None or decoded <= DISK_SHARE * on_disk
    # On their way to GPUs, the images of all processes are in the host's memory.
    passes_host = on_cpu or decoded * processes <= HOST_SHARE * on_host
    if taken <= DEVICE_SHARE * on_device and passes_host and fits_on_disk:
        return "device"
    chosen = "host" if decoded <= HOST_SHARE * on_host and fits_on_disk else "stream"
    log.info(
        "data.residence=%s: %s images take %s on %s (%s free), else %s of memory (%s free) and disk (%s free).",
        *(chosen, f"{images:,}", _gigabytes(taken), device, _gigabytes(on_device)),
        *(_gigabytes(decoded), _gigabytes(on_host), _gigabytes(on_disk)),
    )
    return chosen


def free_memory(device: torch.device) -> int:
    """Bytes that can still be taken on a GPU, or on the host for any other device."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return min(_available_on_host(), _left_to_container())


def _available_on_host() -> int:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2  # macOS does not tell what is free


def _left_to_container(group: Path = Path("/sys/fs/cgroup")) -> int:
    """What a container's limit leaves, where there is one; memory that only keeps files counts as free."""
    try:
        limit, used = ((group / name).read_text().strip() for name in ("memory.max", "memory.current"))
        kept = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return int(limit) - int(used) + int(kept.get("file", 0)) if limit != "max" else 1 << 62
    except (OSError, ValueError):
        return 1 << 62


def _free_disk(folder: Path) -> int:
    existing = next(parent for parent in folder.parents if parent.exists())
    return shutil.disk_usage(existing).free


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:,.1f} GB"
