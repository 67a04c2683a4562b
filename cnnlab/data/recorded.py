"""Find the test images of a finished run, if they are still there."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnnlab.data.cache import cache_folder, read_cache
from cnnlab.data.sources import find_source
from cnnlab.errors import RequestError


@dataclass(frozen=True)
class TestImages:
    """Read test images in the data's own order.

    Attributes:
        read: returns the pixels of the images at some positions, uint8 (N, H, W, 3).
        classes: names by class number.
    """

    read: Callable[[Sequence[int]], np.ndarray]
    classes: tuple[str, ...]


def find_test_images(data: Mapping[str, Any], fingerprint: str) -> TestImages:
    """Find the images that a run was tested on, without downloading or decoding them again.

    Args:
        data: settings `data` of the run.
        fingerprint: fingerprint of the images, from the run's record.

    Raises:
        RequestError: if the images are gone or have changed.
    """
    source = find_source(data.get("source"), data.get("path"))
    if fingerprint.startswith("files-"):
        return _streamed(source, data, fingerprint)
    folder = cache_folder(source, data["image_size"], data.get("cache"))
    cached = read_cache(folder)
    if cached is None:
        raise RequestError(f"data.cache: the decoded images are no longer in {folder.parent}")
    _check(cached.fingerprint, fingerprint)
    pixels = cached.arrays["test_pixels"]
    return TestImages(lambda positions: pixels[list(positions)], tuple(data.get("classes") or cached.classes))


def _streamed(source: Any, data: Mapping[str, Any], fingerprint: str) -> TestImages:
    import torch

    from cnnlab.data.images import streamed_images

    images = streamed_images(source, data["image_size"])
    _check(images.fingerprint, fingerprint)
    return TestImages(
        lambda positions: images.test.read(torch.as_tensor(list(positions))).numpy(),
        tuple(data.get("classes") or images.classes),
    )


def _check(found: str, recorded: str) -> None:
    if found != recorded:
        raise RequestError(f"data: the images have changed since the run (fingerprint {found}, recorded {recorded})")
