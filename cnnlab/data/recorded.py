"""Find the test images of a finished run, if they are still there."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnnlab.data.cache import cache_folder, read_cache
from cnnlab.data.sources import source_of
from cnnlab.errors import RequestError


@dataclass(frozen=True)
class TestImages:
    """Read test images in the data's own order."""

    read: Callable[[Sequence[int]], np.ndarray]  # the pixels at some positions, uint8 (N, H, W, 3)
    classes: tuple[str, ...]  # names by class number


def find_test_images(data: Mapping[str, Any], fingerprint: str) -> TestImages:
    """Find the images that a run was tested on, without downloading or decoding them again.

    Args:
        data: settings `data` of the run.
        fingerprint: fingerprint of the images, from the run's record.

    Raises:
        RequestError: if the images are gone or have changed.
    """
    source, size, on_error = source_of(data), data["image_size"], data.get("on_error", "stop")
    if fingerprint.startswith("files-") or data.get("exclude"):
        import torch

        from cnnlab.data.images import read_for

        placement = "stream" if fingerprint.startswith("files-") else "host"
        found = read_for(placement, source, size, data.get("cache"), on_error, data.get("exclude"))
        images, read = found.test, lambda positions: images.read(torch.as_tensor(list(positions))).numpy()
    else:
        folder = cache_folder(source, size, data.get("cache"), on_error)
        found = read_cache(folder)
        if found is None:
            raise RequestError(f"data.cache: the decoded images are no longer in {folder.parent}")
        pixels, read = found.arrays["test_pixels"], lambda positions: pixels[list(positions)]
    if found.fingerprint != fingerprint:
        raise RequestError(
            f"data: the images have changed since the run (fingerprint {found.fingerprint}, recorded {fingerprint})"
        )
    return TestImages(read, tuple(data.get("classes") or found.classes))
