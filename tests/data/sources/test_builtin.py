import numpy as np
import torch

from cnnlab.data.images import load_images
from cnnlab.data.sources import find_source


def test_digits_are_1797_colour_images_of_32_pixels() -> None:
    data = load_images(find_source("digits", None), 32)
    assert len(data.train) + len(data.test) == 1797
    assert data.train.pixels.shape[1:] == data.test.pixels.shape[1:] == (32, 32, 3)
    assert data.train.pixels.dtype == torch.uint8
    assert data.classes == tuple("0123456789")
    assert int(data.train.pixels.max()) > 240
    assert torch.equal(data.train.pixels[..., 0], data.train.pixels[..., 2])
    assert 0.16 < len(data.test) / 1797 < 0.17


def test_synthetic_images_have_the_form_of_cifar10_and_are_always_the_same() -> None:
    one, other = (find_source("synthetic", None).read() for _ in range(2))
    assert one.test is not None
    assert isinstance(one.train.images, np.ndarray) and isinstance(one.test.images, np.ndarray)
    assert (one.train.images.shape, one.test.images.shape) == ((50_000, 32, 32, 3), (10_000, 32, 32, 3))
    assert np.bincount(one.train.labels).tolist() == [5000] * 10
    assert not np.array_equal(one.train.images[:10_000], one.test.images)
    assert isinstance(other.train.images, np.ndarray) and np.array_equal(one.train.images, other.train.images)
