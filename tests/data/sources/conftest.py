"""Load the images of a source, and compare them."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from cnnlab.data.images import ImageData, load_images
from cnnlab.data.sources import find_source
from cnnlab.errors import RequestError


@pytest.fixture
def load() -> Callable[[Path], ImageData]:
    """Load the images at a path."""
    return lambda path: load_images(find_source(None, path), 32)


@pytest.fixture
def assert_same() -> Callable[[ImageData, ImageData], None]:
    """Check that two data sets hold the same images, labels and classes."""

    def check(data: ImageData, expected: ImageData) -> None:
        for split, wanted in ((data.train, expected.train), (data.test, expected.test)):
            assert torch.equal(split.pixels, wanted.pixels)
            assert torch.equal(split.labels, wanted.labels)
        assert data.classes == expected.classes

    return check


@pytest.fixture
def request_error(load: Callable[[Path], ImageData]) -> Callable[[Path], str]:
    """Return the one-line message with which the images at a path are refused."""

    def message(path: Path) -> str:
        with pytest.raises(RequestError) as caught:
            load(path)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return message
